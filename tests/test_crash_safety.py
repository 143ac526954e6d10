"""Killed at random moments and resumed, every command ends with the results of an uninterrupted run, to the bit."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import xarray as xr

from nonsingular import cli
from nonsingular.errors import InputError
from nonsingular.experiments.run import archive
from nonsingular.files import LOCK, held, is_empty, write_whole
from processes import Started
from users_files import FIGURE, TARGET, TRAINED

KILLS = int(os.environ.get("NONSINGULAR_KILLS", "1"))
"""Of each command; some tens show more."""

SMALL = ["reproduce", "TRAINED", "--scale", "smoke"]


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        arguments: TARGET, FIGURE and TRAINED stand for what is in the folder of the test.
        before: commands whose results it works on, each with the folder that stands for its ``--out``.
        resumed: what is said the second time, instead of what was said at first.
    """

    arguments: list[str]
    before: Mapping[str, list[str]] = field(default_factory=dict)
    resumed: list[str] | None = None

    def again(self):
        return [*self.arguments, "--resume"] if self.resumed is None else self.resumed


OWN = ["reproduce", "FIGURE", "--scale", "smoke"]
JUDGE = ["judge", "OUT", "--figure", "FIGURE"]
MERGE = ["merge", "A", "B", "--figure", "FIGURE", "--out", "OUT"]
MORE = [*SMALL, "--runs", "3", "--resume", "--out", "OUT"]
PROOF = ["--samples", "200", "--steps", "4", "--seeds", "2", "--no-curvature", "--out", "OUT"]
SEARCH = ["search", "mu", "sigma", "lambda", "depth=3", "width=16", "--scale", "smoke", "--trials", "4",
          "--at-once", "2", "--epochs", "1", "--out", "OUT"]  # fmt: skip
CASES = {
    "reproduce": Case([*SMALL, "--out", "OUT"]),
    "search": Case(SEARCH),
    "landscape": Case(
        ["landscape", "TARGET", "--grid", "9", "--samples", "200", "--precision", "float32", "--out", "OUT"]
    ),
    "diagnose": Case(["diagnose", "TARGET", *PROOF]),
    "judge": Case(JUDGE, {"OUT": OWN}, JUDGE),
    "merge": Case(MERGE, {"A": OWN, "B": [*OWN, "--seed", "4"]}, MERGE),
    "more runs": Case(MORE, {"OUT": [*SMALL, "--runs", "1"]}, MORE),
    "until decided": Case([*OWN, "--until-decided", "--budget", "9h", "--out", "OUT"]),
}  # fmt: skip


def started(arguments, logs):
    """A process that has all libraries loaded, so that a kill hits the work and not the imports."""
    logs.mkdir(exist_ok=True)
    command = Started(arguments, logs)
    command.begin()
    return command


def finished(arguments, logs):
    """Seconds that a run took to its end."""
    command = started(arguments, logs)
    began = time.monotonic()
    status, _, said = command.end()
    assert status == 0, said
    return time.monotonic() - began


def numbers(folder: Path):
    """All that a command measured and judged."""
    stores = sorted(folder.rglob("*.zarr"))
    found = {p.name: xr.open_zarr(p, consolidated=False).load().to_dict() for p in stores}
    found |= {p.name: archive.read(folder).to_dict() for p in folder.glob(archive.FILE)}
    found |= {p.name: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}
    found.get("looks.json", {}).pop("cost", None)  # seconds
    found.pop("about.json", None)  # the words of the command, and with them the folder
    return json.dumps(found, default=str, sort_keys=True)


@pytest.mark.parametrize("name", CASES)
def test_killed_at_random_moments_and_resumed(name, tmp_path):
    case, logs = CASES[name], tmp_path / "logs"
    (tmp_path / "model.py").write_text(TARGET)
    (tmp_path / "figure.py").write_text(FIGURE)
    (tmp_path / "trained.py").write_text(TRAINED)
    places = {"TARGET": f"{tmp_path / 'model.py'}:build"}
    places |= {name.upper(): f"{tmp_path / name}.py:FIGURE" for name in ("figure", "trained")}
    for place, command in case.before.items():
        finished([*(places.get(word, word) for word in command), "--out", tmp_path / f"{place}-before"], logs)
        places[place] = tmp_path / f"{place}-before"

    def begun_in(folder):
        """The command as it is said at first and later, in a folder that is as it was before."""
        if "OUT" in case.before:
            shutil.copytree(places["OUT"], folder)
        here = places | {"OUT": folder}
        return ([here.get(word, word) for word in words] for words in (case.arguments, case.again()))

    whole, _ = begun_in(tmp_path / "whole")
    takes = finished(whole, logs)
    if name == "more runs":  # those that one study of as many runs has
        words = (places.get(word, word) for word in SMALL)
        finished([*words, "--runs", "3", "--out", tmp_path / "at-once"], logs)
        assert numbers(tmp_path / "whole") == numbers(tmp_path / "at-once")
    draw = random.Random(name)
    folders = (tmp_path / f"killed-{i}" for i in itertools.count())
    folder, killed, begun = next(folders), 0, False
    first, again = begun_in(folder)
    while killed < KILLS:
        command = started(again if begun else first, logs)
        command.process.join(draw.uniform(0, 0.8 * takes) / (killed % 4 + 1))  # there is less left to be killed
        if command.running():
            command.send(signal.SIGKILL)
        status, _, said = command.end()
        killed += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL), said
        begun = folder.exists() and not is_empty(folder)
        if status == 0:  # it was done before the kill came: begin another
            assert numbers(folder) == numbers(tmp_path / "whole")
            folder, begun = next(folders), False
            first, again = begun_in(folder)
    finished(again if begun else first, logs)
    assert numbers(folder) == numbers(tmp_path / "whole")


