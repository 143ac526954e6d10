"""What losses are held against: the best constant prediction, and the smallest loss there can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nonsingular.diagnosis.constants import best_constant
from nonsingular.diagnosis.course import Arm, Curve

MATERIAL = 0.05
"""Part of what the best constant leaves that counts as learned at all."""
BEST = "the best prediction that is the same for every sample"


@dataclass(frozen=True)
class Scale:
    """What losses are held against.

    Attributes:
        constant: loss of the best constant prediction.
        floor: the smallest loss there can be, as far as is known: 0, or the smallest seen of losses below 0.
        what: in words, what the constant is.
        trivial: whether that constant is perfect, so that the loss before training stands for it.
    """

    constant: float
    floor: float
    what: str
    trivial: bool = False

    @property
    def known(self) -> bool:
        """Whether the constant is the best there is, and not what training came to."""
        return self.what == BEST

    def learned(self, losses: Sequence[float]) -> tuple[float, ...]:
        """Part of what the best constant leaves that is gone: 1 all of it, 0 no better than a constant; per run."""
        left = max(self.constant - self.floor, 1e-30)
        return tuple((self.constant - x) / left if math.isfinite(x) else math.nan for x in losses)


def scaled(arm: Arm, curves: Sequence[Curve], alike: Curve | None = None) -> Scale:
    """What losses of an arm are held against.

    Args:
        arm: whose loss and targets.
        curves: all that were seen: losses below 0 have no known floor but the smallest.
        alike: trained on alike inputs: the constant where outputs are no tensor.
    """
    constant, what = best_constant(arm, arm.told), BEST
    if not math.isfinite(constant) and alike is not None:
        ended = [x for x in alike.loss if math.isfinite(x)]
        constant = min(ended, default=math.nan)
        what = "the network trained on inputs that are all alike"
    seen = [x for c in curves for point in c.path for x in point if math.isfinite(x)]
    floor = min([0.0, *seen])
    trivial = constant - floor <= 1e-6 * max(1.0, abs(constant))
    if trivial or not math.isfinite(constant):
        started = [x for c in curves for x in c.path[0] if math.isfinite(x)]
        constant, what = (sum(started) / len(started) if started else math.nan), "the network before training"
    return Scale(constant, floor, what, trivial)


def held_out_scale(arm: Arm, scale: Scale, alike: Curve | None = None) -> Scale:
    """What losses on the held-out samples are held against: the best constant there, which is kind to nobody else."""
    constant = best_constant(arm, arm.apart)
    if not math.isfinite(constant) and alike is not None:
        constant = min((x for x in alike.held_out if math.isfinite(x)), default=math.nan)
    return replace(scale, constant=constant if math.isfinite(constant) else scale.constant)
