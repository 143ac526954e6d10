"""The learning rate over a training: where a schedule keeps it from the one that it leads to."""

from __future__ import annotations

import itertools
import linecache
import math
import re
from collections.abc import Sequence
from statistics import fmean

from nonsingular.diagnosis.loop.records import Held, Loop
from nonsingular.diagnosis.loop.statistics.losses import trains
from nonsingular.diagnosis.loop.statistics.steps import highest_rate_ahead, stepping
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, shown
from nonsingular.diagnosis.records import Statistic
from nonsingular.places import Place

FALL = 2.5  # by how much a rate falls in one step, or rises in several, where a warm-up begins anew
AWAY = 0.02  # of the optimiser's own rate, which a schedule that means it comes to
WHOLE = 0.5  # a rate of adaptive steps that nobody trains with: only its schedule makes one of it
LOSSES = re.compile(r"loss|err|mse|mae|nll|perplex|_ppl|rmse", re.IGNORECASE)
SCORES = re.compile(r"acc|auc|f1|score|iou|dice|bleu|r2|precision|recall|reward", re.IGNORECASE)


def _no_rate(loop: Loop) -> Statistic:
    words = "share of steps at a learning rate below a thousandth of its peak"
    value, worst = 0.0, None
    for o in stepping(loop):
        rates = o.rates
        peak = max(rates)
        after = rates[rates.index(peak) :] if peak else rates
        gone = sum(r <= 1e-3 * peak for r in after)
        if gone >= ENOUGH and gone / len(rates) > value:
            value, worst = gone / len(rates), o
    if worst is None:
        return NOTHING
    return Statistic(
        value, (), words, line_of(worst.schedule_place or worst.made),
        (shown("learning rate, largest", max(worst.rates)), shown("learning rate, last", worst.rates[-1])),
        "The scheduler takes the learning rate away: step it once an epoch if its numbers are epochs, and let it end "
        "where training ends.",
    )  # fmt: skip


def _per_batch(loop: Loop) -> Statistic:
    """By how much a schedule meant for epochs, stepped once a batch, divides the rate within one epoch."""
    words = "decades that the learning rate loses within one epoch"
    length = max((d.length for d in loop.loaders.values()), default=0)
    for o in stepping(loop):
        if o.scheduler is None or not length or o.schedule_steps < max(2, 0.5 * o.steps):
            continue
        fall = _fall(o, length)
        if fall > 0:
            return Statistic(
                fall, (), words, line_of(o.schedule_place),
                (shown("steps of the scheduler", o.schedule_steps), shown("steps of the optimiser", o.steps),
                 shown("batches of an epoch", length)),
                f"{o.schedule} is stepped once a batch: step it once an epoch, or give it numbers of batches.",
            )  # fmt: skip
    return NOTHING


def _fall(o: Held, length: int) -> float:
    s, gamma = o.scheduler, getattr(o.scheduler, "gamma", None)
    if not isinstance(gamma, float) or not 0 < gamma < 1:
        return 0.0
    if o.schedule == "StepLR":
        times = length // s.step_size
    elif o.schedule == "MultiStepLR":
        times = sum(n for at, n in s.milestones.items() if at <= length)
    elif o.schedule == "ExponentialLR":
        times = length
    else:
        return 0.0
    return -times * math.log10(gamma)


def _rescheduled(loop: Loop) -> Statistic:
    """Decades by which rates stay below the schedule's own, because it begins anew before it gets there."""
    words = "decades by which the learning rate stays below the one that its schedule leads to"
    for o in stepping(loop):
        if len(o.schedulers) < 2 or not o.base > 0 or trains(loop):
            continue
        return Statistic(
            math.log10(o.base / max(max(o.rates), 1e-12 * o.base)), (), words, line_of(o.schedule_made),
            (shown("schedulers made after the first step", len(o.schedulers)),
             shown("largest learning rate", max(o.rates)), shown("the one it leads to", o.base)),
            f"Make {o.schedule} once, before the loop: each new one begins its warm-up again.",
        )  # fmt: skip
    return NOTHING


def _scaled_away(loop: Loop) -> Statistic:
    """Decades by which a schedule keeps the rate below the optimiser's own for all of the training."""
    words = "decades by which the schedule's largest learning rate stays below the optimiser's own"
    for o in stepping(loop):
        ahead, rates = highest_rate_ahead(o), list(o.rates)
        most = max(rates) if math.isnan(ahead) else max(ahead, *rates)
        if not (o.schedule and 0 < most < o.base):
            continue
        function = next(iter(getattr(o.scheduler, "lr_lambdas", [])), None)
        squared = function is not None and math.isclose(most, o.base**2, rel_tol=0.01)
        climbs = math.isnan(ahead) and rates[-1] > rates[0]  # and may come to it yet
        # A rate of 1 or so stands for none, as in schedules by the width of a transformer: the function is the rate.
        if not squared and (most > AWAY * o.base or climbs or o.base >= WHOLE or trains(loop)):
            continue
        code = getattr(function, "__code__", None)
        place = o.schedule_place if code is None else Place(code.co_filename, code.co_firstlineno)
        factor = most / o.base
        return Statistic(
            -math.log10(factor), (), words, line_of(place),
            (shown("the optimiser's own learning rate", o.base), shown("largest one under the schedule", most),
             shown("largest factor of the schedule", factor)),
            f"{o.schedule} multiplies the optimiser's rate by what the function returns, here by up to {factor:.3g}, "
            "which is that rate itself: return a factor (1 for the whole rate), not a rate." if squared else
            f"{o.schedule} multiplies the optimiser's rate by at most {factor:.3g}: let its factors come to 1, or give "
            "the optimiser the rate that is meant.",
        )  # fmt: skip
    return NOTHING


