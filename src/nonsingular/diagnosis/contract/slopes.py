"""Functions of the user's own, whose backward pass is held against their forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import user_line
from nonsingular.diagnosis.paths import behind
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.errors import InputError

STEP = 1e-5
SMOOTH = 1e-3  # change of a difference quotient with its step, beyond which a function jumps
SLOPING = 1e-3  # slope below which a function is one of steps, whose backward pass is another by intention


@dataclass(frozen=True)
class _Applied:
    function: Any
    args: tuple[Any, ...]
    out: Any
    where: str


def wrong(scene: Scene) -> Statistic:
    """By how much the slope that a function's backward pass returns differs from its own, as a part of it.

    Functions that return what they are given (gradient reversal, scaling) or that only take steps (rounding) have
    another backward pass on purpose.
    """
    words = "difference between the slope of a function and what its backward pass returns, as a part of the slope"
    classes = _own(scene.loss)
    if not classes:
        return Statistic(math.nan, (), words)
    with _applied(classes) as calls:
        try:
            with untouched(scene.task.model), as_training(scene.task.model), torch.enable_grad():
                scene.task.run(scene.batch)
        except InputError:
            return Statistic(math.nan, (), words)
    worst, guilty = math.nan, None
    for call in calls[:8]:
        off = _difference(call)
        if not math.isnan(off) and not off <= worst:
            worst, guilty = off, call
    if guilty is None:
        return Statistic(math.nan, (), words)
    name = guilty.function.__name__
    remedy = f"Correct {name}.backward, and let torch.autograd.gradcheck compare it with forward."
    return Statistic(worst, (), words, f"{name} at {guilty.where}" if guilty.where else name, (), remedy)


def _own(loss: Tensor | None) -> list[Any]:
    """Classes of functions in a loss's graph that are no part of torch."""
    found = dict[Any, None]()
    for node in behind([None if loss is None else loss.grad_fn]):
        cls = getattr(type(node), "_forward_cls", None)
        if cls is not None and not cls.__module__.startswith("torch"):
            found[cls] = None
    return list(found)


@contextmanager
def _applied(classes: list[Any]) -> Iterator[list[_Applied]]:
    """Within, calls of these functions are kept."""
    calls: list[_Applied] = []

    def listened(cls: Any, original: Any) -> Any:
        apart = cls.setup_context is not Function.setup_context  # then forward is not given the context

        def forward(*args: Any) -> Any:
            out = original(*args)
            calls.append(_Applied(cls, args if apart else args[1:], out, user_line()))
            return out

        return staticmethod(forward)

    kept = [(cls, cls.__dict__.get("forward"), cls.forward) for cls in classes]
    for cls, _, original in kept:
        cls.forward = listened(cls, original)
    try:
        yield calls
    finally:
        for cls, own, _ in kept:
            if own is None:
                del cls.forward
            else:
                cls.forward = own


def _difference(call: _Applied) -> float:
    """Of central differences and the backward pass, along a random direction; NaN where that says nothing."""
    places = [i for i, a in enumerate(call.args) if isinstance(a, Tensor) and a.is_floating_point() and a.requires_grad]
    if not places or not isinstance(call.out, Tensor):
        return math.nan
    random = torch.Generator().manual_seed(0)
    draw = lambda t: torch.randn(t.shape, generator=random, dtype=torch.float64).to(t.device)  # noqa: E731
    args = [a.detach().double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in call.args]
    try:
        with torch.enable_grad():
            points = [args[i].requires_grad_() for i in places]
            out = call.function.apply(*args)
            if any(out.shape == p.shape and torch.equal(out, p) for p in points):
                return math.nan
            weights, ways = draw(out), [draw(p) for p in points]
            back = torch.autograd.grad(out, points, weights, allow_unused=True)
        told = sum(float((g * way).sum()) for g, way in zip(back, ways, strict=True) if g is not None)
        with torch.no_grad():
            slope, finer = (_along(call.function, args, places, ways, weights, step) for step in (STEP, STEP / 10))
    except (RuntimeError, TypeError, ValueError):
        return math.nan
    smooth = math.isfinite(slope + told) and abs(slope - finer) <= SMOOTH * abs(slope)
    if not smooth or abs(slope) < SLOPING * max(1.0, abs(told)):
        return math.nan
    return abs(slope - told) / abs(slope)


def _along(
    function: Any, args: list[Any], places: list[int], ways: list[Tensor], weights: Tensor, step: float
) -> float:
    """The slope of a weighted sum of what a function returns, along a direction, by central differences."""
    ends = []
    for sign in (1, -1):
        moved = list(args)
        for i, way in zip(places, ways, strict=True):
            moved[i] = args[i].detach() + sign * step * way
        ends.append(float((function.apply(*moved) * weights).sum()))
    return (ends[0] - ends[1]) / (2 * step)
