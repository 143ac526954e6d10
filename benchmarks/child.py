"""Work done in a fresh process, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Measured:
    """What came out, in how many seconds, and the peak memory of the process in GiB, the libraries' own included."""

    result: Any
    seconds: float
    peak: float


def in_child(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Call ``work``, a function of a module, in a fresh process with as many threads; starting it is not timed."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_measure, args=(results, torch.get_num_threads(), work, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{work.__name__} ended with status {process.exitcode}")
    return results.get()


def here(work: Callable[..., Any], *arguments: Any) -> Measured:
    """The same in this process, for smoke mode: starting another costs seconds."""
    start = time.perf_counter()
    result = work(*arguments)
    return Measured(result, time.perf_counter() - start, _peak())


def _measure(results: Any, threads: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    results.put(here(work, *arguments))


def _peak() -> float:
    """GiB. Not ``ru_maxrss``: on Linux a child inherits that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20  # type: ignore[index]
