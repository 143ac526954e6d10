"""A loop's steps in a few numbers: over the weights, towards zero, at the largest rate that is to come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median
from typing import Any

from nonsingular.diagnosis.loop.records import BY_HAND, Held, Loop, Update
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, line_of


def ratio(update: Update) -> float:
    """Norm of the step over the norm of the weights, over all parameters."""
    weight = weight_norm(update)
    return _norm(m.moved for m in update.parameters.values()) / weight if weight else math.nan


def usual_ratio(loop: Loop, update: Update) -> float:
    """The same of the usual parameter: a table of embeddings, of which a step meets a few rows, may hide the others.

    Parameters that began as zeros have no size yet that a step could be too large for.
    """
    zeros = {i for i, start in loop.starts.items() if not bool(start.any())}
    known = [m.moved / m.weight for i, m in update.parameters.items() if m.weight and m.moved and i not in zeros]
    return max([ratio(update), *([median(known)] if len(known) > 1 else [])])


def stepped_at(loop: Loop, update: Update) -> str:
    """The line that a step is laid to: where its optimiser is made, or where it is taken by hand."""
    by_hand = update.optimiser == BY_HAND
    return line_of(loop.places.get("backward") if by_hand else loop.optimisers[update.optimiser].made)


def loss_factor(loop: Loop) -> float:
    """By what the loss is multiplied before each backward pass."""
    return median(map(abs, loop.factors)) if loop.factors else 1.0


def moving(loop: Loop) -> list[Update]:
    """Measured steps with a gradient and a rate."""
    return [u for u in loop.updates if gradient_norm(u) and math.isfinite(ratio(u)) and u.rate != 0]


def typical_ratio(loop: Loop, updates: Sequence[Update]) -> float:
    """The median step over the weight; of a loop that goes on, at the largest rate that its schedule leads to."""
    peaks = [highest_rate_ahead(h) for h in loop.optimisers]

    def ahead(u: Update) -> float:
        known = peaks[u.optimiser] if u.optimiser != BY_HAND else math.nan
        peak = known if math.isfinite(known) else u.peak
        return max(1.0, peak / u.rate) if u.rate and math.isfinite(peak) and not loop.ended else 1.0

    return median(ratio(u) * ahead(u) for u in updates)


def highest_rate_ahead(held: Held) -> float:
    """The largest rate that a schedule written as a function leads to; NaN of others."""
    functions = getattr(held.scheduler, "lr_lambdas", None)
    if not functions or not held.base > 0:
        return math.nan
    ahead = {round(10 ** (i / 40)) for i in range(200)}  # to 1e5 steps, evenly by their logarithm
    try:
        return float(held.base * max(f(n) for f in functions for n in ahead))
    except Exception:  # a function of the user's that knows no such step
        return math.nan


def gradient_norm(update: Update) -> float:
    """Norm of the gradient that a step was made of."""
    return _norm(m.gradient for m in update.parameters.values())


def weight_norm(update: Update) -> float:
    """Norm of the weights before a step."""
    return _norm(m.weight for m in update.parameters.values())


def towards_zero(update: Update) -> float:
    """Cosine between the step and the way from the weights to zero."""
    rows = update.parameters.values()
    size = _norm(m.moved for m in rows) * weight_norm(update)
    return sum(m.inward for m in rows) / size if size else 0.0


def mean_over_parameters(update: Update, measure: Callable[[Any], float]) -> float:
    """Mean over the parameters of what a step did to them."""
    return fmean(measure(m) for m in update.parameters.values()) if update.parameters else math.nan


def several(updates: Iterable[Update]) -> bool:
    """Whether more than one optimiser takes these steps: of adversaries, one may lose as the other learns."""
    return len({u.optimiser for u in updates}) > 1


def stepping(loop: Loop) -> list[Held]:
    """Optimisers that took steps enough to tell."""
    return [h for h in loop.optimisers if h.steps >= ENOUGH]


def updates_of(loop: Loop, held: Held) -> list[Update]:
    """Measured steps of an optimiser."""
    index = loop.optimisers.index(held)
    return [u for u in loop.updates if u.optimiser == index]


def _norm(values: Iterable[float]) -> float:
    return math.sqrt(sum(v * v for v in values))
