"""Counting eigenvalues: exact counts of a small network, and Lanczos on one of 709 652 parameters, against peers.

The large network needs CIFAR-10 (environment variable NONSINGULAR_DATA) and some minutes: it is trained for 3 epochs.
"""

from __future__ import annotations

import os
import time
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nonsingular.curvature import Hessian, Lanczos, window_counts
from nonsingular.curvature.lanczos import estimate
from nonsingular.data import DataSpec, prepare
from nonsingular.networks import build, named
from nonsingular.training import Trainer, TrainingSpec
from peers import PEERS, lanczos_quadrature

WINDOW = 0.1


def timed(call):
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def dense_by_torch(model: nn.Module, x: torch.Tensor, y: torch.Tensor, piece: int = 100) -> torch.Tensor:
    """``torch.func.hessian`` in pieces of the data: at once it would need more memory than there is."""
    parameters = {k: p.detach() for k, p in model.named_parameters()}
    flat = torch.cat([p.flatten() for p in parameters.values()])
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        parts = {k: v.view_as(p) for (k, p), v in zip(parameters.items(), flat.split(sizes), strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, parts, (x,)), y)

    total = torch.zeros(len(flat), len(flat))
    for a, b in zip(x.split(piece), y.split(piece), strict=True):
        total += torch.func.hessian(loss)(flat, a, b) * (len(a) / len(x))
    return total


def test_exact_counts_of_4852_parameters() -> None:
    samples = 500
    generator = torch.Generator().manual_seed(0)
    model = build(named("plain", depth=10, width=16), 128, 20, seed=0)
    x = torch.randn(samples, 128, generator=generator) * 3
    y = torch.randint(20, (samples,), generator=generator)
    assert sum(p.numel() for p in model.parameters()) == 4852

    def ours():
        return window_counts(Hessian(model, F.cross_entropy, [(x, y)]).dense(), WINDOW)

    def theirs():
        values = torch.linalg.eigvalsh(dense_by_torch(model, x, y))
        below, above = int((values < -WINDOW).sum()), int((values > WINDOW).sum())
        return below, len(values) - below - above, above

    ratios = []
    for _ in range(3):
        (mine, a), (peer, b) = timed(ours), timed(theirs)
        assert mine == peer
        ratios.append(b / a)
    print(f"\nexact counts, 4 852 parameters, {samples} samples")
    print(f"  ours {a:.1f} s; torch.func.hessian and eigvalsh {b:.1f} s")
    print(f"  median ratio {median(ratios):.1f} (target 5); counts {mine} both ways")
    assert median(ratios) > 1


@pytest.mark.skipif("NONSINGULAR_DATA" not in os.environ, reason="needs CIFAR-10")
def test_outliers_of_709652_parameters() -> None:
    task = prepare(DataSpec("cifar10", mirror=True, scaling="standardised"))
    trainer = Trainer([build(named("plain", depth=20), task.inputs, 20, 0)], [0], task, TrainingSpec(epochs=3))
    for _ in range(3):
        trainer.train_epoch()
    model = trainer.population.network(0)
    batch = task.train_inputs[:5000].clone(), task.train_labels[:5000].clone()
    H = Hessian(model, F.cross_entropy, [batch])
    n = H.shape[0]
    process = Lanczos(H, torch.randn(n, generator=torch.Generator().manual_seed(1)))
    ours: dict[int, tuple[float, float]] = {}
    start = time.perf_counter()
    while process.steps < 400:
        process.extend(20)
        s = process.shares(WINDOW)
        ours[process.steps] = n * (estimate(*s.below) + estimate(*s.above)), time.perf_counter() - start
    limit = ours[400][0]
    product = PEERS["PyHessian"](model, batch)
    theirs: dict[int, tuple[float, float]] = {}
    for steps in (60, 120, 180, 240, 300):
        (nodes, weights), seconds = timed(lambda steps=steps: lanczos_quadrature(product, n, steps, seed=1))
        theirs[steps] = n * float(weights[np.abs(nodes) > WINDOW].sum()), seconds
    print(f"\noutliers of {n} eigenvalues, 5 000 samples; ours after 400 products: {limit:.0f}")
    for name, found in (("ours", ours), ("peer's products, Gauss quadrature", theirs)):
        for steps, (count, seconds) in found.items():
            print(
                f"  {name:<34} {steps:4d} products {seconds:7.1f} s {count:8.0f} ({100 * (count / limit - 1):+.1f} %)"
            )
    assert abs(ours[100][0] / limit - 1) < 0.05
