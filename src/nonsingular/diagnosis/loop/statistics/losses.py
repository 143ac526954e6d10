"""What a loop's losses show: whether it learns, stands still, or suffers from its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from nonsingular.diagnosis.loop.caught import constant_loss
from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, Measure, shown
from nonsingular.diagnosis.records import TRAINS, Statistic

ALIKE = 2.0  # decades by which outputs have come together, from where they tell no samples apart


def step_losses(loop: Loop) -> list[float]:
    """The mean loss of each step, in order."""
    found: dict[int, list[float]] = {}
    for count, (number, value) in enumerate(loop.losses):
        # Steps by hand are not counted: each backward pass is one.
        found.setdefault(number if loop.steps else count, []).append(value)
    return [fmean(values) for values in found.values()]


def constant(loop: Loop) -> tuple[float, list[float]]:
    """The best constant prediction's loss, and the loss that it compares with, step by step; NaN where not known."""
    sites = [s for s in loop.sites.values() if s.values and s.targets]
    if len(sites) == 1 and not sites[0].weighted:
        [site] = sites
        best = constant_loss(site.name, _together(site.targets), site.classes)
        if not math.isnan(best):
            return best, [v for _, v in site.values]
    return loop.constant, [] if math.isnan(loop.constant) else step_losses(loop)


def _together(targets: Sequence[Tensor]) -> Tensor:
    """Targets of all calls, row by row where all have as many numbers."""
    shapes = {t.shape[1:] for t in targets}
    return torch.cat([t if len(shapes) == 1 else t.flatten() for t in targets])


def latest(values: Sequence[float]) -> float:
    """The loss at the end: the median of the last fifth."""
    return median(values[-max(1, len(values) // 5) :])


def trains(loop: Loop) -> bool:
    """Whether the loss shows beyond doubt that the network learns: half of what not to know anything costs."""
    losses, (best, values) = step_losses(loop), constant(loop)
    if len(losses) < 2 * ENOUGH:
        return False
    late = latest(values or losses)
    return 0 <= late < 0.5 * best if values and math.isfinite(best) else 0 <= late < 0.2 * losses[0]


def no_better(loop: Loop) -> bool:
    """Whether the loss did not get below that of the best constant prediction."""
    best, values = constant(loop)
    return len(values) >= 20 and 0 < 0.98 * best <= latest(values)


def harm_of(loop: Loop) -> dict[str, Any] | None:
    """What the loss shows of steps that are too large; None where it shows nothing."""
    losses = step_losses(loop)
    if len(losses) < ENOUGH:
        return None
    first = fmean(losses[: min(3, max(1, len(losses) // 10))])
    last = latest(losses)
    if loop.broken is not None and loop.broken.grew > 3:
        return shown("loss before it was not finite, over the first loss", loop.broken.grew)
    if not all(map(math.isfinite, losses)):
        return None
    if min(losses) < 0 < max(losses) and max(map(abs, losses)) < 10 * max(map(abs, losses[:5])):
        return None  # a loss of either sign, as a policy's, has no size to rise from
    start = max(abs(losses[0]), 1e-12)
    best, values = constant(loop)
    late = latest(values) if values else math.nan
    # Batches differ: one that is harder than the first is still easier than not to know anything.
    if first > 0 and len(losses) >= 5 and (last > 1.3 * first or last > 3 * start) and not late < 1.5 * best:
        return shown("last loss over the first", last / start)
    middle = median(losses[1:])
    if middle > 3 * start and not median(values or [math.nan]) < 1.5 * best:
        return shown("median loss over the first", middle / start)
    if len(values) >= 20 and late > 1.05 * best > 0 and late > 0.7 * values[0]:
        return shown("last loss over that of the best constant prediction", late / best if best else math.inf)
    if no_better(loop) and max(losses) > 3 * start:
        return shown("largest loss over the first, before it came to that of the best constant", max(losses) / start)
    if no_better(loop) and loop.together > ALIKE:
        return shown("decades by which outputs of different samples have come together", loop.together)
    return None


def stuck(loop: Loop, share: float = 0.02) -> bool:
    """Whether the loss fell by no more than this share of itself, in enough steps to tell."""
    losses = [v for v in step_losses(loop) if math.isfinite(v)]
    if len(losses) < 5:
        return False
    part = max(2, len(losses) // 4)
    first, last = fmean(losses[:part]), fmean(losses[-part:])
    noise = _noise(losses[:part]) + _noise(losses[-part:])
    return first - last < max(share * abs(first), noise)


def _noise(values: Sequence[float]) -> float:
    mean = fmean(values)
    return (
        math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) / max(1, len(values) - 1))
        if len(values) > 1
        else 0.0
    )


def _training(loop: Loop) -> Statistic:
    """No mistake: that it is seen to learn."""
    return Statistic(float(trains(loop)), (), "whether the loss fell below half of the best constant prediction's")


MEASURES: dict[str, Measure] = {TRAINS: _training}
