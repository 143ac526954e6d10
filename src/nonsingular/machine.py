"""What this machine computes in a second, measured once and kept, and what follows from it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache as cached
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from nonsingular.files import cache, to_json, write_whole

ROUNDS = 5
SHORTEST = 0.04  # seconds of a measurement
LONGEST = 0.5  # seconds after which work is not measured again, as where bfloat16 is emulated
WORTH = 1.2
"""Times as fast that bfloat16 must be to be worth its digits."""


@dataclass(frozen=True)
class Rate:
    """Of one kind of work.

    Attributes:
        value: median of the rounds, in thousand million operations (memory: bytes) a second.
        low, high: the slowest and the fastest round: on a machine that others use too they are far apart.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """What is taken, and why, in words."""

    taken: str
    why: str


@dataclass(frozen=True)
class Machine:
    """One device and what was measured on it.

    Attributes:
        device: ``cpu`` or ``cuda``.
        name: of the processor.
        instructions: that torch uses on a CPU, such as AVX512.
        cores: that this process may use.
        threads: that torch computes with.
        torch: its version.
        rates: ``matrix float32``, ``matrix bfloat16``, ``convolution float32``, ``convolution bfloat16``, ``memory``,
            and on a CPU ``matrix float32, one thread``.
        measured: when, as an ISO date and time.

    >>> import torch
    >>> from nonsingular.machine import describe
    >>> describe(torch.device("cpu")).threads == torch.get_num_threads()
    True
    """

    device: str
    name: str
    instructions: str
    cores: int
    threads: int
    torch: str
    rates: dict[str, Rate]
    measured: str = ""

    def gain(self, work: str) -> float:
        """Times as fast as in float32 that ``matrix`` or ``convolution`` is in bfloat16."""
        return self.rates[f"{work} bfloat16"].value / self.rates[f"{work} float32"].value

    @property
    def bfloat16(self) -> bool:
        """Whether bfloat16 can be worth its digits here."""
        return max(self.gain("matrix"), self.gain("convolution")) >= WORTH

    def chosen(self) -> dict[str, Choice]:
        """What is chosen for training, for surfaces, and the threads."""
        told = f"bfloat16 computes matrices {self.gain('matrix'):.2g} and convolutions "
        told += f"{self.gain('convolution'):.2g} times as fast here"
        return {
            "training": Choice("float32", f"its digits are results, alike everywhere to rounding; {told}, by name"),
            "surfaces": Choice("trial", f"bfloat16 where it proves faster and right to half the tolerance; {told}")
            if self.bfloat16
            else Choice("float32", told),
            "threads": Choice(str(self.threads), self._threads()),
        }

    def _threads(self) -> str:
        alone = self.rates.get("matrix float32, one thread")
        if alone is None:
            return "as PyTorch has them"
        gain = self.rates["matrix float32"].value / alone.value
        advice = "" if gain > 0.6 * self.threads else "; fewer (OMP_NUM_THREADS) may be as fast"
        return f"{gain:.2g} times as fast as one{advice}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"chosen": {what: asdict(choice) for what, choice in self.chosen().items()}}


def machine(device: torch.device, again: bool = False) -> Machine:
    """The device, with its rates as they were measured before, or measured now, which takes some seconds.

    Args:
        device: which.
        again: measure now in any case.
    """
    here = describe(device)
    found = None if again else _kept(here)
    if found is None:
        found = measured(here, device)
        with contextlib.suppress(OSError, RuntimeError):  # a cache that cannot be written, or has no home, is none
            path = _path(here)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, to_json(asdict(found)))
    return found


def known(device: torch.device) -> Machine | None:
    """The device, if its rates have been measured."""
    return _kept(describe(device))


def describe(device: torch.device) -> Machine:
    """The device, without rates."""
    cuda = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        device.type,
        torch.cuda.get_device_name(device) if cuda else processor(),
        "" if cuda else torch.backends.cpu.get_cpu_capability(),
        cores,
        torch.get_num_threads(),
        torch.__version__,
        {},
    )


def measured(here: Machine, device: torch.device) -> Machine:
    """The same with its rates, the works taken in turns."""
    works = _works(device)
    rounds: dict[str, list[float]] = {name: [] for name in works}
    spent = dict.fromkeys(works, 0.0)
    for number in range(ROUNDS + 1):  # the first one warms up
        for name, (amount, work) in works.items():
            if number and rounds[name] and spent[name] > LONGEST:
                continue
            seconds, calls = _timed(work, device)
            spent[name] += seconds
            if number or seconds > LONGEST:
                rounds[name].append(amount * calls / seconds / 1e9)
    rates = {name: Rate(statistics.median(r), min(r), max(r)) for name, r in rounds.items()}
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return Machine(**{**vars(here), "rates": rates, "measured": now})


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether a device only emulates bfloat16, as CPUs without AVX-512 do: 7 to 30 times slower than float32.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.training.emulates_bfloat16(torch.device("cpu")) in (True, False)  # depends on the processor
    True
    """
    return device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _works(device: torch.device) -> dict[str, tuple[float, Callable[[], object]]]:
    """Work by its name: operations or bytes of a call, and the call."""
    side, images = (1024, 8) if device.type == "cpu" else (4096, 256)
    works: dict[str, tuple[float, Callable[[], object]]] = {}
    draw = partial(torch.randn, device=device, generator=torch.Generator(device).manual_seed(0))
    for kind in ("float32", "bfloat16"):
        dtype = getattr(torch, kind)
        a, out = (draw(side, side).to(dtype) for _ in range(2))
        works[f"matrix {kind}"] = 2.0 * side**3, _product(a, out)
        x = draw(images, 64, 32, 32).to(dtype, memory_format=torch.channels_last)
        w = draw(64, 64, 3, 3).to(dtype, memory_format=torch.channels_last)
        works[f"convolution {kind}"] = 2.0 * x.numel() * 64 * 9, _convolution(x, w)
    source = torch.zeros(2**24, device=device)
    target = torch.zeros_like(source)
    works["memory"] = 2.0 * source.numel() * source.element_size(), lambda: target.copy_(source)
    if device.type == "cpu" and torch.get_num_threads() > 1:
        operations, alone = works["matrix float32"]
        works["matrix float32, one thread"] = operations, _on_one_thread(alone)
    return works


def _product(a: torch.Tensor, out: torch.Tensor) -> Callable[[], object]:
    return lambda: torch.mm(a, a, out=out)


def _convolution(x: torch.Tensor, w: torch.Tensor) -> Callable[[], object]:
    return lambda: F.conv2d(x, w, padding=1)


def _on_one_thread(work: Callable[[], object]) -> Callable[[], object]:
    def alone() -> None:
        with _threads(1):
            work()

    return alone


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def _timed(work: Callable[[], object], device: torch.device) -> tuple[float, int]:
    """Seconds of so many calls."""
    start, calls = time.perf_counter(), 0
    while True:
        work()
        calls += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        if seconds >= SHORTEST:
            return seconds, calls


@cached
def processor() -> str:
    """The processor's name, as the system has it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _path(here: Machine) -> Path:
    """A file of its own for every device, number of threads and version of torch."""
    return cache() / f"machine-{hashlib.sha256(repr(here).encode()).hexdigest()[:12]}.json"


def _kept(here: Machine) -> Machine | None:
    try:
        found = json.loads(_path(here).read_text(encoding="utf-8"))
        found["rates"] = {name: Rate(**rate) for name, rate in found["rates"].items()}
        kept = Machine(**found)
        kept.chosen()
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None  # never measured, damaged: measured anew; or no home (RuntimeError) to keep it in
    return kept
