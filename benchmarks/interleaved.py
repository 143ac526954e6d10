"""Times as ratios: the candidates take turns in one process, so a machine that slows down slows all of them.

With one thread they are processor time, that of started programs included, which others' work disturbs less; with
several they are by the clock.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate, round by round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.seconds)


FEWEST, PATIENCE = 3, 60.0
"""Rounds that count at least, and seconds after which no further one begins: a slow machine has fewer, not an hour."""


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int = 9, warmup: int = 2) -> dict[str, Timing]:
    """Run every candidate once a round, ``rounds`` times after ``warmup`` rounds that do not count; fewer if slow."""
    clock = _processor if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    began = time.perf_counter()
    for round in range(warmup + rounds):
        if round >= warmup + FEWEST and time.perf_counter() - began > PATIENCE:
            break
        for name, work in candidates.items():
            start = clock()
            work()
            if round >= warmup:
                seconds[name].append(clock() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _processor() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def ratio(slow: Timing, fast: Timing) -> float:
    """Median over rounds of the ratio of two candidates' times."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def show(title: str, rows: Mapping[str, str]) -> None:
    """Print a small table."""
    print(f"\n{title}")
    for name, text in rows.items():
        print(f"  {name:<34} {text}")
