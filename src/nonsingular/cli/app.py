"""The ``nonsingular`` command: gathers the commands, and turns whatever ends one into its exit status."""

from __future__ import annotations

import errno
import functools
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nonsingular import __version__
from nonsingular.cli import commands, interrupts, streams
from nonsingular.cli.terminal import complain
from nonsingular.errors import InputError, LibraryWarning
from nonsingular.spelling import nearest

_USERS_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
}

_EPILOG = """\b
NONSINGULAR_DATA   folder of data sets, as --data-dir
NONSINGULAR_CACHE  decoded images, rates of this machine
                   [~/.cache/nonsingular]
Exit status: 0 done, 1 internal failure, 2 bad input,
130 interrupted"""


class Sections(TyperGroup):
    """The commands of ``--help`` in their sections, none of their words cut."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write them."""
        for section in commands.SECTIONS:
            shown = [c for c in self.commands.values() if not c.hidden and c.rich_help_panel == section]  # type: ignore[attr-defined]
            if shown:
                with formatter.section(section):
                    formatter.write_dl([(c.name, " ".join((c.help or "").split())) for c in shown])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's; a misspelt command is told by the nearest of those that ``--help`` shows."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise InputError(_no_such("command", args[0], [n for n, c in self.commands.items() if not c.hidden]))
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command whose help says of what may be given several times so: ``DIR...``, and no type of Python's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's; where options that are not known are a script's, those before the script are none of its."""
        rest = super().parse_args(ctx, args)
        first = next((str(ctx.params.get(p.name, "")) for p in self.params if p.param_type_name == "argument"), "")
        if ctx.ignore_unknown_options and first.startswith("-"):
            raise InputError(_no_such("option", first.partition("=")[0], _options(ctx)))
        return rest

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write them."""
        write = formatter.write_dl

        def renamed(rows: Any, *places: Any, **options: Any) -> None:
            write([(_several(name), text) for name, text in rows], *places, **options)

        formatter.write_dl = renamed
        try:
            super().format_options(ctx, formatter)
        finally:
            formatter.write_dl = write


def _options(ctx: Any) -> list[str]:
    return [o for p in ctx.command.get_params(ctx) for o in (*p.opts, *p.secondary_opts) if o.startswith("-")]


def _no_such(what: str, name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"no such {what} {name}; {f'did you mean {near}?' if near else '--help shows all'}"


def _several(name: str) -> str:
    """``--figure <list[str]>`` as ``--figure <str>...``, ``DIR <list[Path]>`` as ``DIR...``."""
    named = re.fullmatch(r"(.*?)\s<list\[(\w+)\]>", name)
    if named is None:
        return name
    return f"{named[1]} <{named[2].lower()}>..." if name.startswith("-") else f"{named[1]}..."


app = typer.Typer(
    cls=Sections,
    epilog=_EPILOG,
    help="Why will this deep network not train, and what would make it?",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it cuts options and words on narrow terminals, and swallows what stands in brackets
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Handle options without a command."""
    if version or context.invoked_subcommand is None:
        typer.echo(f"nonsingular {__version__}" if version else context.get_help())
        raise typer.Exit


def _answering(command: Callable[..., None]) -> Callable[..., None]:
    """The command, printing nothing but JSON where it is asked for."""

    @functools.wraps(command)
    def answering(**options: Any) -> None:
        if not options.get("json_"):
            return command(**options)
        with streams.only_json():
            return command(**options)

    return answering


_modules = [
    importlib.import_module(f"{commands.__name__}.{found.name}") for found in pkgutil.iter_modules(commands.__path__)
]
for _module in sorted(_modules, key=lambda module: commands.SECTIONS.index(module.SHOWN)):
    app.command(
        _module.__name__.rpartition(".")[2].replace("_", "-"),
        cls=Command,
        rich_help_panel=_module.SHOWN,
        hidden=_module.SHOWN == commands.HIDDEN,
        context_settings=getattr(_module, "SETTINGS", None),
    )(_answering(_module.command))


_command = functools.cache(functools.partial(typer.main.get_command, app))  # for who runs several in one process


def main(arguments: list[str] | None = None) -> None:
    """Entry point: the user's mistakes and interrupts end in one line and their exit status, not in a traceback."""
    streams.secure()
    interrupts.promise()
    warnings.showwarning = _shown(warnings.showwarning)
    status = streams.finished(run(arguments))
    if status == interrupts.STATUS:
        interrupts.leave()
    sys.exit(status)


def _shown(show: Callable[..., None]) -> Callable[..., None]:
    """Warnings of this library are a line like all that it complains of; others are shown as ever."""

    def shown(message: Any, category: type[Warning], *where: Any, **how: Any) -> None:
        if issubclass(category, LibraryWarning):
            complain(str(message))
        else:
            show(message, category, *where, **how)

    return shown


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 internal failure, 2 bad input, 130 interrupted."""
    interrupts.begin()
    try:
        result: Any = _command()(args=arguments, prog_name="nonsingular", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        return complain(str(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        return complain(interrupts.interrupted(), interrupts.STATUS)
    except typer.Exit as stop:
        return (
            complain(interrupts.interrupted(), interrupts.STATUS)
            if stop.exit_code == interrupts.STATUS
            else stop.exit_code
        )
    except OSError as error:
        if error.errno not in _USERS_DISK:
            raise
        return complain(f"{error.strerror}: {error.filename or 'while writing results'}; what is complete is kept", 2)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own usage errors
            return complain(_usage(error), 2)
        raise
    status = result if isinstance(result, int) else 0
    return complain(interrupts.interrupted(), interrupts.STATUS) if status == interrupts.STATUS else status


def _usage(error: Any) -> str:
    """What was typed wrongly, as click tells it; of an option that there is not with the nearest one."""
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return _no_such("option", error.option_name, _options(error.ctx))
    return str(error.format_message())
