"""A 51 x 51 loss surface of ResNet-56 against evaluating each point in turn as the loss-landscape scripts do.

Their method (github.com/tomgoldstein/loss-landscape): copy the weights into the network, pass all images through in
batches of 128 in the default memory order, count loss and correct answers; then the next point. Here it is spared
their data loader, which would add to its time.

A whole surface by that method takes minutes to hours. So one of its points is timed, in turn with one of ours, and
multiplied by 2601; of ours the whole surface is timed, all included. The error is measured against the full evaluation
at points drawn at random. Images are CIFAR-10's where NONSINGULAR_DATA is set, else random; the network is trained on
them for some steps. Takes about 2 minutes on one thread.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interleaved import interleaved, ratio, show
from nonsingular import landscape
from nonsingular.data import DataSpec, Task, prepare
from nonsingular.networks import NetworkSpec, build, resnet
from nonsingular.training import Trainer, TrainingSpec

TARGET, EXACT_TARGET, ERROR_TARGET = 10.0, 2.0, 0.01
BATCH = 128


@dataclass(frozen=True)
class Size:
    """A ResNet and its training; the images of its surface, the surface, and random points where that is checked."""

    depth: int
    samples: int
    pixels: int
    epochs: int
    images: int
    grid: int
    checks: int
    rounds: tuple[int, int]

    def task(self) -> Task:
        """What it is trained on."""
        if self is FULL and "NONSINGULAR_DATA" in os.environ:
            return prepare(DataSpec("cifar10", train=self.samples, test=10, scaling="channels", layout="image"))
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.samples, 3, self.pixels, self.pixels, generator=generator)
        y = torch.randint(10, (self.samples,), generator=generator)
        return Task(x, y, x[:10], y[:10], classes=10)


FULL = Size(56, 1000, 32, epochs=4, images=128, grid=51, checks=60, rounds=(5, 1))
SMOKE = Size(8, 20, 8, epochs=1, images=8, grid=5, checks=3, rounds=(1, 0))


@pytest.fixture(scope="module")
def size(full: bool) -> Size:
    return FULL if full else SMOKE


class Scripts:
    """The scripts' method, one point a call."""

    def __init__(self, network: nn.Module, batch: tuple[Tensor, Tensor], directions: list[landscape.Direction]) -> None:
        self.network, self.batch = network, batch
        self.centre = {n: p.detach().clone() for n, p in network.named_parameters()}
        self.directions = directions

    @torch.no_grad()
    def __call__(self, point: np.ndarray) -> float:
        """The loss there."""
        for name, p in self.network.named_parameters():
            p.copy_(
                self.centre[name] + sum(c * d[name] for c, d in zip(point, self.directions, strict=True) if name in d)
            )
        total, correct = 0.0, 0
        for x, y in zip(*(t.split(BATCH) for t in self.batch), strict=True):
            output = self.network(x)
            total += F.cross_entropy(output, y).item() * len(y)
            correct += output.argmax(1).eq(y).sum().item()
        return total / len(self.batch[1])


