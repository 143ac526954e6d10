"""Which way the loss goes: whether less of it means outputs nearer to their targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import PRODUCTS
from nonsingular.diagnosis.contract.heads import interval
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import is_binary
from nonsingular.errors import InputError

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
        if pair.op.name in PRODUCTS and head is not None and head.name in LOGARITHMS:
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


def backwards(scene: Scene) -> Statistic:
    """By how much the loss is larger where outputs are the targets than where they are others', over both.

    It needs to know nothing of how the user's own loss is written: a coefficient, a likeness or a likelihood that is to
    grow, and is made smaller, all show it. Of torch's losses the sign is known (``against_targets``).
    """
    words = "loss of outputs that are the targets less that of outputs that are others' targets, over their size"
    found = _ideal(scene) if not scene.calls and _meant(scene) else None
    if found is None:
        return Statistic(math.nan, (), words)
    right, wrong = found
    try:
        with torch.no_grad():
            here, there = (float(scene.task.loss(output, scene.batch)) for output in (right, wrong))
    except (InputError, RuntimeError, ValueError, TypeError, IndexError):
        return Statistic(math.nan, (), words)
    size = abs(here) + abs(there)
    if not (math.isfinite(size) and size > 0):
        return Statistic(math.nan, (), words)
    evidence = (
        {"measure": "loss where every output is its target", "value": here},
        {"measure": "loss where every output is another target", "value": there},
    )
    remedy = (
        "The loss is smaller the worse the outputs are: minimise 1 minus a coefficient, or minus a likeness or a "
        "log-likelihood."
    )
    value = (here - there) / size
    if abs(value) < 1e-3:
        value = 0.0  # rounding, where the loss is about something else
    return Statistic(value, (), words, scene.loss_place, evidence, remedy)


SURE = 6.0  # of a logit


def _meant(scene: Scene) -> bool:
    """Whether the loss compares outputs with the targets as they are given, and not with their opposite."""
    target, output = scene.batch.target, scene.output
    if not isinstance(target, Tensor) or not isinstance(output, Tensor):
        return False
    if not target.is_floating_point() and target.ndim and output.ndim > 1 and output.shape[1] > 1:
        return _alike_for_all_classes(scene, output, target)
    if any(op.name in PICKS and op.args and op.args[0] is target for op in scene.trace.ops):
        return False  # of what is picked out of them, as the rewards of what was chosen, the rest is no answer to give
    whole = target.detach().double().flatten()
    met = [a for pair in scene.meetings if len(a := pair.target.detach().double().flatten()) == len(whole)]
    return all(float((a - a.mean()) @ (whole - whole.mean())) > 0 for a in met)


def _alike_for_all_classes(scene: Scene, output: Tensor, target: Tensor) -> bool:
    """Whether classes may change names, in outputs and targets, without any change of the loss: they are classes."""
    classes = output.shape[1]
    try:
        with torch.no_grad():
            one = float(scene.task.loss(output, scene.batch))
            other = float(scene.task.loss(output.roll(1, 1), replace(scene.batch, target=(target + 1) % classes)))
    except (InputError, RuntimeError, ValueError, TypeError, IndexError):
        return False
    return abs(one - other) <= 1e-3 * (abs(one) + abs(other))


def _ideal(scene: Scene) -> tuple[Tensor, Tensor] | None:
    """Outputs that say the targets, and outputs that say wrong ones; None where neither is known."""
    output, target = scene.output, scene.batch.target
    usable = isinstance(output, Tensor) and output.is_floating_point() and output.requires_grad and output.ndim
    if scene.task.form != "output" or scene.loss is None or not usable or not isinstance(target, Tensor):
        return None
    if not scene.reads_target or not target.ndim or len(target) < 4:
        return None
    rows, classes = output.shape[0], output.shape[1] if output.ndim > 1 else 0
    if not target.is_floating_point() and classes > 1 and target.shape == (rows, *output.shape[2:]):
        valid = (target >= 0) & (target < classes)
        if not bool(valid.all()):
            return None
        one = torch.nn.functional.one_hot(target.long(), classes).movedim(-1, 1)
        return _said(scene, one), _said(scene, one.roll(1, 1))
    if target.numel() != output.numel() or target.is_complex():
        return None
    told = target.detach().reshape(output.shape)
    if is_binary(told):
        single = classes > 1 and bool((told.sum(1) == 1).all())
        return _said(scene, told), _said(scene, told.roll(1, 1) if single else 1 - told.to(output.dtype))
    told, other = told.to(output.dtype), told.to(output.dtype).roll(max(1, rows // 2), 0)
    low, _ = interval(scene, output)
    return (told, other) if low < 0 or float(told.min()) >= 0 else None


def _said(scene: Scene, told: Tensor) -> Tensor:
    """Zeros and ones as the model would say them: as probabilities, their logarithms, or logits."""
    low, high = interval(scene, scene.output)
    chances = told.to(scene.output.dtype) * 0.98 + 0.01
    if (low, high) == (0.0, 1.0):
        return chances
    return chances.log() if high == 0.0 else SURE * (2 * told.to(scene.output.dtype) - 1)


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
