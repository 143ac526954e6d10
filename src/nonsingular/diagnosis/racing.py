"""When an arm of a proof is not trained to its end: it cannot win any more, or shows nothing while another wins.

What such an arm showed is told at the step where it stopped, held against the untreated copies at that step. Looking
again and again for a reason to stop makes an interval miss more often than it says, so all intervals of a stopped arm
are widened: they miss, whenever it stopped, with 5 % at most (Bonferroni over the looks).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nonsingular.diagnosis.course import POINTS, Curve, Enough
from nonsingular.diagnosis.learnability import MATERIAL, Scale
from nonsingular.intervals import difference, sharing_error

FIRST = 3
"""Point of the way, of ``POINTS``, at which an arm may be stopped for showing nothing."""
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
        if best is None or scale is None or not FIRST <= at * POINTS / (len(before.points) - 1) < POINTS:
            return False
        now, untreated, ahead = (scale.learned(losses) for losses in (path[at], before.path[at], best.path[at]))
        with looking():
            gained = difference(now, untreated, paired=True)
            behind = difference(ahead, now, paired=True)
        return gained.high < MATERIAL and behind.low > MATERIAL

    return enough


def stopped_at(curve: Curve, steps: int) -> int | None:
    """The step at which an arm was left; None where it was trained to its end."""
    return curve.points[-1] if curve.points[-1] < steps else None


def why(curve: Curve, steps: int) -> str:
    """That an arm was left, in words; nothing where it was not."""
    step = stopped_at(curve, steps)
    if step is None:
        return ""
    diverged = not all(map(math.isfinite, curve.loss))
    reason = "a run has diverged" if diverged else "nothing gained by then, and far behind what helps"
    return f"; stopped at step {step} of {steps}: {reason}"
