"""How much faster a population trains than a loop over its networks, and how near that is to the machine's limit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from interleaved import interleaved, ratio, show
from nonsingular.data import Task
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import Trainer, TrainingSpec

BATCH = 500


def a_task(inputs: int, classes: int, samples: int = 10_000) -> Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, inputs, generator=generator) / inputs**0.5
    y = torch.randint(0, classes, (samples,), generator=generator)
    return Task(x, y, x[:10], y[:10], classes)


def loop_step(task: Task, spec: NetworkSpec, runs: int):
    """The plain PyTorch way: for every network, draw a batch, step its own Adam."""
    networks = [build(spec, task.inputs, task.classes, seed) for seed in range(runs)]
    optimisers = [torch.optim.Adam(n.parameters(), 5e-4) for n in networks]

    def step() -> None:
        for network, optimiser in zip(networks, optimisers, strict=True):
            rows = torch.randint(0, len(task.train_labels), (BATCH,))
            loss = F.cross_entropy(network(task.train_inputs[rows]), task.train_labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return step


def population_step(task: Task, spec: NetworkSpec, runs: int, precision: str = "float32"):
    networks = [build(spec, task.inputs, task.classes, seed) for seed in range(runs)]
    trainer = Trainer(networks, range(runs), task, TrainingSpec(batch=BATCH, precision=precision))

    def step() -> None:
        rows = torch.randint(0, len(task.train_labels), (runs, BATCH))
        trainer._step(trainer._gather(rows), task.train_labels[rows])

    return step


def multiply_adds(spec: NetworkSpec, inputs: int, classes: int) -> int:
    """Of one training step of one network; the first layer needs no gradient by its inputs."""
    first = inputs * spec.width
    others = (spec.depth - 1) * spec.width**2 + spec.width * classes
    return BATCH * (2 * first + 3 * others)


def matrix_product():
    a = torch.randn(2000, 2000)
    return lambda: a @ a


MATRIX_FLOPS = 2 * 2000**3


def test_small_networks() -> None:
    """100 networks of 10 layers and 16 units on 128 inputs: at least 10 times the loop's rate is the aim."""
    task, spec, runs = a_task(128, 20), NetworkSpec(10, 16), 100
    timings = interleaved(
        {
            "loop": loop_step(task, spec, runs),
            "population": population_step(task, spec, runs),
            "population, bfloat16": population_step(task, spec, runs, "bfloat16"),
        }
    )
    rate = {name: 2 * runs * multiply_adds(spec, 128, 20) / t.median / 1e9 for name, t in timings.items()}
    show(
        "100 networks, 10 layers x 16 units, batch 500",
        {
            **{n: f"{1e3 * t.median / runs:.3f} ms a net-step, {rate[n]:.0f} GFLOP/s" for n, t in timings.items()},
            **{f"loop / {n}": f"{ratio(timings['loop'], t):.1f}" for n, t in timings.items() if n != "loop"},
        },
    )
    assert ratio(timings["loop"], timings["population"]) > 1


@pytest.mark.parametrize("runs", [1, 10])
def test_deep_networks(runs: int) -> None:
    """Networks of 30 layers and 128 units on CIFAR's inputs, held against the machine's own f32 matrix rate."""
    task, spec = a_task(3072, 10), NetworkSpec(30, 128)
    timings = interleaved(
        {
            "matrix": matrix_product(),
            "loop": loop_step(task, spec, runs),
            "float32": population_step(task, spec, runs),
            "bfloat16": population_step(task, spec, runs, "bfloat16"),
        }
    )
    flops = 2 * runs * multiply_adds(spec, 3072, 10)
    share = {n: ratio(timings["matrix"], timings[n]) * flops / MATRIX_FLOPS for n in ("loop", "float32", "bfloat16")}
    show(
        f"{runs} networks, 30 layers x 128 units, batch 500",
        {
            "f32 matrix rate": f"{MATRIX_FLOPS / timings['matrix'].median / 1e9:.0f} GFLOP/s",
            **{
                n: f"{1e3 * timings[n].median / runs:.1f} ms a net-step, {100 * s:.0f} % of it"
                for n, s in share.items()
            },
        },
    )
    assert share["float32"] > 0