@pytest.fixture(scope="module")
def trained(size: Size) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """The network, and the images of its surface."""
    task = size.task()
    x, y = task.train_inputs, task.train_labels
    spec = TrainingSpec(size.epochs, size.samples // 10, 0.05, "sgd", 0.9, weight_decay=5e-4)
    trainer = Trainer([build(resnet(size.depth), task.shape, task.classes, 0)], [0], task, spec)
    start = time.perf_counter()
    for _ in range(spec.epochs):
        trainer.train_epoch()
    loss, seconds = trainer.evaluate(x[: size.images], y[: size.images]).loss.item(), time.perf_counter() - start
    print(f"\nResNet-{size.depth} after {size.epochs} epochs: loss {loss:.3f}, {seconds:.0f} s")
    return trainer.population.network(0).eval(), (x[: size.images], y[: size.images])


def calls(losses: landscape.Losses, points: np.ndarray) -> Callable[[], object]:
    return lambda: losses(points)


def test_one_point(size: Size, full: bool) -> None:
    """What each idea gains at one point; the answers agree."""
    task = size.task()
    network = build(resnet(size.depth), task.shape, task.classes, 0).eval()
    batch = (task.train_inputs[: size.images], task.train_labels[: size.images])
    directions = [landscape.gaussian(network, seed) for seed in (0, 1)]
    points = np.array([[0.1, -0.05]])

    def ours(**options: Any) -> landscape.Losses:
        return landscape.Losses(network, F.cross_entropy, [batch], directions, **options)

    theirs = Scripts(build(resnet(size.depth), task.shape, task.classes, 0).eval(), batch, directions)
    ways = {
        "channels-last, batches of 128": ours(folded=False, microbatch=BATCH),
        "channels-last, pieces of 32": ours(folded=False),
        "and batch norm folded (exact)": ours(),
        "half of the images": ours(samples=size.images // 2),
    }
    if full and fast_bfloat16():
        ways["bfloat16"] = ours(precision="bfloat16")
    exact = theirs(points[0])
    for name, way in ways.items():
        tolerance = {"bfloat16": 0.05, "half of the images": 0.5}.get(name, 1e-4)
        assert way(points)[0][0] == pytest.approx(exact, rel=tolerance), name
    candidates: dict[str, Callable[[], object]] = {"scripts": lambda: theirs(points[0])}
    timings = interleaved(candidates | {name: calls(way, points) for name, way in ways.items()}, *size.rounds)
    show(
        f"one point of ResNet-{size.depth}, {size.images} images, {torch.get_num_threads()} threads",
        {
            "scripts": f"{timings['scripts'].median:.2f} s",
            **{n: f"{timings[n].median:.2f} s, ratio {ratio(timings['scripts'], timings[n]):.2f}" for n in ways},
        },
    )
    exact_ratio = ratio(timings["scripts"], timings["and batch norm folded (exact)"])
    print(f"  exact mode: {exact_ratio:.2f} times as fast (target {EXACT_TARGET:g})")
    assert not full or exact_ratio > 1


def test_surface(trained: tuple[nn.Module, tuple[Tensor, Tensor]], size: Size, full: bool) -> None:
    """The whole surface: time against the scripts', error against the full evaluation."""
    network, batch = trained
    directions = [landscape.gaussian(network, seed) for seed in (0, 1)]
    exact = landscape.Losses(network, F.cross_entropy, [batch], directions)
    start = time.perf_counter()
    settings = landscape.Settings(precision="auto" if full else "float32")
    found = landscape.surface(network, F.cross_entropy, [batch], *directions, grid=size.grid, settings=settings)
    seconds = time.perf_counter() - start
    theirs, point = Scripts(network, batch, directions), np.array([[0.3, 0.4]])
    timings = interleaved({"scripts": lambda: theirs(point[0]), "ours": calls(exact, point)}, *size.rounds)
    a_point = ratio(timings["scripts"], timings["ours"])
    rng = np.random.default_rng(1)
    drawn = rng.choice(size.grid**2, size.checks, replace=False)
    rows, columns = np.unravel_index(drawn, (size.grid, size.grid))
    at = np.stack([found.x.values[columns], found.y.values[rows]], axis=1)
    truth, _ = exact(at)
    errors = np.log(found.loss.values[rows, columns]) - np.log(truth)
    error = math.sqrt(np.mean(errors**2)) / found.attrs["range"]
    evaluated = found.attrs["evaluated"]
    whole = size.grid**2 * timings["scripts"].median
    show(
        f"{size.grid} x {size.grid} surface of ResNet-{size.depth}, {size.images} images, "
        f"{torch.get_num_threads()} threads",
        {
            "ours": f"{evaluated} of {size.grid**2} points, {seconds:.0f} s, all included; {found.attrs['how']}",
            "scripts": f"{size.grid**2} points, {whole:.0f} s by the time of one point",
            "ratio": f"{whole / seconds:.1f} by the clock (target {TARGET:g}); {a_point:.2f} a point in float32, "
            f"{size.grid**2 / evaluated:.1f} in points",
            "error of log loss": f"{100 * error:.3f} % of its range {found.attrs['range']:.2f} "
            f"at {size.checks} random points (target {100 * ERROR_TARGET:g} %)",
            "its own estimate": f"{100 * found.attrs['interpolation_error'] / found.attrs['range']:.3f} %",
        },
    )
    assert error < ERROR_TARGET
    assert not full or whole > seconds


WIDE = ((30, 128, 3072, 1000), (3, 128, 784, 2000), (5, 512, 256, 1000), (5, 128, 64, 2000))


@pytest.mark.parametrize("sizes", WIDE, ids=str)
def test_wide_fully_connected_networks(sizes: tuple[int, int, int, int], full: bool) -> None:
    """Points of networks of so many layers, units, inputs and samples: first layers added up, large ones by oneDNN."""
    depth, width, inputs, samples = sizes if full else (2, 3, sizes[2] // 4, 5)
    network, theirs = (build(NetworkSpec(depth, width), inputs, 10, 0).eval() for _ in range(2))
    batch = (torch.randn(samples, inputs), torch.randint(10, (samples,)))
    directions = [landscape.gaussian(network, seed) for seed in (0, 1)]
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (8, 2))
    ours, plain = (landscape.Losses(network, F.cross_entropy, [batch], directions, shared=s) for s in (True, False))
    scripts = Scripts(theirs, batch, directions)
    np.testing.assert_allclose(ours(points)[0], [scripts(p) for p in points], rtol=1e-3)
    timings = interleaved(
        {"scripts": lambda: [scripts(p) for p in points], "layers as they are": calls(plain, points)}
        | {"ours": calls(ours, points)},
        *((9, 2) if full else (1, 0)),
    )
    gains = {n: f"{1e3 * t.median / 8:.2f} ms a point, {ratio(timings['scripts'], t):.2f}" for n, t in timings.items()}
    show(f"{depth} layers x {width}, {inputs} inputs, {samples} samples", gains)


def test_small_networks_side_by_side(full: bool) -> None:
    """Many points in one call pays for small fully-connected networks only; the losses are the same."""
    for depth, width in ((10, 16), (30, 128)) if full else ((3, 4),):
        network = build(NetworkSpec(depth, width), 64, 10, 0).eval()
        batch = (torch.randn(500, 64), torch.randint(10, (500,)))
        directions = [landscape.gaussian(network, seed) for seed in (0, 1)]
        points = np.random.default_rng(0).uniform(-0.3, 0.3, (64, 2))
        one, several = (
            landscape.Losses(network, F.cross_entropy, [batch], directions, vectorised=v) for v in (False, True)
        )
        np.testing.assert_allclose(one(points)[0], several(points)[0], rtol=1e-3)
        chosen = landscape.Losses(network, F.cross_entropy, [batch], directions)
        timings = interleaved(
            {"one": calls(one, points), "several": calls(several, points)}, *((5, 1) if full else (1, 0))
        )
        gain = ratio(timings["one"], timings["several"])
        print(f"\n{depth} layers x {width}: side by side {gain:.2f} times as fast; chosen: {chosen.how}")


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware."""
    a = torch.randn(512, 512)
    b = a.bfloat16()
    timings = interleaved({"float32": lambda: a @ a, "bfloat16": lambda: b @ b}, 3, 1)
    return ratio(timings["float32"], timings["bfloat16"]) > 1
