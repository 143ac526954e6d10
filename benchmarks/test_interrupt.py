"""How long commands take to end after Ctrl-C: SIGINT at random moments of real work, to whole processes.

The promise is two seconds, with status 130. A signal is seen between two calls into a library, and the libraries are
taken down before a process ends: without ``cli.interrupts`` this took 4 to 8 seconds on a busy core, once 71.
Takes about 3 minutes, most of it waiting.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from math import prod
from pathlib import Path
from statistics import median

TIMES, EARLIEST, LATEST, PROMISE = 2, 6.0, 12.0, 2.0  # seconds after the start
DATA, SHAPE = ("cifar10", (3, 32, 32)) if "NONSINGULAR_DATA" in os.environ else ("digits", (1, 8, 8))
CIFAR = ["--data", DATA]
COMMANDS = {
    "reproduce": ["reproduce", "orhan2018/fig3", *CIFAR],
    "reproduce, convolutions": ["reproduce", "oyedotun2021/table1", "--data", "digits"],
    "reproduce, Ray": ["reproduce", "orhan2018/fig3", *CIFAR, "--engine", "ray"],
    "search": ["search", "--trials", "40", *CIFAR],
    "landscape": ["landscape", "TARGET", "--exact", "--grid", "201", *CIFAR],
    "diagnose": ["diagnose", "TARGET", "--steps", "5000", *CIFAR],
    "spectrum, Lanczos": ["spectrum", "TARGET", *CIFAR],
    "spectrum, exact": ["spectrum", "SMALL", "--method", "exact", "--samples", "5000", *CIFAR],
}
FACTORIES = f"""
import nonsingular as ns
from torch import nn

def large():
    return ns.networks.build(ns.networks.resnet(20, width=8), {SHAPE}, 10, 0)

def small():
    return nn.Sequential(nn.Flatten(), nn.Linear({prod(SHAPE)}, 2), nn.Tanh(), nn.Linear(2, 10))
"""


def interrupted(command: list[str], out: Path, moment: float | None) -> tuple[float, int, str]:
    """Seconds that the command took to end, its status and what it said.

    Args:
        command: words after ``nonsingular``.
        out: where it writes.
        moment: seconds after the start; None for as soon as it has begun to write.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "nonsingular", *command, "--out", str(out)], cwd=out.parent, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    )  # fmt: skip
    if moment is not None:
        time.sleep(moment)
    while moment is None and not out.exists() and process.poll() is None:
        time.sleep(0.05)
    ended = process.poll()
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    delay = time.perf_counter() - start
    assert ended is None, f"{command} was over before it was interrupted: {said[-300:]}"
    assert "Traceback" not in said, said[-1000:]
    return delay, process.returncode, said


def test_delay(full: bool, tmp_path: Path) -> None:
    """In smoke mode the shortest to start."""
    (tmp_path / "mine.py").write_text(FACTORIES)
    places = {"TARGET": "mine.py:large", "SMALL": "mine.py:small"}
    for name in COMMANDS if full else ["reproduce"]:
        moments = random.Random(name)
        command = [places.get(word, word) for word in COMMANDS[name]]
        found = []
        for i in range(TIMES if full else 1):
            moment = moments.uniform(EARLIEST, LATEST) if full else None
            found.append(interrupted(command, tmp_path / f"{name} {i}", moment))
        delays, statuses = [d for d, _, _ in found], [s for _, s, _ in found]
        print(
            f"\n{name:<24} median {median(delays):.2f} s, longest {max(delays):.2f} s (promise {PROMISE:g}), {statuses}"
        )
        assert set(statuses) == {130}
