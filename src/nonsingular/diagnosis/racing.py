"""When an arm is not trained to its end.

Of a proof: it cannot win any more, or shows nothing while another wins. Of those that are only there to be compared: it
has learned all there is, or all that the comparison asks.

What such an arm showed is told at the step where it stopped, held against the untreated copies at that step. Looking
again and again for a reason to stop makes an interval miss more often than it says, so all intervals of a stopped arm
are widened: they miss, whenever it stopped, with 5 % at most (Bonferroni over the looks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from nonsingular.diagnosis.course import POINTS, Curve, Enough
from nonsingular.diagnosis.scale import MATERIAL, Scale
from nonsingular.intervals import difference, sharing_error

FIRST = 3
"""Point of the way, of ``POINTS``, from which on an arm may be stopped for what it shows."""
LOOKS = POINTS - FIRST
"""How often that is asked."""


@contextmanager
def looking() -> Iterator[None]:
    """Intervals that are computed inside hold for all looks together."""
    with sharing_error(LOOKS):
        yield


def hopeless(before: Curve, best: Curve | None, scale: Scale | None) -> Enough:
    """Says at each point of an arm's way whether the rest can be left.

    An arm with a run whose parameters are no longer finite has lost, where none of the untreated copies diverged:
    no later step mends that. And an arm that has gained nothing material on the untreated copies by then, while one
    that helps is materially ahead of it, is left; both by intervals that hold for all looks.

    Args:
        before: the untreated copies.
        best: the copies that were helped most so far; None where none were.
        scale: what losses are held against; None where the arm's losses are no losses of the untreated copies.
    """

    def enough(path: Sequence[Sequence[float]], finite: Sequence[bool]) -> bool:
        at = len(path) - 1
        if not all(finite):
            return before.diverged == 0
        if best is None or scale is None or not _looked_at(at, before):
            return False
        now, untreated, ahead = (scale.learned(losses) for losses in (path[at], before.path[at], best.path[at]))
        with looking():
            gained = difference(now, untreated, paired=True)
            behind = difference(ahead, now, paired=True)
        return gained.high < MATERIAL and behind.low > MATERIAL

    return enough


def complete(before: Curve, goal: float, scale: Scale) -> Enough:
    """Says at each point of an arm's way from ``FIRST`` on whether its runs have learned ``goal`` in the mean.

    Args:
        before: the untreated copies.
        goal: part of what the best constant leaves; of NaN, an arm is trained to its end.
        scale: what the arm's losses are held against; it is trained to its end where the best constant is not known,
            or losses fall below 0, so that nobody knows what is left.
    """

    def enough(path: Sequence[Sequence[float]], finite: Sequence[bool]) -> bool:
        if not scale.known or min(scale.floor, *path[-1]) < 0 or not _looked_at(len(path) - 1, before):
            return False
        learned = scale.learned(path[-1])  # NaN of a run that diverged, which never has
        return sum(learned) / len(learned) >= goal

    return enough


def _looked_at(at: int, before: Curve) -> bool:
    """Whether an arm may be left at a point of the way that untreated copies went to its end."""
    return FIRST <= at * POINTS / (len(before.points) - 1) < POINTS


def stopped_at(curve: Curve, steps: int) -> int | None:
    """The step at which an arm was left; None where it was trained to its end."""
    return curve.points[-1] if curve.points[-1] < steps else None


def told_of(curve: Curve, steps: int) -> AbstractContextManager[None]:
    """Intervals that are told of an arm are computed inside: they hold for all looks where it was left."""
    return nullcontext() if stopped_at(curve, steps) is None else looking()


def why(curve: Curve, steps: int, reason: str = "nothing gained by then, and far behind what helps") -> str:
    """That an arm was left, in words; nothing where it was not."""
    step = stopped_at(curve, steps)
    if step is None:
        return ""
    if not all(map(math.isfinite, curve.loss)):
        reason = "a run has diverged"
    return f"; stopped at step {step} of {steps}: {reason}"
