"""Targets that are among the inputs: at a position that the output sees, so that a copy is all there is to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.contract.reading import LONG
from nonsingular.diagnosis.contract.scene import Scene, passes
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError

ALIKE = 0.6  # correlation of neighbours, beyond that of 16 independent samples
OVERLAPS = 8  # numbers of many values that neighbouring columns share, which is no chance
SAME = 0.99  # of the entries that count
WIDEST = 4096  # numbers of a sample among which a target is looked for
FEWEST = 16  # samples, from where equal columns are no chance
FURTHEST = 4  # positions by which a sequence is looked for among its inputs


def seen_answers(scene: Scene) -> Statistic:
    """Whether targets are a sequence of the inputs, and the output for a position sees the one that it is to tell."""
    words = "the output for a position depends on the entry that is its target"
    unknown = Statistic(math.nan, (), words)
    n = scene.batch.samples
    if n < 2:
        return unknown
    leaves = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    alike = [(*found, y is scene.batch.target) for y in _targets(scene) for x in leaves for found in _both(x, y, n)]
    for x, axis, own, target, given in alike:
        length = own.shape[1]
        shares = {s: _same_share(own[:, max(s, 0) : length + min(s, 0)], target[:, max(-s, 0) : length - max(s, 0)])
                  for s in _shifts(length, given and (axis == 1 or x.shape[1] == 1))}  # fmt: skip
        ahead = next((s for s, share in shares.items() if share > SAME), None)
        if ahead is None:
            continue
        at = _counted(scene, axis, length, ahead)
        if at is None:
            return Statistic(0.0, (), words)  # the loss reads other positions
        seen = _moves(scene, x, axis, at, at + ahead)
        # What sees all positions, as an autoencoder's code does, has to return them on purpose.
        if seen is None or (not ahead and _moves(scene, x, axis, at, at + 1) is not False):
            return unknown
        if not seen:
            return Statistic(0.0, (), words)
        evidence = (
            {"measure": "positions by which inputs are ahead of their targets", "value": ahead},
            {"measure": "axis of the positions", "value": axis},
        )
        remedy = (
            "Let no output see what comes later: is_causal or a triangular mask in attention, no bidirectional "
            "recurrence, convolutions padded on the left alone (F.pad(x, (dilation * (kernel - 1), 0)))."
        )
        if ahead < 1:
            remedy = "Shift the targets: inputs x[:, :-1], targets x[:, 1:]."
        return Statistic(1.0, scene.entrance, words, scene.loss_place, evidence, remedy)
    return Statistic(0.0, (), words) if alike else unknown


def _targets(scene: Scene) -> list[Tensor]:
    """What the loss compares with: the batch's target, and parts of it that the loss takes."""
    taken = [op.given(1, "target") for op in scene.calls] + [p.target for p in scene.pairs]
    every = {id(t): t for t in (scene.batch.target, *taken) if isinstance(t, Tensor) and not t.is_complex()}
    return list(every.values())


def _both(x: Tensor, y: Tensor, n: int) -> Iterator[tuple[Tensor, int, Tensor, Tensor]]:
    """Inputs, the axis that may be of their positions, and ``[sample, position, ...]`` of them and of the targets.

    Targets may be all numbers of a position, or a single one of them.
    """
    for axis in (1, 2):
        if not _a_sequence(x, n, axis):
            continue
        own = x.movedim(axis, 1)
        if x.numel() == y.numel():
            yield x, axis, own, y.reshape(x.shape).movedim(axis, 1)
        elif own.ndim == 3 and own.is_floating_point() and y.numel() == own[:, :, 0].numel():
            yield from ((x, axis, own[:, :, c], y.reshape(own.shape[:2])) for c in range(own.shape[2]))


