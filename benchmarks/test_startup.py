"""How long ``nonsingular --help`` takes: as a ratio to an interpreter that starts and ends, and in seconds."""

import subprocess
import sys

from interleaved import interleaved, ratio, show


def test_help():
    def run(*arguments):
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    times = interleaved({"python": run("-c", ""), "help": run("-m", "nonsingular", "--help")}, rounds=7, warmup=1)
    show(
        "Start",
        {
            "python -c ''": f"{times['python'].median:.3f} s",
            "nonsingular --help": f"{times['help'].median:.3f} s, {ratio(times['help'], times['python']):.1f} times",
        },
    )
