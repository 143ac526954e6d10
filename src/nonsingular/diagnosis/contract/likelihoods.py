"""What a loss makes of the numbers that outputs may become: where it is not defined, where it has no least value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from nonsingular.diagnosis.contract.heads import LAYERS
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError

COLUMNS = 4  # of one output, from where they are no parameters of a distribution any more
RUNS_AWAY = 1e3  # by how much a loss falls when an output becomes a hundred times as large: more than in proportion


@dataclass(frozen=True)
class _Part:
    """An output, or a column of it, that a layer returns as it is, so that it may become any number.

    Attributes:
        words: which.
        layer: that returns it.
        values: of it.
        loss: of outputs in which it has other values.
    """

    words: str
    layer: str
    values: Tensor
    loss: Callable[[Tensor], float]


def undefined(scene: Scene) -> Statistic:
    """Whether the loss is a number for one sign of an output that may have both, and none for the other."""
    words = "the loss is not defined for values that this output may have"
    if scene.loss is not None and not bool(torch.isfinite(scene.loss)) and not _of_negatives(scene):
        return Statistic(math.nan, (), words)  # it meets the edge already, as at zero, at a line that can be named
    parts = list(_parts(scene))
    for part in parts:
        one = torch.ones_like(part.values)
        values = {sign: part.loss(sign * one) for sign in (1.0, -1.0)}
        broken = [sign for sign, value in values.items() if not math.isfinite(value)]
        if len(broken) == 1:
            sign = broken[0]
            evidence = (
                {"measure": f"loss where {part.words} is {-sign:g}", "value": values[-sign]},
                {"measure": f"share of {part.words} that is {'negative' if sign < 0 else 'positive'} before training",
                 "value": float((part.values * sign > 0).double().mean())},
            )  # fmt: skip
            remedy = (
                f"The loss is NaN or fails where {part.words} is {sign:g}: let the network return the logarithm of a "
                "variance or rate and take exp in the loss, or put softplus (sigmoid for a probability) behind it."
            )
            return Statistic(1.0, (part.layer,) if part.layer else (), words, part.layer, evidence, remedy)
    return Statistic(0.0 if parts else math.nan, (), words)


def _of_negatives(scene: Scene) -> bool:
    """Whether the loss takes a logarithm or a root of a negative number."""
    taken = (op.args[0] for op in scene.trace.ops if op.in_loss and op.name in OF_POSITIVES and op.args)
    return any(isinstance(t, Tensor) and not t.is_complex() and bool((t < 0).any()) for t in taken)


OF_POSITIVES = {"log", "log2", "log10", "sqrt", "rsqrt"}


def endless(scene: Scene) -> Statistic:
    """Whether the loss falls below any bound as an output grows, or as it comes to zero from one side."""
    words = "the loss has no least value: it falls without bound as this output changes"
    if scene.loss is None:
        return Statistic(math.nan, (), words)
    parts, first = list(_parts(scene)), abs(float(scene.loss.detach()))
    for part in parts:
        for way, factors in (("grows", (1e2, 1e4)), ("comes to zero", (1e-2, 1e-4))):
            for sign in (1.0, -1.0):
                near, far = (part.loss(sign * factor * part.values) for factor in factors)
                deep = near < -10 * (1 + first) if way == "grows" else far < -RUNS_AWAY * (1 + first)
                faster = far == -math.inf or far < (RUNS_AWAY if way == "grows" else 10) * near
                if deep and faster:
                    evidence = (
                        {"measure": f"loss where {part.words} is {sign * factors[0]:g} times as large", "value": near},
                        {"measure": f"where it is {sign * factors[1]:g} times as large", "value": far},
                    )
                    remedy = (
                        f"The loss falls for ever as {part.words} {way}: look at the sign of each term, and keep "
                        "variances positive (softplus, or the exponential of a log-variance)."
                    )
                    layers = (part.layer,) if part.layer else ()
                    return Statistic(1.0, layers, words, scene.loss_place, evidence, remedy)
    return Statistic(0.0 if parts else math.nan, (), words)


def _parts(scene: Scene) -> Iterator[_Part]:
    if scene.task.form != "output" or not scene.reads_target:
        return
    leaves, spec = tree_flatten(scene.output)
    for number, leaf in enumerate(leaves):
        if not (isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.requires_grad and leaf.ndim):
            continue
        head = scene.trace.source(leaf)
        if head is None or head.name not in LAYERS or not bool(torch.isfinite(leaf).all()):
            continue
        many = sum(isinstance(x, Tensor) for x in leaves) > 1
        columns = leaf.shape[-1] if leaf.ndim > 1 and 1 < leaf.shape[-1] <= COLUMNS and not many else 0
        for column in range(columns) if columns else (None,):
            index: Any = (..., column) if column is not None else ...

            def loss(values: Tensor, number: int = number, index: Any = index) -> float:
                changed = [x.detach().clone() if isinstance(x, Tensor) else x for x in leaves]
                changed[number][index] = values
                try:
                    with torch.no_grad():
                        return float(scene.task.loss(tree_unflatten(changed, spec), scene.batch))
                except (InputError, RuntimeError, ValueError, TypeError, IndexError):
                    return math.nan

            words = "the output" if column is None and not many else (
                f"output {number}" if column is None else f"column {column} of the output"
            )  # fmt: skip
            yield _Part(words, head.module, leaf.detach()[index], loss)