def _shifts(length: int, none: bool) -> tuple[int, ...]:
    """Positions by which inputs may be ahead of targets; by ``none`` too, unless to return them may be the task.

    So it may be of several channels before time, and in a term of the loss.
    """
    later = tuple(range(1, min(FURTHEST, length // 4) + 1))
    return (0, 1, -1, *later[1:]) if none else later


def _counted(scene: Scene, axis: int, length: int, ahead: int) -> int | None:
    """A position that the loss reads, with its target among the inputs; the middle one where that is not known."""
    output, middle = scene.output, length // 2
    along = _axis(output, axis, length) if isinstance(output, Tensor) else None
    if along is None or scene.loss is None or not scene.loss.requires_grad:
        return middle
    [slope] = torch.autograd.grad(scene.loss, [output], retain_graph=True, allow_unused=True)
    if slope is None:
        return middle
    read = slope.movedim(along, 0).flatten(1).abs().amax(1) > 0
    places = [i for i in read.nonzero().flatten().tolist() if i + min(ahead, 0) >= 0 and i + max(ahead, 1) < length]
    return min(places, key=lambda i: abs(i - middle), default=None)


def _axis(output: Tensor, axis: int, length: int) -> int | None:
    """The axis of an output that has as many positions: the inputs' own one rather than another."""
    return next((a for a in (axis, *range(1, output.ndim)) if a < output.ndim and output.shape[a] == length), None)


def copied(scene: Scene) -> Statistic:
    """Whether each number that is to be told is one of its own stretch of a series, at the same place for every sample.

    Of columns that are in no order one may be returned on purpose, as a first trial of a network.
    """
    words = "every target is a number of its own stretch of a series, at the same place in all samples"
    unknown = Statistic(math.nan, (), words)
    y, n = scene.batch.target, scene.batch.samples
    leaves = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    if not isinstance(y, Tensor) or not y.is_floating_point() or not y.ndim or len(y) != n or n < FEWEST:
        return unknown
    wanted = y.detach().reshape(n, -1)
    if any(len(column.unique()) < n / 2 for column in wanted.T):
        return unknown  # of few values: equal by chance, or by nature
    for x in leaves:
        if not x.is_floating_point() or x.ndim not in (2, 3) or len(x) != n:
            continue
        held = x.detach().reshape(n, -1).to(wanted.dtype)
        if not wanted.shape[1] < held.shape[1] <= WIDEST:
            continue  # as many as there are: what comes out again is the task
        places = [next(iter((held == w[:, None]).double().mean(0).gt(SAME).nonzero().flatten().tolist()), None)
                  for w in wanted.T]  # fmt: skip
        if all(place is not None for place in places):
            index = tuple(int(i) for i in torch.unravel_index(torch.tensor(places[0]), x.shape[1:]))
            if not any(map(_a_series, [x] if x.ndim == 2 else [x[:, :, index[1]], x[:, index[0]]])):
                continue
            evidence = (
                {
                    "measure": f"place of the first target in the inputs, of {tuple(x.shape[1:])}; axis {axis}",
                    "value": i,
                }
                for axis, i in enumerate(index, 1)
            )
            remedy = (
                f"The target is inputs[:, {', '.join(map(str, index))}]: take what comes after the inputs (an index "
                "that is one too small?), or take this column out of them."
            )
            return Statistic(1.0, (), words, scene.loss_place, tuple(evidence), remedy)
    return Statistic(0.0, (), words)


def _a_sequence(x: Tensor, n: int, axis: int) -> bool:
    if x.ndim not in (2, 3) or axis >= x.ndim or len(x) != n or x.is_complex():
        return False
    return x.shape[axis] >= LONG and len(x.unique()) > 2


def _a_series(x: Tensor) -> bool:
    """Whether columns are steps of a series: neighbours are alike, or samples are overlapping stretches of it.

    Args:
        x: ``[sample, step]``.
    """
    x = x.detach().double()
    if x.shape[1] < LONG:
        return False
    alike = torch.corrcoef(x.T).diagonal(1).nan_to_num().abs().median()
    shared = sum(int(torch.isin(x[:, k + 1], x[:, k]).sum()) for k in range(x.shape[1] - 1))
    return float(alike) > ALIKE or (shared >= OVERLAPS and len(x[:, 0].unique()) > len(x) / 2)


def _moves(scene: Scene, x: Tensor, axis: int, at: int, changed: int) -> bool | None:
    """Whether the outputs for one position of an axis move when another is changed; None if not known."""
    other = x.clone()
    place = other.select(axis, changed)
    place.copy_(x.select(axis, changed).roll(1, 0))
    rows = (place != x.select(axis, changed)).reshape(len(x), -1).any(1)
    swap: Any = lambda t: other if t is x else t  # noqa: E731
    inputs = [scene.batch.inputs, tree_map_only(Tensor, swap, scene.batch.inputs)]
    try:
        one, two = passes(scene.task, inputs, scene.batch.samples)
    except InputError:
        return None
    a, b = one.last(), two.last()
    if not bool(rows.any()) or a is None or b is None or a.ndim < 2 or a.shape != b.shape or len(a) != len(x):
        return None
    along = _axis(a, axis, x.shape[axis])
    if along is None:
        return None
    moved = (a - b).select(along, at)[rows].abs().amax()
    return float(moved) > 1e-5 * float(a.abs().max())


def _same_share(a: Tensor, b: Tensor) -> float:
    """Share of the entries that are the same, of those that count: a loss leaves out labels below zero."""
    counts = torch.ones_like(b, dtype=torch.bool) if b.is_floating_point() else b >= 0
    return float((a == b)[counts].double().mean()) if bool(counts.any()) else 0.0
