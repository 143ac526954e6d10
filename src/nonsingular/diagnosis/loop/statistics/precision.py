"""Numbers that 16 bits lose, and the first that are not finite."""

from __future__ import annotations

from statistics import median

import torch

from nonsingular.diagnosis.contract.finite import DATA
from nonsingular.diagnosis.loop.records import BY_HAND, Loop
from nonsingular.diagnosis.loop.statistics.losses import trains
from nonsingular.diagnosis.loop.statistics.steps import gradient_norm, mean_over_parameters, typical_ratio, updates_of
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, names_of, shown
from nonsingular.diagnosis.records import Statistic


def _lost(loop: Loop) -> Statistic:
    words = "share of the entries with a gradient that a step leaves as they are, by rounding"
    updates = [u for u in loop.updates if u.dtype in ("float16", "bfloat16") and gradient_norm(u)]
    if len(updates) < ENOUGH or trains(loop):
        return NOTHING
    dtype, at = updates[-1].dtype, updates[-1].optimiser
    value = median(mean_over_parameters(u, lambda m: m.lost) for u in updates)
    return Statistic(
        value, (), words, line_of(loop.optimisers[at].made if at != BY_HAND else None),
        (shown("norm of a step over the norm of the weights", typical_ratio(loop, updates)),
         shown(f"relative precision of {dtype}", torch.finfo(getattr(torch, dtype)).eps)),
        "Keep the weights in float32 and compute under torch.autocast.",
    )  # fmt: skip


def _vanished(loop: Loop) -> Statistic:
    """Gradients that become zero in 16 bits, for want of a scaler."""
    words = "share of the gradient's entries that are zero, in 16 bits and without a scaler"
    half = [u for u in loop.updates if u.dtype == "float16" or loop.counts["half outputs"]]
    half = [u for u in half if gradient_norm(u) or u.parameters]
    if len(half) < ENOUGH or loop.counts["scaled"]:
        return NOTHING
    value = median(mean_over_parameters(u, lambda m: m.zeros) for u in half)
    return Statistic(
        value, (), words, line_of(loop.places.get("backward")), (),
        "Use torch.amp.GradScaler (scale, unscale_, step, update), or bfloat16, whose range is that of float32.",
    )  # fmt: skip


def _skipped(loop: Loop) -> Statistic:
    words = "share of steps that the gradient scaler skips, because gradients overflow"
    for o in loop.optimisers:
        if o.asked >= 3 * ENOUGH:
            return Statistic(
                (o.asked - o.steps) / o.asked, (), words, line_of(loop.places.get("scaler")),
                (shown("steps asked for", o.asked),),
                "Call scaler.update() after each step, and look for what overflows: a summed loss, large outputs.",
            )  # fmt: skip
    return NOTHING


def _still_scaled(loop: Loop) -> Statistic:
    words = "share of steps with gradients that still have the scaler's factor"
    for o in loop.optimisers:
        if o.scaled and o.steps >= ENOUGH:
            return Statistic(
                o.scaled / max(1, len(updates_of(loop, o))), (), words, line_of(o.place), (),
                "Step with step() and update() of the scaler, not with the step() of the optimiser.",
            )  # fmt: skip
    return NOTHING


def _nan_loss(loop: Loop) -> Statistic:
    return NOTHING if _handed_in(loop) else _broken(loop, "loss")


def _nan_data(loop: Loop) -> Statistic:
    return _broken(loop, "loss") if _handed_in(loop) else NOTHING


def _handed_in(loop: Loop) -> bool:
    """Whether what is not finite was handed to the model or the loss, and no operation made it."""
    return loop.broken is not None and loop.broken.made is not None and loop.broken.made.of == DATA


def _nan_gradient(loop: Loop) -> Statistic:
    return _broken(loop, "gradient")


def _broken(loop: Loop, what: str) -> Statistic:
    b = loop.broken
    if b is None or b.what != what:
        return NOTHING
    made = b.made or NOTHING
    return Statistic(
        1.0, names_of(loop, b.parameters) or made.layers, f"first step whose {what} is not finite",
        made.where or line_of(b.place),
        (shown(f"first step whose {what} is not finite", b.number),
         shown("loss before it over the first loss", b.grew), *made.evidence), made.remedy,
    )  # fmt: skip


MEASURES: dict[str, Measure] = {
    "loop-lost-steps": _lost,
    "loop-vanished": _vanished,
    "loop-skipped": _skipped,
    "loop-still-scaled": _still_scaled,
    "loop-nan-loss": _nan_loss,
    "loop-nan-data": _nan_data,
    "loop-nan-gradient": _nan_gradient,
}