def _restarted(loop: Loop) -> Statistic:
    """Share of the steps that a warm-up takes which begins anew again and again, whoever sets the rates."""
    words = "share of the steps at which the learning rate is on its way up from where it fell back to, or began"
    for o in stepping(loop):
        rates = list(o.rates)
        climbs = _climbs(rates)
        begun = max((d.begun for d in loop.loaders.values()), default=len(climbs))
        if len(climbs) < ENOUGH or begun < len(climbs):  # stages with data of their own may each have their warm-up
            continue
        return Statistic(
            sum(end - start for start, end in climbs) / len(rates), (), words, line_of(o.schedule_place or o.made),
            (shown("times that the warm-up began", len(climbs)),
             shown("learning rate where it begins the second time", rates[climbs[1][0]]),
             shown("largest learning rate", max(rates))),
            "The warm-up counts the steps of an epoch: count the steps of the whole training, so that it comes once.",
        )  # fmt: skip
    return NOTHING


def _climbs(rates: Sequence[float]) -> list[tuple[int, int]]:
    """Stretches over which rates rise step by step to a multiple, at the start and wherever they fell at once.

    Cycles on purpose come down as slowly as they go up, or jump up and come down slowly; neither is among these.

    >>> _climbs([1, 2, 3, 4, 4, 1, 2, 3, 4, 4])
    [(0, 3), (5, 8)]
    >>> _climbs([1, 2, 3, 4, 3, 2, 1, 2, 3, 4]), _climbs([4, 3, 2, 1, 4, 3, 2, 1])
    ([], [])
    """
    falls = [i for i in range(1, len(rates)) if rates[i] < rates[i - 1] / FALL]
    found = []
    for start, end in itertools.pairwise([0, *falls, len(rates)]):
        top = start
        while top + 1 < end and rates[top + 1] > rates[top]:
            top += 1
        if top - start >= ENOUGH and rates[top] > FALL * rates[start]:
            found.append((start, top))
    return found if len(found) == len(falls) + 1 > 1 else []


def _warming(loop: Loop) -> Statistic:
    """Decades by which the rate is still below the peak of its schedule when training ends, on its way there."""
    words = "decades by which the learning rate stays below the one that its schedule leads to"
    for o in stepping(loop):
        peak, rates = highest_rate_ahead(o), list(o.rates)
        if not loop.ended or not math.isfinite(peak) or len(rates) < 2 * ENOUGH or trains(loop):
            continue
        if rates[-1] < max(rates) or not rates[-1] > 0 or rates[0] == rates[-1]:
            continue  # past its peak, or none
        return Statistic(
            math.log10(peak / rates[-1]), (), words, line_of(o.schedule_place),
            (shown("learning rate at the end of training", rates[-1]), shown("largest one ahead", peak),
             shown("steps", o.steps)),
            "The warm-up is longer than the training: take fewer steps for it, a tenth of all is usual.",
        )  # fmt: skip
    return NOTHING


def _plateau(loop: Loop) -> Statistic:
    """Whether a scheduler waits for a number to rise that is to fall, or the other way round."""
    words = "a plateau scheduler takes every improvement for none"
    for o in stepping(loop):
        mode, numbers = getattr(o.scheduler, "mode", ""), [m for m, _ in o.metrics]
        if o.schedule != "ReduceLROnPlateau" or len(numbers) < ENOUGH:
            continue
        rest = _called_with(o.schedule_place)
        loss, score = bool(LOSSES.search(rest)), bool(SCORES.search(rest))
        falls = _falls(numbers) and _falls([x for _, x in o.metrics if math.isfinite(x)])
        wrong = (mode == "max" and not score and (loss or falls)) or (mode == "min" and score and not loss)
        other = "min" if mode == "max" else "max"
        return Statistic(
            float(wrong), (), words, line_of(o.schedule_place),
            (shown("first number that it was given", numbers[0]), shown("the last one", numbers[-1]),
             shown("learning rate, largest", max(o.rates)), shown("learning rate, last", o.rates[-1])),
            f"It is made with mode={mode!r}: a number that is to {'fall' if other == 'min' else 'rise'} needs "
            f"mode={other!r}.",
        )  # fmt: skip
    return NOTHING


def _called_with(place: Place | None) -> str:
    """What a line of the user's gives to the ``step`` that it calls."""
    line = linecache.getline(place.file, place.line) if place is not None else ""
    return line.partition(".step(")[2]


def _falls(values: Sequence[float]) -> bool:
    part = max(1, len(values) // 3)
    return len(values) > 1 and fmean(values[-part:]) < fmean(values[:part])


MEASURES: dict[str, Measure] = {
    "loop-no-rate": _no_rate,
    "loop-per-batch": _per_batch,
    "loop-rescheduled": _rescheduled,
    "loop-scaled-away": _scaled_away,
    "loop-restarted": _restarted,
    "loop-warming": _warming,
    "loop-plateau": _plateau,
}
