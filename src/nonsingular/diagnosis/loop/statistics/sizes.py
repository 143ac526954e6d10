"""Steps that are too large or too small for the weights."""

from __future__ import annotations

import math
from statistics import fmean, median, pstdev
from typing import Any

from nonsingular.diagnosis.loop.movement import ADAPTIVE, DECOUPLED
from nonsingular.diagnosis.loop.records import BY_HAND, Loop, Update
from nonsingular.diagnosis.loop.statistics.losses import constant, harm_of, latest, no_better, step_losses, stuck
from nonsingular.diagnosis.loop.statistics.steps import (
    gradient_norm,
    loss_factor,
    moving,
    ratio,
    several,
    stepped_at,
    stepping,
    typical_ratio,
    usual_ratio,
    weight_norm,
)
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, shown
from nonsingular.diagnosis.records import Statistic

HURLS = 0.3  # of the weights, at each step: nothing can be learnt so
THROWS = 0.05  # of the weights: a first step beyond it throws them somewhere else
TINY = 1e-3  # a factor in front of the loss below which it is no weight of a term, an eps beyond which it is no guard


def _too_large(loop: Loop) -> Statistic:
    words = "norm of a step over the norm of the weights"
    updates = [u for u in loop.updates if math.isfinite(ratio(u))]
    harm = harm_of(loop) or (
        _thrown(loop) if updates and max(usual_ratio(loop, u) for u in updates[:3]) > THROWS else None
    )
    if harm is None and updates and no_better(loop) and median(map(ratio, updates)) > HURLS:
        best, values = constant(loop)
        harm = shown("last loss over that of the best constant prediction", latest(values) / best)
    if not updates or harm is None:
        return NOTHING
    if several(loop.updates) and loop.broken is None:
        return NOTHING  # of adversaries, one's loss rises as the other learns
    # Weights that large steps have made large hide them later.
    parts = (updates, updates[:3], updates[-max(1, len(updates) // 4) :])
    value = max(median(usual_ratio(loop, u) for u in part) for part in parts)
    if loop.broken is not None:
        value = max(value, *(ratio(u) for u in updates))
    rate, bound = _stability(loop)
    remedy = "Divide the learning rate by ten until the loss falls."
    if math.isfinite(rate):
        remedy = f"The learning rate is {rate:.3g}: divide it by ten until the loss falls."
    if rate > bound:
        remedy = f"The learning rate is {rate:.3g}; at the start the loss is stable below {bound:.2g}."
    evidence, parts_of_step = [harm], loop.backwards / max(loop.steps, 1)
    if len(stepping(loop)) == 1 and parts_of_step >= 2 and loss_factor(loop) > 0.9:
        evidence.append(shown("backward passes whose gradients are summed for each step", parts_of_step))
        remedy = (
            f"Each step sums the gradients of {parts_of_step:.0f} backward passes: divide each loss by their number "
            f"(accumulated micro-batches). {remedy}"
        )
    return Statistic(value, (), words, stepped_at(loop, updates[-1]), tuple(evidence), remedy)


def _thrown(loop: Loop) -> dict[str, Any] | None:
    """What the loss shows where the first steps threw the weights to a place from where nothing was learnt."""
    losses = step_losses(loop)
    jump = max(losses[1:10], default=0.0) / max(losses[0], 1e-12) if losses and losses[0] > 0 else 0.0
    best, values = constant(loop)
    late = [loss for loss in losses[10:] if math.isfinite(loss)]
    usual = 1 + 3 * pstdev(late) / max(fmean(late), 1e-12) if late else 1.0  # by which batches differ
    if jump > max(1.25, usual) and len(values) >= 20 and 0 < 0.9 * best <= latest(values):
        return shown("largest loss of the first ten over the first, after which little was learnt", jump)
    return None


def _unstable(loop: Loop) -> Statistic:
    """Plain gradient steps beyond what the curvature at the start allows, where the loss shows it."""
    words = "learning rate over the largest that is stable at the start, 2 (1 + momentum) / sharpness"
    rate, bound = _stability(loop)
    updates = [u for u in loop.updates if u.rate == rate]
    if not (rate > 0 and bound > 0 and updates) or (harm := harm_of(loop)) is None:
        return NOTHING
    remedy = f"The learning rate is {rate:.3g}; at the start the loss is stable below {bound:.2g}."
    evidence = (harm, shown("sharpness, the Hessian's largest eigenvalue", loop.sharpness))
    return Statistic(rate / bound, (), words, stepped_at(loop, updates[-1]), evidence, remedy)


def _stability(loop: Loop) -> tuple[float, float]:
    """The learning rate, and the largest that is stable at the start (Polyak 1964); NaN where it is not known."""
    first = next((u for u in loop.updates if u.rate and u.optimiser != BY_HAND), None)
    if first is None:
        return math.nan, math.nan
    if not loop.sharpness > 0:
        return first.rate, math.nan
    return first.rate, 2 * (1 + loop.optimisers[first.optimiser].momentum) / loop.sharpness


def _too_small(loop: Loop) -> Statistic:
    words = "decades of steps that the weights need to change by their own size"
    updates = [u for u in moving(loop) if _short(loop, u)]
    if len(updates) < ENOUGH or not stuck(loop):
        return NOTHING
    value = -math.log10(max(typical_ratio(loop, updates), 1e-30))
    at, times = updates[-1].optimiser, loss_factor(loop)
    by_loss = at == BY_HAND or times < TINY
    evidence = [
        shown("norm of a step over the norm of the weights", typical_ratio(loop, updates)),
        shown("learning rate", updates[-1].rate),
    ]
    remedy = "The loss does not move: multiply the learning rate by ten until it does."
    epsilon = 0.0 if at == BY_HAND else loop.optimisers[at].epsilon
    if not any(m.moved for u in updates for m in u.parameters.values()):
        remedy = (
            "Nothing moves: step() must change parameters in place, as in p.sub_(...); p = p - ... makes a new tensor."
        )
    elif times < TINY:
        evidence.append(shown("factor in front of the loss", times))
        remedy = f"The loss is multiplied by {times:.2g} before backward(): leave the factor out."
    elif epsilon > TINY:
        evidence.append(shown("eps of the optimiser", epsilon))
        remedy = f"Steps are divided by the gradient's size plus eps, which is {epsilon:g} here: 1e-8 is usual."
    return Statistic(
        value, (), words, line_of(loop.places.get("backward") if by_loss else loop.optimisers[at].made),
        tuple(evidence), remedy,
    )  # fmt: skip


def _short(loop: Loop, update: Update) -> bool:
    """Whether a small step is the optimiser's doing: elsewhere the gradient is small, and that is the network's."""
    gradient = gradient_norm(update) / min(1.0, loss_factor(loop))
    if gradient <= 1e-7 * weight_norm(update):
        return False
    if update.optimiser != BY_HAND and loop.optimisers[update.optimiser].kind in (*ADAPTIVE, *DECOUPLED):
        return True
    return ratio(update) * weight_norm(update) <= 3e-4 * gradient


MEASURES: dict[str, Measure] = {
    "loop-large-step": _too_large,
    "loop-unstable": _unstable,
    "loop-small-step": _too_small,
}