def test_interrupt_ends_soon_and_keeps_what_is_done(tmp_path):
    long = ["--runs", "2", "--epochs", "400", "--networks", "plain"]
    arguments = ["reproduce", "orhan2018/fig6", "--scale", "smoke", *long]
    command = started([*arguments, "--out", tmp_path / "o"], tmp_path / "logs")
    while not (tmp_path / "o" / "results.zarr" / "train_accuracy" / "c").exists():
        time.sleep(0.05)
    command.send(signal.SIGINT)
    assert command.end()[0] == 130
    kept = xr.open_zarr(tmp_path / "o" / "results.zarr", consolidated=False).load()
    assert kept.train_accuracy.isel(epoch=0).notnull().any()


# --- one writer a folder ------------------------------------------------------------------------------------


def test_the_second_process_says_who_holds_the_folder(capsys, tmp_path):
    out = tmp_path / "o"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from nonsingular.files import held\n"
         "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)", str(out)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    smallest = ["--scale", "smoke", "--runs", "2", "--epochs", "1", "--networks", "plain"]
    arguments = ["reproduce", "orhan2018/fig6", *smallest, "--out", str(out)]
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert f"{out} is being written by process {holder.pid} on " in error
    assert error.count("\n") == 1
    holder.kill()
    holder.wait()
    assert [p.name for p in out.iterdir()] == [LOCK]
    assert cli.run(arguments) == 0  # the system let go of the lock with its holder


def test_every_command_that_writes_holds_its_folder(capsys, tmp_path):
    (tmp_path / "figure.py").write_text(FIGURE)
    figure = f"{tmp_path / 'figure.py'}:FIGURE"
    for name, seed in (("a", "0"), ("b", "4")):
        words = ["reproduce", figure, "--scale", "smoke", "--seed", seed, "--out", str(tmp_path / name)]
        assert cli.run(words) == 0
    folders, own = [str(tmp_path / name) for name in "ab"], ["--figure", figure]
    more = ["reproduce", figure, "--scale", "smoke", "--resume", "--out", folders[0]]
    before = numbers(tmp_path / "a")
    with held(tmp_path / "a"), held(tmp_path / "c"):
        for command in (
            ["judge", folders[0], *own],
            ["merge", *folders, "--out", str(tmp_path / "c"), *own],
            [*more, "--runs", "6"],
            [*more, "--until-decided", "--budget", "1h"],
        ):
            capsys.readouterr()
            assert cli.run(command) == 2
            assert "is being written by process" in capsys.readouterr().err
    assert numbers(tmp_path / "a") == before


def test_a_folder_that_stays_empty_is_gone_again(tmp_path):
    with held(tmp_path / "a" / "b"):
        assert is_empty(tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="is being written by process"), held(tmp_path / "c"), held(tmp_path / "c"):
        pass
    assert (tmp_path / "c").exists()


def test_a_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "claims.json"
    write_whole(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_text() == "old"


def test_an_error_is_told_whatever_becomes_of_the_folder(tmp_path, monkeypatch):
    for broken in ("unlink", "rmdir", "iterdir"):

        def denied(*_, **__):
            raise PermissionError("no")

        def fails(folder, patch, broken=broken, denied=denied):
            with held(folder):
                patch.setattr(Path, broken, denied)
                raise ZeroDivisionError

        folder = tmp_path / broken
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            fails(folder, patch)
        with held(folder):  # the lock was let go
            pass


def test_the_lock_of_another_stays(tmp_path):
    folder = tmp_path / "a"
    with held(folder):
        (folder / LOCK).unlink()
        (folder / LOCK).write_text("process 1 on another machine")
    assert (folder / LOCK).read_text() == "process 1 on another machine"
