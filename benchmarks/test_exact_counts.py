"""Exact counts of small networks' eigenvalues against ``torch.func.hessian`` and ``eigvalsh``.

Every measurement runs in a process of its own, whose peak memory is stated (some 0.4 GiB of it are the libraries).
Takes about 3 minutes on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

from child import Measured, here, in_child
from nonsingular.curvature import Hessian, window_counts
from nonsingular.networks import build, named
from trained import CLASSES, Trained, network_and_batch

WINDOW = 0.1
Measure = Callable[..., Measured]
SMALL, SMALLEST = named("plain", depth=10, width=16), named("plain", depth=3, width=4)


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


def ours(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[int, int, int]:
    return window_counts(Hessian(model, F.cross_entropy, [(x, y)]).dense(), WINDOW)


def theirs(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[int, int, int]:
    values = torch.linalg.eigvalsh(dense_by_torch(model, x, y))
    below, above = int((values < -WINDOW).sum()), int((values > WINDOW).sum())
    return below, len(values) - below - above, above


def compare(title: str, model: nn.Module, x: torch.Tensor, y: torch.Tensor, rounds: int, measure: Measure) -> float:
    pairs = [(measure(ours, model, x, y), measure(theirs, model, x, y)) for _ in range(rounds)]
    ratio = median(peer.seconds / mine.seconds for mine, peer in pairs)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"\nexact counts, {parameters} parameters, {title}, {len(x)} samples, {torch.get_num_threads()} threads")
    for name, of in (("ours", [a for a, _ in pairs]), ("torch.func.hessian and eigvalsh", [b for _, b in pairs])):
        print(f"  {name:<32} {median(m.seconds for m in of):6.1f} s, peak memory {max(m.peak for m in of):.1f} GiB")
    print(f"  median ratio {ratio:.1f} (target 5); counts {pairs[0][0].result} and {pairs[0][1].result}")
    assert all(mine.result == peer.result for mine, peer in pairs)
    return ratio


def test_counts_of_a_random_network_on_few_samples(full: bool) -> None:
    samples, rounds, network = (500, 3, SMALL) if full else (30, 1, SMALLEST)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(samples, 128, generator=generator) * 3, torch.randint(CLASSES, (samples,), generator=generator)
    model = build(network, 128, CLASSES, seed=0)
    ratio = compare("untrained", model, x, y, rounds, in_child if full else here)
    assert not full or ratio > 1


def test_counts_of_a_trained_network(full: bool, kept: Path) -> None:
    small = Trained(SMALL, epochs=10, scaling="unit", pca=128)
    smallest = Trained(SMALLEST, epochs=1, scaling="unit", data="digits")
    model, (x, y) = network_and_batch(small if full else smallest, 5000 if full else 100, kept)
    ratio = compare("trained", model, x, y, 1, in_child if full else here)
    assert not full or ratio > 5
