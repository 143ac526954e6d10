"""What the monitor costs: ResNet-20 trained with and without it, the two loops taking turns step by step.

Of a hundred steps at the default cadence one is measured, the loop is observed in that one and the next, and of the
others only the latest batch is kept: both are timed apart, beside plain steps. Takes about 30 seconds on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

import nonsingular as ns
from interleaved import show
from resnet import ResNet20

EVERY = 100


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_at_most_five_percent_at_the_default_cadence(full: bool) -> None:
    batch, pixels, rounds, warmup = (128, 32, 12, 2) if full else (4, 8, 1, 0)
    torch.manual_seed(0)
    model = ResNet20()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(batch, 3, pixels, pixels), torch.randint(10, (batch,))

    def plain() -> None:
        loss = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def measured() -> None:  # two steps: the measured one, and the next, in which the loop is still observed
        with ns.Monitor(model, every=EVERY, optimiser=optimiser, on_finding=None) as monitor:
            for _ in range(2):
                plain()
                monitor.step()
        assert monitor.history

    def idle() -> None:
        plain()
        watching.step()

    def between() -> float:
        with watching:
            return seconds(idle)

    watching = ns.Monitor(model, every=10**9, optimiser=optimiser, on_finding=None)
    for _ in range(6):
        between()
    for _ in range(warmup):
        plain()
        measured()
    times = [(seconds(plain), seconds(measured), between()) for _ in range(rounds)]
    excess = statistics.median(b / a - 2 for a, b, _ in times)
    rest = statistics.median(c / a - 1 for a, _, c in times)
    cost = (excess + (EVERY - 2) * rest) / EVERY
    show(
        f"Monitor on ResNet-20, batches of {batch}",
        {
            "a measured step and the next cost more by": f"{100 * excess:.1f} %",
            "a step in between by": f"{100 * rest:.4f} %",
            f"training time, every {EVERY} steps": f"{100 * cost:.2f} % (target: at most 5 %)",
        },
    )
    assert not full or cost <= 0.05
