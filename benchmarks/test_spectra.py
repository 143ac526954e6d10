"""Exact counts of small networks' eigenvalues against ``torch.func.hessian`` and ``eigvalsh``.

Every measurement runs in a process of its own, whose peak memory is stated (some 0.4 GiB of it are the libraries).
"""

from __future__ import annotations

from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

from child import in_child
from nonsingular.curvature import Hessian, window_counts
from nonsingular.networks import build, named
from trained import CLASSES, Trained, needs_cifar, network_and_batch

WINDOW = 0.1
SMALL = named("plain", depth=10, width=16)


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


def compare(title: str, model: nn.Module, x: torch.Tensor, y: torch.Tensor, rounds: int) -> float:
    assert sum(p.numel() for p in model.parameters()) == 4852
    pairs = [(in_child(ours, model, x, y), in_child(theirs, model, x, y)) for _ in range(rounds)]
    ratio = median(peer.seconds / mine.seconds for mine, peer in pairs)
    print(f"\nexact counts, 4 852 parameters, {title}, {len(x)} samples, {torch.get_num_threads()} threads")
    for name, of in (("ours", [a for a, _ in pairs]), ("torch.func.hessian and eigvalsh", [b for _, b in pairs])):
        print(f"  {name:<32} {median(m.seconds for m in of):6.1f} s, peak memory {max(m.peak for m in of):.1f} GiB")
    print(f"  median ratio {ratio:.1f} (target 5); counts {pairs[0][0].result} and {pairs[0][1].result}")
    assert all(mine.result == peer.result for mine, peer in pairs)
    return ratio


def test_counts_of_a_random_network_on_few_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(500, 128, generator=generator) * 3, torch.randint(CLASSES, (500,), generator=generator)
    assert compare("untrained", build(SMALL, 128, CLASSES, seed=0), x, y, rounds=3) > 1


@needs_cifar
def test_counts_of_a_trained_network(pytestconfig) -> None:
    how = Trained(SMALL, epochs=10, scaling="unit", pca=128)
    model, (x, y) = network_and_batch(how, 5000, pytestconfig.cache.mkdir("trained"))
    assert compare("trained", model, x, y, rounds=1) > 5
