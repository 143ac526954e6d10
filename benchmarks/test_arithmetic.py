"""What arithmetic costs that keeps equal features equal, or adds in random order, against the library's.

``pytest benchmarks/test_arithmetic.py -s`` prints the ratios of a training step of ConstNet.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from interleaved import interleaved, ratio, show
from nonsingular.data import Task
from nonsingular.networks import ConstNetSpec, build
from nonsingular.training import Breaker, Trainer, TrainingSpec
from nonsingular.training.breakers import ARITHMETICS

BATCH = 64


def our_step(arithmetic: str, width: int, size: int) -> Callable[[], None]:
    """One step of one ConstNet of 13 layers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 3, size, size, generator=generator)
    task = Task(x, torch.arange(BATCH) % 10, x, torch.arange(BATCH) % 10, 10)
    network = build(ConstNetSpec(13, width, 1), task.shape, 10, 0)
    protocol = TrainingSpec(batch=BATCH, optimiser="sgd", learning_rate=0.03, momentum=0.9)
    return Trainer([network], [0], task, protocol, breakers=[Breaker(arithmetic)]).train_epoch


@pytest.mark.parametrize(("width", "size"), [(8, 8), (16, 16)])
def test_arithmetics(width: int, size: int) -> None:
    """No aim but to know: exactness is bought with time."""
    timings = interleaved({name: our_step(name, width, size) for name in ARITHMETICS}, rounds=7)
    library = timings["library"]
    show(
        f"training step of ConstNet, {width} channels, {size} x {size}, batch {BATCH}",
        {name: f"{1e3 * t.median:7.1f} ms, {ratio(t, library):.2f} times the library's" for name, t in timings.items()},
    )
    assert all(t.median > 0 for t in timings.values())
