"""What arithmetic costs that keeps equal features equal, or adds in random order, against the library's.

``pytest benchmarks/test_arithmetic.py --full -s`` prints the ratios of a training step of ConstNet. Takes about
10 seconds on one thread.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from interleaved import interleaved, ratio, show
from nonsingular.data import Task
from nonsingular.networks import ConstNetSpec, build
from nonsingular.training import Breaker, Trainer, TrainingSpec

ARITHMETICS = ("library", "order-free", "random-order")


def our_step(arithmetic: str, width: int, size: int, batch: int) -> Callable[[], None]:
    """One step of one ConstNet of 13 layers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, size, size, generator=generator)
    task = Task(x, torch.arange(batch) % 10, x, torch.arange(batch) % 10, 10)
    network = build(ConstNetSpec(13, width, 1), task.shape, 10, 0)
    protocol = TrainingSpec(batch=batch, optimiser="sgd", learning_rate=0.03, momentum=0.9)
    return Trainer([network], [0], task, protocol, breakers=[Breaker(arithmetic)]).train_epoch


@pytest.mark.parametrize(("width", "size"), [(8, 8), (16, 16)])
def test_arithmetics(width: int, size: int, full: bool) -> None:
    """No aim but to know: exactness is bought with time."""
    batch = 64 if full else 2
    steps = {name: our_step(name, width, size, batch) for name in ARITHMETICS}
    timings = interleaved(steps, *((7, 2) if full else (1, 0)))
    library = timings["library"]
    show(
        f"training step of ConstNet, {width} channels, {size} x {size}, batch {batch}",
        {name: f"{1e3 * t.median:7.1f} ms, {ratio(t, library):.2f} times the library's" for name, t in timings.items()},
    )
