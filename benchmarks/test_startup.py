"""How long ``nonsingular --help`` and a diagnosis of a small model take, beside interpreters that load less.

Takes about 40 seconds.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from interleaved import interleaved, ratio, show


def run(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


SMALL = """
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), nn.CrossEntropyLoss()
"""


def test_start(full: bool, tmp_path: Path) -> None:
    """Seconds, and times as long as an interpreter that does nothing."""
    (tmp_path / "small.py").write_text(SMALL)
    diagnose = ["-m", "nonsingular", "diagnose", f"{tmp_path}/small.py:build", "--out", f"{tmp_path}/out"]
    candidates = {
        "python": run("-c", ""),
        "import nonsingular": run("-c", "import nonsingular"),
        "nonsingular --help": run("-m", "nonsingular", "--help"),
        "import torch": run("-c", "import torch"),
        "diagnose": run(*diagnose),
    }
    times = interleaved(candidates, *((7, 1) if full else (1, 0)))
    show("Start", {n: f"{t.median:.3f} s, {ratio(t, times['python']):.1f} times" for n, t in times.items()})
