"""``--help`` of every command, at every width: all options, words, defaults, environment variables, uncut."""

import re

import pytest
import typer

from nonsingular import cli

GROUP = typer.main.get_group(cli.app)
WIDTHS = (60, 80, 100, 200)


def shown(capsys, monkeypatch, width, *command):
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert not re.search(r"[a-z]\.\.\.", text.partition("\n\n")[2])
    assert "<list" not in text
    return squeezed(text)


def squeezed(text):
    """Without white space, so that it does not matter where lines are broken."""
    return "".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", GROUP.commands)
def test_every_command(capsys, monkeypatch, name, width):
    command = GROUP.commands[name]
    text = shown(capsys, monkeypatch, width, name)
    assert squeezed(command.help) in text
    for parameter in command.params:
        assert all(option in text for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("-"))
        assert parameter.help, f"{name} {parameter.name} has no help"
        name_shown = parameter.opts[-1] if parameter.opts[-1].startswith("-") else parameter.metavar
        after = text.partition(squeezed(name_shown))[2].partition(squeezed(parameter.help))[2]
        said = after[1 : after.index("]")] if after.startswith("[") else ""
        assert not re.search(r"\[(default|env)", parameter.help), "say it by show_default and envvar"
        if parameter.envvar:
            assert f"envvar:{parameter.envvar}" in said
        if parameter.required:
            assert "required" in said
        elif not (getattr(parameter, "is_flag", False) and parameter.default is False):
            wanted = parameter.show_default if isinstance(parameter.show_default, str) else str(parameter.default)
            assert wanted != "None", f"{name} {parameter.name}: say what happens without it by show_default"
            assert squeezed(wanted) in said, f"{name} {parameter.name}: {said}"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_commands(capsys, monkeypatch, width):
    text = shown(capsys, monkeypatch, width)
    for name, command in GROUP.commands.items():
        assert (squeezed(name + command.help) in text) != command.hidden
    assert "NONSINGULAR_DATA" in text
    assert "NONSINGULAR_CACHE" in text


def test_what_may_be_given_several_times(capsys, monkeypatch):
    assert "DIR...Foldersthatreproducehaswritten." in shown(capsys, monkeypatch, 80, "judge")
    assert "--figure<str>...FILE.py:NAME" in shown(capsys, monkeypatch, 80, "judge")


def test_no_command_at_all_is_helped(capsys):
    assert cli.run([]) == 0
    assert "Usage: nonsingular" in capsys.readouterr().out
