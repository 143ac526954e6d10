"""Times as ratios: the candidates take turns in one process, so a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate, round by round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.seconds)


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int = 9, warmup: int = 2) -> dict[str, Timing]:
    """Run every candidate once a round, ``rounds`` times after ``warmup`` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round in range(warmup + rounds):
        for name, work in candidates.items():
            start = time.perf_counter()
            work()
            if round >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def ratio(slow: Timing, fast: Timing) -> float:
    """Median over rounds of the ratio of two candidates' times."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def show(title: str, rows: Mapping[str, str]) -> None:
    """Print a small table."""
    print(f"\n{title}")
    for name, text in rows.items():
        print(f"  {name:<34} {text}")
