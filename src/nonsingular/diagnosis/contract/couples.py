"""Losses of pairs, as contrastive ones: which pairs they draw together, held against which inputs are alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic

FEWEST, MOST = 16, 4096  # pairs of each kind, and of all that are compared


def exchanged(scene: Scene) -> Statistic:
    """By how many deviations inputs of the pairs that the loss draws together are less alike than of those it does not.

    Of two labels, one for pairs that belong together. 0 where the loss draws both kinds, or neither, together.
    """
    words = "deviations by which pairs that are drawn together are less alike, as inputs, than those that are not"
    unknown = Statistic(math.nan, (), words)
    given, made, label = _two(scene.batch.inputs), _two(scene.output), scene.batch.target
    if given is None or made is None or scene.loss is None or not scene.loss.requires_grad:
        return unknown
    if not isinstance(label, Tensor) or label.numel() != len(made[0]) or len(given[0]) != len(made[0]):
        return unknown
    label = label.detach().flatten()
    if len(label.unique()) != 2 or min(int((label == v).sum()) for v in label.unique()) < FEWEST:
        return unknown
    whole = scene.output if isinstance(scene.output, Tensor) else scene.output[0]
    if not whole.requires_grad:
        return unknown
    [slope] = torch.autograd.grad(scene.loss, [whole], retain_graph=True, allow_unused=True)
    if slope is None:
        return unknown
    slope = slope[:, 0] if isinstance(scene.output, Tensor) else slope
    drawn = ((made[0] - made[1]).detach() * slope).flatten(1).sum(1)  # more than 0: a step brings the two together
    together = [float((drawn[label == v] > 0).double().mean()) > 0.9 for v in label.unique()]
    if together[0] == together[1]:
        return Statistic(0.0, (), words)
    apart, chosen = _apart(scene, float(label.unique()[int(together[1])]))
    remedy = (
        "Exchange the two terms of the loss, or turn the labels round: it draws together the pairs that belong apart."
    )
    return Statistic(_deviations(apart, chosen), (), words, scene.loss_place, (), remedy)


def _apart(scene: Scene, drawn: float) -> tuple[Tensor, Tensor]:
    """How far apart the inputs of each pair are, in all batches, and which have the label that is drawn together."""
    apart, chosen = [], []
    for batch in scene.task.batches:
        both = _two(batch.inputs)
        if both is not None and isinstance(batch.target, Tensor) and batch.target.numel() == len(both[0]):
            apart.append((both[0].double() - both[1].double()).flatten(1).norm(dim=1))
            chosen.append(batch.target.flatten() == drawn)
    return torch.cat(apart)[:MOST], torch.cat(chosen)[:MOST]


def _two(x: Any) -> tuple[Tensor, Tensor] | None:
    """Both halves of pairs: two tensors of one shape, or one with an axis of two behind that of the pairs."""
    if isinstance(x, tuple | list) and len(x) == 2 and all(isinstance(t, Tensor) for t in x):
        return (x[0], x[1]) if x[0].shape == x[1].shape and x[0].ndim > 1 and x[0].is_floating_point() else None
    if isinstance(x, Tensor) and x.ndim > 2 and x.shape[1] == 2 and x.is_floating_point():
        return x[:, 0], x[:, 1]
    return None


def _deviations(values: Float[Tensor, " pair"], chosen: Bool[Tensor, " pair"]) -> float:
    """By how many standard deviations the ranks of the chosen are above those by chance (Mann and Whitney)."""
    from scipy.stats import rankdata  # which takes half a second to load

    n, k = len(values), int(chosen.sum())
    ranks = rankdata(values.cpu().numpy())  # ties share theirs, in whatever order they come
    expected, variance = k * (n + 1) / 2, k * (n - k) * (n + 1) / 12
    return (float(ranks[chosen.cpu().numpy()].sum()) - expected) / math.sqrt(variance)
