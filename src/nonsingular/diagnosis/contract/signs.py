"""Which way the loss goes: whether less of it means outputs nearer to their targets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic

LOGARITHMS = {"log_softmax", "logsigmoid", "log", "log_prob"}
PICKS = {"__getitem__", "gather", "take_along_dim", "index_select", "take"}
WORDS = "cosine between the way that makes the loss smaller and the way away from the targets"


def against_targets(scene: Scene) -> Statistic:
    """Minus the cosine between the slope of the loss and the way that leads away from the targets; 1 is a wrong sign.

    Where several terms say it, the one that says so least: adversaries and penalties have both signs.
    """
    if scene.loss is None or not scene.loss.requires_grad:
        return Statistic(math.nan, (), WORDS)
    found = [(value, op) for value, op in _turned(scene) if math.isfinite(value)]
    if not found:
        return Statistic(math.nan, (), WORDS)
    value, op = min(found, key=lambda both: both[0])
    remedy = "The loss gets smaller as outputs leave their targets: turn its sign round."
    return Statistic(value, (), WORDS, op.where, (), remedy)


def _turned(scene: Scene) -> Iterator[tuple[float, Op]]:
    """Of each term that compares outputs with targets: how far it is minimised the wrong way, -1 to 1."""
    distances = {id(p.op) for p in scene.pairs}
    for pair in scene.pairs:
        slope = _slope(scene, pair.prediction)
        if slope is not None and pair.prediction.shape == pair.target.shape:
            yield -_cosine(slope, pair.prediction.detach() - pair.target), pair.op
    for op in scene.calls:  # less of a loss is better
        if id(op) not in distances and (slope := _slope(scene, op.out)) is not None:
            yield -_sign(slope), op
    for pair in scene.meetings:  # more of a target's logarithm is better
        head = scene.trace.source(pair.prediction)
        if pair.op.name in ("mul", "__mul__", "__rmul__") and head is not None and head.name in LOGARITHMS:
            slope = _slope(scene, pair.prediction)
            if slope is not None and slope.shape == pair.target.shape and bool((pair.target >= 0).all()):
                yield _sign(slope * pair.target), pair.op
    targets = {id(t) for t in tree_leaves(scene.batch.target) if isinstance(t, Tensor)}
    for op in scene.trace.ops:
        if not (op.in_loss and isinstance(op.out, Tensor) and any(id(t) in targets for t in op.tensors)):
            continue
        head = scene.trace.source(op.args[0]) if op.args else None
        picked = op.name in PICKS and head is not None and head.name in LOGARITHMS
        alike = op.name == "cosine_similarity"
        if (picked or alike) and (slope := _slope(scene, op.out)) is not None:
            yield _sign(slope), op


def _slope(scene: Scene, tensor: object) -> Tensor | None:
    if not (isinstance(tensor, Tensor) and tensor.requires_grad and scene.loss is not None):
        return None
    [slope] = torch.autograd.grad(scene.loss, [tensor], retain_graph=True, allow_unused=True)
    return None if slope is None else slope.detach().double()


def _cosine(a: Tensor, b: Tensor) -> float:
    size = float(a.norm() * b.double().norm())
    return float((a * b.double()).sum()) / size if size > 0 else math.nan


def _sign(slope: Tensor) -> float:
    """Of its sum, where the entries agree on it."""
    total, size = float(slope.sum()), float(slope.abs().sum())
    return total / size if size > 0 else math.nan
