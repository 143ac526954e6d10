"""Ctrl-C ends a process also where a library swallows the exception or hides in one long call."""

import signal
import subprocess
import sys

import pytest

from nonsingular import cli
from nonsingular.cli import interrupts
from nonsingular.cli.interrupts import STATUS

SWALLOWS = """
while True:
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
UNWINDS = """
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("unwound", flush=True)
    interrupts.leave()
"""
HIDES = """
import ctypes
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # so that the signal does not end the call early
while True:
    try:
        print("ready", flush=True)
        ctypes.CDLL(None).sleep(60)  # Python's own handler runs when this is over
    except KeyboardInterrupt:
        pass  # it came before the call
"""
DIES = """
class Dying:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)

while True:
    Dying()
"""
PREFIX = "import time\nfrom nonsingular.cli import interrupts\ninterrupts.promise()\n"


def interrupted(code):
    process = subprocess.Popen(
        [sys.executable, "-c", PREFIX + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    try:
        out, said = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out, said


@pytest.mark.parametrize("code", [SWALLOWS, HIDES, DIES], ids=["swallowed", "one long call", "not to be raised"])
def test_it_ends_all_the_same_and_says_so_in_one_line(code):
    status, _, said = interrupted(code)
    assert status == STATUS
    assert said == "\nnonsingular: interrupted\n"


def test_where_it_unwinds_nothing_is_said_twice():
    assert interrupted(UNWINDS) == (STATUS, "unwound\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diagnose", "mine.py:build", "--steps", "20", "--replace"], "diagnose mine.py:build --steps 20 --resume"),
        (["diagnose", "mine.py:build"], ""),
        (["demo", "--out", "mine"], "reproduce demo --out mine --resume"),
    ],
)
def test_the_line_that_goes_on_is_told_where_there_is_one(tmp_path, monkeypatch, capsys, arguments, said):
    (tmp_path / "mine.py").write_text("import torch\ndef build():\n    return torch.nn.Linear(64, 10)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nonsingular", *arguments])

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nonsingular.diagnosis.diagnose", stop)
    monkeypatch.setattr("nonsingular.experiments.reproducing.reproduce", stop)
    assert cli.run(arguments) == STATUS
    wanted = f"interrupted; go on with: nonsingular {said}" if said else "interrupted"
    assert capsys.readouterr().err.splitlines()[-1] == f"nonsingular: {wanted}"
    assert interrupts.interrupted() == wanted
