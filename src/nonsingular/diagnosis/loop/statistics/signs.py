"""Which way a loss is taken: whether outputs come nearer to what is wanted of them."""

from __future__ import annotations

import math
from statistics import fmean, median

from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.returns import PAST_THE_END
from nonsingular.diagnosis.loop.statistics.losses import latest, step_losses
from nonsingular.diagnosis.loop.statistics.steps import several
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, shown
from nonsingular.diagnosis.records import Statistic


def _sign(loop: Loop) -> Statistic:
    words = "share of steps that make the loss larger"
    signs: dict[int, list[int]] = {}
    for u in loop.updates:
        uphill = sum(m.uphill for m in u.parameters.values())
        if u.sign and uphill and math.isfinite(uphill):
            signs.setdefault(u.optimiser, []).append(u.sign if uphill < 0 else -u.sign)
    if not signs or any(sum(s > 0 for s in group) > 0.5 * len(group) for group in signs.values()):
        return NOTHING
    every = [s for group in signs.values() for s in group]
    if len(every) < ENOUGH:
        return NOTHING
    site = next(iter(loop.sites.values()), None)
    return Statistic(
        fmean(s < 0 for s in every), (), words, line_of(site.place if site else loop.places.get("backward")), (),
        "The loss is made larger: take away the minus in front of it, or maximize=True, or the plus in the step.",
    )  # fmt: skip


def _uphill(loop: Loop) -> Statistic:
    """By hand or by an optimiser, steps along the gradient instead of against it; momentum turns back some of them."""
    words = "share of steps along the gradient instead of against it"
    updates = [u for u in loop.updates if any(m.gradient for m in u.parameters.values())]
    updates = [u for u in updates if not u.sign]
    along = [sum(m.uphill for m in u.parameters.values()) for u in updates]
    along = [a for a in along if a and math.isfinite(a)]
    if len(along) < ENOUGH or several(updates):
        return NOTHING
    value = fmean(a > 0 for a in along)
    return Statistic(
        value, (), words, line_of(loop.places.get("backward")), (), "Subtract the gradient: weight -= rate * gradient."
    )


def _unbounded(loop: Loop) -> Statistic:
    """Decades by which a loss has run below zero, where no loss that measures a distance goes."""
    words = "decades by which the loss fell below zero, over its size at the start"
    losses = [v for v in step_losses(loop) if math.isfinite(v)]
    if len(losses) < 2 * ENOUGH or several(loop.updates):
        return NOTHING  # of adversaries, one may be without a bound for a while
    last = latest(losses)
    if last >= 0:
        return NOTHING
    return Statistic(
        math.log10(-last / max(1.0, abs(losses[0]))), (), words, line_of(loop.places.get("backward")),
        (shown("first loss", losses[0]), shown("last loss", last)),
        "What is minimised has no least value: look for a minus in front of a distance, or a term that rewards size.",
    )  # fmt: skip


def _against_targets(loop: Loop) -> Statistic:
    words = "cosine between the loss's gradient by the outputs and the way away from the targets"
    for t in loop.trainees:
        if len(t.agreement) >= ENOUGH:
            return Statistic(
                -median(t.agreement), (), words, line_of(loop.places.get("backward")), (),
                "What is minimised grows as the outputs come nearer to the targets: its sign is wrong.",
            )  # fmt: skip
    return NOTHING


def _against_rewards(loop: Loop) -> Statistic:
    words = "cosine between the way that steps take log-probabilities and the way away from what is rewarded"
    if len(loop.rewards) < ENOUGH:
        return NOTHING
    return Statistic(
        median(loop.rewards), (), words, line_of(loop.places.get("rewards") or loop.places.get("backward")), (),
        "Less of this loss makes what is rewarded less likely: minimise minus the log-probability times its reward.",
    )  # fmt: skip


def _returns(loop: Loop) -> Statistic:
    words = "returns against the discounted sums of the rewards that come after"
    if not loop.returns:
        return NOTHING
    return Statistic(
        1.0,
        (),
        words,
        line_of(loop.places.get("backward")),
        (shown(f"returns are {loop.returns}", 1.0),),
        "Multiply what comes after by (1 - done): nothing does after the last step of an episode."
        if loop.returns == PAST_THE_END
        else "Sum from the end: for r in reversed(rewards): R = r + gamma * R; returns.insert(0, R).",
    )


MEASURES: dict[str, Measure] = {
    "loop-sign": _sign,
    "loop-uphill": _uphill,
    "loop-unbounded": _unbounded,
    "loop-against-targets": _against_targets,
    "loop-against-rewards": _against_rewards,
    "loop-returns": _returns,
}
