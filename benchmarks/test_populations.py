"""How much faster a population trains than a loop over its networks, and how near that is to the machine's limit.

Takes about 40 seconds on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from interleaved import interleaved, ratio, show
from nonsingular import onednn
from nonsingular.data import Task
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import Trainer, TrainingSpec


@dataclass(frozen=True)
class Size:
    """Networks of one kind, and the steps of one measurement."""

    spec: NetworkSpec
    runs: int
    inputs: int
    classes: int
    steps: int = 2
    batch: int = 500

    def task(self) -> Task:
        """Random images, one epoch of which is the steps."""
        samples, generator = self.steps * self.batch, torch.Generator().manual_seed(0)
        x = torch.randn(samples, self.inputs, generator=generator) / self.inputs**0.5
        y = torch.randint(0, self.classes, (samples,), generator=generator)
        return Task(x, y, x[:10], y[:10], self.classes)

    def multiply_adds(self) -> int:
        """Of one measurement; the first layer needs no gradient by its inputs."""
        first = self.inputs * self.spec.width
        others = (self.spec.depth - 1) * self.spec.width**2 + self.spec.width * self.classes
        return self.steps * self.runs * self.batch * (2 * first + 3 * others)

    def __str__(self) -> str:
        return f"{self.runs} networks, {self.spec.depth} layers x {self.spec.width} units, batch {self.batch}"

    def per_step(self, seconds: float) -> str:
        """The time of one network's step."""
        return f"{1e3 * seconds / (self.runs * self.steps):.3f} ms a net-step"


SMOKE = Size(NetworkSpec(3, 4), 2, 8, 3, batch=10)


def loop(size: Size) -> Callable[[], None]:
    """The plain PyTorch way: for every network, draw a batch, step its own Adam."""
    task = size.task()
    networks = [build(size.spec, task.inputs, task.classes, seed) for seed in range(size.runs)]
    optimisers = [torch.optim.Adam(n.parameters(), 5e-4) for n in networks]

    def epoch() -> None:
        for _ in range(size.steps):
            for network, optimiser in zip(networks, optimisers, strict=True):
                rows = torch.randint(0, len(task.train_labels), (size.batch,))
                loss = F.cross_entropy(network(task.train_inputs[rows]), task.train_labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    return epoch


def population(size: Size, precision: str = "float32", graph: bool = False) -> Callable[[], None]:
    """The project's training loop; with ``graph`` gradients are autograd's, where they would be written out."""
    task = size.task()
    networks = [build(size.spec, task.inputs, task.classes, seed) for seed in range(size.runs)]
    trainer = Trainer(networks, range(size.runs), task, TrainingSpec(batch=size.batch, precision=precision))
    if graph:
        trainer._stack = None
    return trainer.train_epoch


def matrix_products(side: int) -> dict[str, Callable[[], object]]:
    """By PyTorch's own function, and by oneDNN where large layers take that."""
    a = torch.randn(side, side)
    ways: dict[str, Callable[[], object]] = {"matrix": lambda: a @ a}
    return ways | ({"oneDNN": lambda: onednn.product(a, a)} if onednn.available() else {})


def test_small_networks(full: bool) -> None:
    """100 networks of 10 layers and 16 units on 128 inputs: at least 10 times the loop's rate is the aim."""
    size = Size(NetworkSpec(10, 16), 100, 128, 20) if full else SMOKE
    candidates = {"loop": loop(size), "population": population(size), "autograd": population(size, graph=True)}
    candidates["population, bfloat16"] = population(size, "bfloat16")
    timings = interleaved(candidates, *((9, 2) if full else (1, 0)))
    rate = {name: 2 * size.multiply_adds() / t.median / 1e9 for name, t in timings.items()}
    show(
        str(size),
        {
            **{n: f"{size.per_step(t.median)}, {rate[n]:.0f} GFLOP/s" for n, t in timings.items()},
            **{f"loop / {n}": f"{ratio(timings['loop'], t):.1f}" for n, t in timings.items() if n != "loop"},
        },
    )
    assert not full or ratio(timings["loop"], timings["population"]) > 1


@pytest.mark.parametrize("runs", [1, 10])
def test_deep_networks(runs: int, full: bool) -> None:
    """Networks of 30 layers and 128 units on CIFAR's inputs, held against the machine's own f32 matrix rate."""
    size = Size(NetworkSpec(30, 128), runs, 3072, 10) if full else SMOKE
    side = 2000 if full else 20
    matrices = matrix_products(side)
    candidates = matrices | {"loop": loop(size)}
    candidates |= {precision: population(size, precision) for precision in ("float32", "bfloat16")}
    candidates["autograd"] = population(size, graph=True)
    timings = interleaved(candidates, *((9, 2) if full else (1, 0)))
    share = {
        n: ratio(timings["matrix"], timings[n]) * size.multiply_adds() / side**3
        for n in ("loop", "autograd", "float32", "bfloat16")
    }
    show(
        str(size),
        {
            **{f"f32 rate, {n}": f"{2 * side**3 / timings[n].median / 1e9:.0f} GFLOP/s" for n in matrices},
            **{n: f"{size.per_step(timings[n].median)}, {100 * s:.0f} % of it" for n, s in share.items()},
        },
    )
    assert share["float32"] > 0
