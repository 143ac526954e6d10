"""How long ``nonsingular --help`` takes: as a ratio to an interpreter that starts and ends, and in seconds.

Takes about 10 seconds.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from interleaved import interleaved, ratio, show


def run(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def test_help(full: bool) -> None:
    candidates = {"python": run("-c", ""), "help": run("-m", "nonsingular", "--help")}
    times = interleaved(candidates, *((7, 1) if full else (1, 0)))
    show(
        "Start",
        {
            "python -c ''": f"{times['python'].median:.3f} s",
            "nonsingular --help": f"{times['help'].median:.3f} s, {ratio(times['help'], times['python']):.1f} times",
        },
    )
