"""Terms of a loss of which one is a sum over a batch's numbers and another a mean: one of them has no say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import QUOTIENTS
from nonsingular.diagnosis.contract.scene import DISTANCES, Scene
from nonsingular.diagnosis.contract.targets import LABELS
from nonsingular.diagnosis.contract.terms import SCALES, one_sided, terms_of
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic

SUM, MEAN, PER_SAMPLE = "sum over all numbers", "mean over all numbers", "sum over a sample's numbers"
EXACT = 1e-3  # of the weight of a number, to which it is what the reduction gives
OF_NUMBERS = DISTANCES | {"binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"}
LARGER = 0.5  # decades by which a term without targets has more gradient, from where it outweighs those that have them


@dataclass(frozen=True)
class _Reduced:
    """A term: how its numbers became one, and what the loss weighs each of them by."""

    how: str
    weight: float
    op: Op


def unlike(scene: Scene) -> Statistic:
    """Decades between the weights of single numbers in two terms that are reduced in different ways.

    A sum grows with the batch, means do not. A mean over all numbers is laid against one of the samples' sums, as
    cross-entropies are, only where the term that knows no target outweighs the others: a divergence beside pixels.
    """
    words = "decades by which a number in one term of the loss weighs more than in another, by how they are added up"
    unknown = Statistic(math.nan, (), words)
    if scene.loss is None or not scene.loss.requires_grad:
        return unknown
    found = list(_reduced(scene, scene.loss))
    if len(found) < 2:
        return unknown
    pairs = [(a, b) for a in found for b in found if a.how != b.how and a.weight >= b.weight]
    if not one_sided(scene).value > LARGER:
        pairs = [both for both in pairs if SUM in (both[0].how, both[1].how)]
    if not pairs:
        return Statistic(0.0, (), words)
    heavy, light = max(pairs, key=lambda both: both[0].weight / both[1].weight)
    where = light.op.where or heavy.op.where
    evidence = (
        {"measure": f"weight of a number in the term at {heavy.op.where}, a {heavy.how}", "value": heavy.weight},
        {"measure": f"in the term at {light.op.where}, a {light.how}", "value": light.weight},
    )
    remedy = "Reduce both terms alike: sums over the numbers of a sample, and means over the samples."
    return Statistic(math.log10(heavy.weight / light.weight), (), words, where, evidence, remedy)


def _reduced(scene: Scene, loss: Tensor) -> Iterator[_Reduced]:
    made = _of_the_outputs(scene)
    for term in terms_of(scene, loss):
        op = _reduction(scene, term)
        if op is None:
            continue
        numbers, share = _within(scene, op)
        n, samples = numbers.numel(), scene.batch.samples
        if id(numbers) not in made or n < 2 * samples:
            continue
        how = next(
            (h for h, w in ((SUM, 1.0), (MEAN, 1 / n), (PER_SAMPLE, 1 / samples)) if abs(share / w - 1) < EXACT), ""
        )
        if how == SUM:
            how = {samples: PER_SAMPLE, n: MEAN}.get(_divided_by(scene, term), SUM)
        [slope] = torch.autograd.grad(loss, [op.out], retain_graph=True, allow_unused=True)
        weight = abs(float(slope)) * share * _factor(scene, op, numbers) if slope is not None else 0.0
        if how and weight > 0:
            yield _Reduced(how, weight, op)


def _reduction(scene: Scene, tensor: Tensor) -> Op | None:
    """The call that made one number of many, before that was multiplied by others; None where there is none."""
    for op in scene.trace.back(tensor):
        if not op.in_loss or not op.args or not isinstance(op.args[0], Tensor):
            return None
        if op.name in ("sum", "mean") or op.name in OF_NUMBERS | LABELS:
            return op
        if op.name not in SCALES:
            return None
    return None


def _divided_by(scene: Scene, term: Tensor) -> int:
    """The whole number by which a term was divided after it was reduced, such as that of the samples; else 1."""
    for op in scene.trace.back(term):
        if op.name not in SCALES:
            return 1
        by = op.args[1] if len(op.args) == 2 else None
        if op.name in QUOTIENTS and isinstance(by, int) and by > 1:
            return by
    return 1


def _within(scene: Scene, op: Op) -> tuple[Tensor, float]:
    """What a reduction reduces, before any other, and what it makes of each number there."""
    numbers, share = op.args[0], _share(op)
    while (before := _reduction(scene, numbers)) is not None and before.name in ("sum", "mean"):
        numbers, share = before.args[0], share * _share(before)
    return numbers, share


def _share(op: Op) -> float:
    kind = op.name if op.name in ("sum", "mean") else op.kwargs.get("reduction", "mean")
    target = op.given(1, "target") if op.name in LABELS else None
    n = target.numel() if isinstance(target, Tensor) and not target.is_floating_point() else op.args[0].numel()
    return {"sum": 1.0, "mean": op.out.numel() / n, "batchmean": 1 / len(op.args[0])}.get(kind, math.nan)


def _factor(scene: Scene, op: Op, numbers: Tensor) -> float:
    """By what a number is multiplied on its way, beside what reductions make of it."""
    if op.args[0] is numbers:
        return 1.0
    [slope] = torch.autograd.grad(op.out, [numbers], retain_graph=True)
    return float(slope.double().abs().mean()) / _within(scene, op)[1]


def _of_the_outputs(scene: Scene) -> set[int]:
    """Everything that the loss computes of the model's outputs, themselves included."""
    known = {id(t) for t in tree_leaves(scene.output) if isinstance(t, Tensor)}
    for op in scene.trace.ops:
        if op.in_loss and any(id(t) in known for t in op.tensors):
            known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor)}
    return known
