"""Killed at random moments and resumed, every command ends with the results of an uninterrupted run, to the bit."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from nonsingular import cli
from nonsingular.errors import InputError
from nonsingular.files import LOCK, held, is_empty, write_whole
from processes import Started

KILLS = 3  # of each command: 12 in all

COMMANDS = {
    "reproduce": ["reproduce", "orhan2018/fig6", "--scale", "smoke", "--runs", "1", "--networks", "plain,residual"],
    "search": ["search", "mu", "sigma", "lambda", "depth=3", "width=16", "--scale", "smoke", "--trials", "4",
               "--at-once", "2", "--epochs", "1"],
    "landscape": ["landscape", "TARGET", "--grid", "9", "--samples", "200"],
    "diagnose": ["diagnose", "TARGET", "--samples", "200", "--steps", "4", "--seeds", "2", "--no-curvature"],
}  # fmt: skip

TARGET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""


def started(arguments, folder):
    """A process that has all libraries loaded, so that a kill hits the work and not the imports."""
    logs = folder.with_name(f"{folder.name}-logs")
    logs.mkdir(exist_ok=True)
    command = Started([*arguments, "--out", folder], logs)
    command.begin()
    return command


def finished(arguments, folder):
    """Seconds that a run took to its end."""
    command = started(arguments, folder)
    began = time.monotonic()
    status, _, said = command.end()
    assert status == 0, said
    return time.monotonic() - began


def numbers(folder: Path):
    """All that a command measured."""
    stores = sorted(folder.rglob("*.zarr"))
    found = {p.name: xr.open_zarr(p, consolidated=False).load().to_dict() for p in stores}
    return json.dumps(
        found | {p.name: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}, default=str, sort_keys=True
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_random_moments_and_resumed(command, tmp_path):
    target = tmp_path / "model.py"
    target.write_text(TARGET)
    arguments = [f"{target}:build" if a == "TARGET" else a for a in COMMANDS[command]]
    takes = finished(arguments, tmp_path / "whole")
    draw = random.Random(command)
    names = (tmp_path / f"killed-{i}" for i in itertools.count())
    folder, killed, begun = next(names), 0, False
    while killed < KILLS:
        resume = ["--resume"] if begun else []
        command = started([*arguments, *resume], folder)
        command.process.join(draw.uniform(0, 0.8 * takes) / (killed + 1))  # there is less left to be killed
        if command.running():
            command.send(signal.SIGKILL)
        status, _, said = command.end()
        killed += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL), said
        begun = folder.exists() and not is_empty(folder)
        if status == 0:  # it was done before the kill came: begin another
            assert numbers(folder) == numbers(tmp_path / "whole")
            folder, begun = next(names), False
    finished([*arguments, *(["--resume"] if begun else [])], folder)
    assert numbers(folder) == numbers(tmp_path / "whole")


def test_interrupt_ends_soon_and_keeps_what_is_done(tmp_path):
    long = ["--runs", "2", "--epochs", "400", "--networks", "plain"]
    arguments = ["reproduce", "orhan2018/fig6", "--scale", "smoke", *long]
    command = started(arguments, tmp_path / "o")
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
