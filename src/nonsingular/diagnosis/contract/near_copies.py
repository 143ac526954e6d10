"""Samples that are nearly others, as augmented copies are, and whether their targets are nearly the same too."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.samples import ENOUGH
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import evenly

SAMPLES = 2048  # that are compared with each other
NUMBERS = 8  # of a sample, from where two are not near each other by chance
SIDE = 8  # pixels to which images are averaged: what moves by a pixel or has noise on it stays near
LONGEST = 1024  # numbers of a sample that are compared
COPIES = 7  # of one sample, at most
GAP = 0.5  # distance of the copies over that of the sample that comes after them
MANY = 0.2  # of the samples have a copy: else neighbours are as data have them
UNRELATED = 0.3  # of what one target tells of the other
TOLD = 32  # numbers of a target, at most


def contradicting(scene: Scene) -> Statistic:
    """Share of the samples with a near-copy, where the targets of one tell nothing of the other's; 0 of few copies.

    Exact copies are ``samples.repeated``'s.
    """
    words = "share of the samples that are nearly the same as another one with another target"
    both = _tables(scene)
    if both is None:
        return Statistic(math.nan, (), words)
    near, copied = _nearest(both[0])
    share = float(copied.double().mean())
    if share < MANY:
        return Statistic(0.0, (), words)
    likeness = _likeness(both[1][copied], both[1][near[copied]])
    evidence = (
        {"measure": "share of the samples that have a near-copy (noisy, mirrored or shifted)", "value": share},
        {"measure": "how far the target of one tells that of the other, 0 by chance", "value": likeness},
    )
    remedy = (
        "Bring targets into the order of the copies: torch.cat([x, copies]) needs torch.cat([y, y]), and "
        "repeat_interleave of one needs repeat_interleave of the other."
    )
    return Statistic(share if likeness < UNRELATED else 0.0, (), words, "", evidence, remedy)


def _tables(scene: Scene) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets of all batches; None where they are not one tensor of numbers and one row a sample each."""
    xs = [[t for t in tree_leaves(b.inputs) if isinstance(t, Tensor)] for b in scene.task.batches]
    ys = [b.target for b in scene.task.batches]
    if any(len(x) != 1 or not x[0].is_floating_point() or x[0].ndim < 2 for x in xs):
        return None
    whole = [x[0] for x in xs]
    if any(not isinstance(y, Tensor) or not y.ndim or len(y) != len(x) for x, y in zip(whole, ys, strict=True)):
        return None
    if len({x.shape[1:] for x in whole}) != 1 or len({y.shape[1:] for y in ys}) != 1:
        return None
    x, y = torch.cat([_few(x) for x in whole]), torch.cat(ys).detach().cpu()
    # Copies follow their samples, or come behind all of them: of too many, some neighbours are kept from end to end.
    kept = torch.arange(len(x)) // 2 % math.ceil(len(x) / SAMPLES) == 0
    x, y = x[kept], y[kept]
    if len(x) < 2 * ENOUGH or x[0].numel() < NUMBERS or y[0].numel() > TOLD or y.is_complex():
        return None
    return x, y.reshape(len(y), -1)


def _few(x: Tensor) -> Tensor:
    """A few numbers of each sample that say where it is: means of an image's parts, some columns of others."""
    x = x.detach()
    if x.ndim == 4:
        return F.adaptive_avg_pool2d(x, (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))).cpu().double()
    return x.flatten(1)[:, evenly(x[0].numel(), LONGEST).to(x.device)].cpu().double()


def _nearest(x: Float[Tensor, "sample *place"]) -> tuple[Tensor, Tensor]:
    """The nearest other sample of each, as it is or mirrored, and whether it is much nearer than others are.

    Of data that lie in many directions one neighbour is hardly nearer than the next; copies are, as many as there are.
    """
    if x.ndim == 4:
        turned = [x, x.flip(-1), x.flip(-2), x.flip(-1, -2)]
    else:
        deviation = x.std(0)
        usual = deviation.median().clamp_min(1e-12)
        turned = [(x - x.mean(0)) / torch.maximum(deviation, usual)]  # no column is all of the distance
    own = turned[0].flatten(1)
    distance = torch.full((len(x), len(x)), math.inf).double()
    for other in turned:
        torch.minimum(distance, torch.cdist(own, other.flatten(1)), out=distance)
    found = distance.fill_diagonal_(math.inf).topk(COPIES + 1, largest=False)
    steps = found.values[:, :-1] / found.values[:, 1:].clamp_min(1e-12)
    near = found.indices[:, 0]
    same = (own == own[near]).all(1)  # that is told by another rule
    return near, (steps.amin(1) < GAP) & (near[near] == torch.arange(len(near))) & ~same


def _likeness(y: Tensor, other: Tensor) -> float:
    """How far targets tell those of the copies: 1 where they are the same, or change as mirrored ones may, 0 by chance.

    By correlation of numbers; of classes, by how often the usual answer to each is right.
    """
    if y.is_floating_point():
        a, b = (t.double() - t.double().mean(0) for t in (y, other))
        size = a.norm(dim=0) * b.norm(dim=0)
        return float(((a * b).sum(0).abs() / size.clamp_min(1e-12)).mean()) if bool((size > 0).any()) else 1.0
    rows, ids = torch.cat([y, other]).unique(dim=0, return_inverse=True)
    one, two = ids.chunk(2)
    right, chance = (_usual(one, t, len(rows)) for t in (two, two[torch.randperm(len(two), generator=_seeded())]))
    return (right - chance) / (1 - chance) if chance < 1 else 1.0


def _usual(one: Tensor, two: Tensor, classes: int) -> float:
    table = torch.zeros(classes, classes).index_put_((one, two), torch.ones(len(one)), accumulate=True)
    return float(table.amax(1).sum()) / len(one)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
