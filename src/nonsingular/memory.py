"""How much memory this process may still take: what the machine has free, less where a limit is nearer."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNLIMITED = 2**60
"""From this on a limit of version 1 is none: its files have no word for that."""


def available_bytes(device: torch.device) -> float:
    """Memory that can still be allocated on ``device``; infinity where the system does not say.

    On a CPU it is the least of what the machine has free and of what limits of containers (control groups) and of the
    process (``ulimit -v``) leave.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.objective.available_bytes(torch.device("cpu")) > 0
    True
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return max(0.0, min([math.inf, *_free(), *_in_groups(), *_in_process()]))


def _free() -> Iterator[float]:
    with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
        yield int(_table(PROC / "meminfo")["MemAvailable:"]) * 1024


def _in_groups() -> Iterator[float]:
    """Of every control group that this process is in, of both versions."""
    with contextlib.suppress(OSError):
        for line in (PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root = GROUPS / controllers if controllers else GROUPS
                here = root / path.strip("/")
                # Within a container the path may be the host's: what is mounted is then the container's own group.
                for folder in dict.fromkeys([here, *(p for p in here.parents if p.is_relative_to(root)), root]):
                    yield from _in_group(folder)


def _in_group(folder: Path) -> Iterator[float]:
    names = {"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"}
    for limit, usage in names.items():
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            most = int((folder / limit).read_text())
            if most < UNLIMITED:
                yield most - int((folder / usage).read_text()) + _cached(folder)


def _cached(folder: Path) -> int:
    """Of what a group uses, the files that it gives up when their memory is wanted."""
    with contextlib.suppress(OSError, ValueError):
        return int(_table(folder / "memory.stat").get("inactive_file", 0))
    return 0


def _in_process() -> Iterator[float]:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            pages = int((PROC / "self/statm").read_text().split()[0])
            yield most - pages * os.sysconf("SC_PAGE_SIZE")


def _table(path: Path) -> dict[str, str]:
    return {words[0]: words[1] for line in path.read_text().splitlines() if len(words := line.split()) > 1}
