"""Clipping and decay: what they take of a step, and of the weights."""

from __future__ import annotations

import math
from statistics import median

from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.statistics.losses import ALIKE, no_better, stuck, trains
from nonsingular.diagnosis.loop.statistics.steps import moving, stepped_at, towards_zero, typical_ratio, weight_norm
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, shown
from nonsingular.diagnosis.records import Statistic


def _clipped(loop: Loop) -> Statistic:
    words = "share of the gradient's norm that clipping takes away, smallest of nine steps in ten"
    shares = [u.used / u.made for u in loop.updates if u.made > 0 and u.used > 0 and math.isfinite(u.made)]
    updates = moving(loop)
    if len(shares) < ENOUGH or not updates:
        return NOTHING
    by_hand = [u.cut for u in loop.updates if not math.isnan(u.cut)]
    scaled = loop.counts["scaled clip"] > 0 or len(by_hand) >= ENOUGH
    shares = by_hand if len(by_hand) >= ENOUGH else shares
    left = sorted(shares)[min(len(shares) - 1, int(0.9 * len(shares)))]
    if not scaled and (not stuck(loop) or typical_ratio(loop, updates) > 3e-4):
        return NOTHING
    remedy = "Clip at a norm that few steps reach: a high quantile of the norms that clip_grad_norm_ returns."
    if scaled:
        remedy = (
            "Divide gradients by the loss's factor before clipping (scaler.unscale_(optimiser)): they still have it."
        )
    return Statistic(
        1 - left, (), words, line_of(loop.places.get("clip")),
        (shown("norm of the gradient before clipping, median", median(u.made for u in loop.updates if u.made > 0)),
         shown("after it", median(u.used for u in loop.updates if u.used > 0)),
         shown("norm of a step over the norm of the weights", typical_ratio(loop, updates))), remedy,
    )  # fmt: skip


def _decay(loop: Loop) -> Statistic:
    """Decay's part of a step; of a penalty that the loss has itself, the part of the steps that leads to zero."""
    declared = [u for u in loop.updates if u.decay > 0 and u.parameters]
    updates = declared or [u for u in loop.updates if u.parameters and weight_norm(u)]
    # Once the weights have come to zero, steps lead round it; weights that are not finite have no size.
    early = [u for u in updates if weight_norm(u) > 0.3 * weight_norm(updates[0])]
    if len(updates) < ENOUGH or not early:
        return NOTHING
    inward = median(map(towards_zero, early))
    first, last = (weight_norm(u) for u in (updates[0], updates[-1]))
    alike = loop.together > ALIKE
    harm = alike or (stuck(loop, 0.3) if declared else no_better(loop) and last < 0.5 * first)
    if inward < (0.35 if alike and declared else 0.5) or not harm:
        return NOTHING
    if declared:
        words, value = "weight decay's part of a step over the gradient's part", median(u.decay for u in early)
        where, remedy = stepped_at(loop, updates[-1]), "1e-4 for SGD, 1e-2 for AdamW are usual"
    else:
        words, value = (
            "part of a step that leads to zero over the rest of it",
            inward / math.sqrt(1 - min(inward, 1 - 1e-9) ** 2),
        )
        where, remedy = line_of(loop.places.get("backward")), "of a penalty on the weights, try a hundredth"
    return Statistic(
        min(value, 1e9), (), words, where,
        (shown("cosine between the step and the way to zero", inward),
         shown("norm of the weights, last step over first", last / first if first else math.nan)),
        f"Take a smaller weight_decay or penalty: {remedy}.",
    )  # fmt: skip


def _forgets(loop: Loop) -> Statistic:
    words = "share of itself that weight decay takes from a weight at each step"
    updates = [u for u in loop.updates if u.shrinks > 0 and u.parameters]
    if len(updates) < ENOUGH or trains(loop):
        return NOTHING
    value = median(u.shrinks for u in updates)
    first, last = (weight_norm(u) for u in (updates[0], updates[-1]))
    return Statistic(
        value, (), words, stepped_at(loop, updates[-1]),
        (shown("steps after which half of a weight is gone", math.log(2) / value),
         shown("norm of the weights, last step over first", last / first if first else math.nan)),
        "Take a smaller weight_decay: 1e-4 for SGD, 1e-2 for AdamW are usual.",
    )  # fmt: skip


def _idle_clip(loop: Loop) -> Statistic:
    words = "share of the clippings at which no gradient was there that a step had not used already"
    if loop.counts["clip"] < ENOUGH or loop.steps < ENOUGH:
        return NOTHING
    return Statistic(
        loop.counts["idle clip"] / loop.counts["clip"], (), words, line_of(loop.places.get("clip")),
        (shown("clippings", loop.counts["clip"]), shown("steps", loop.steps)),
        "Clip between backward() and step(): the order is zero_grad, forward, backward, clip, step.",
    )  # fmt: skip


def _part_clipped(loop: Loop) -> Statistic:
    """Share of what an optimiser steps by that is not clipped, where the rest of it is."""
    words = "share of a step's parameters whose gradient is not clipped, although the others' are"
    for o in loop.optimisers:
        if len(o.unclipped) >= ENOUGH and 0 < median(o.unclipped) < 1:
            return Statistic(
                median(o.unclipped), (), words, line_of(loop.places.get("clip")),
                (shown("steps with a clipping", len(o.unclipped)),),
                f"Only a part of the parameters of {o.label} is clipped: clip all that it holds, in one call.",
            )  # fmt: skip
    return NOTHING


MEASURES: dict[str, Measure] = {
    "loop-clipped": _clipped,
    "loop-decay": _decay,
    "loop-forgets": _forgets,
    "loop-idle-clip": _idle_clip,
    "loop-part-clipped": _part_clipped,
}
