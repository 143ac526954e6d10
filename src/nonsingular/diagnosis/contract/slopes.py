"""Functions of the user's own, whose backward pass is held against their forward pass."""

from __future__ import annotations

import math

import torch

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import user_line
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.errors import InputError
from nonsingular.objective.functions import Applied, NothingToSay, Probe, applied, own_functions

SLOPING = 1e-3  # slope below which a function is one of steps, whose backward pass is another by intention


def wrong(scene: Scene) -> Statistic:
    """By how much the slope that a function's backward pass returns differs from its own, as a part of it.

    Functions that return what they are given (gradient reversal, scaling) or that only take steps (rounding) have
    another backward pass on purpose.
    """
    words = "difference between the slope of a function and what its backward pass returns, as a part of the slope"
    classes = own_functions([scene.loss])
    if not classes:
        return Statistic(math.nan, (), words)
    with applied(classes, user_line) as calls:
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


def _difference(call: Applied) -> float:
    """Of central differences and the backward pass, as a part of the first; NaN where that says nothing."""
    try:
        seen = Probe(call)
    except NothingToSay:
        return math.nan
    if seen.identity or abs(seen.found) < SLOPING * max(1.0, abs(seen.told)):
        return math.nan
    return abs(seen.found - seen.told) / abs(seen.found)
