"""Models that follow others by averages or copies of their weights: whether all that makes them up follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from nonsingular.diagnosis.loop.movement import running_statistics
from nonsingular.diagnosis.loop.records import Call, Loop, Tested, Trainee
from nonsingular.diagnosis.loop.statistics.told import (
    ENOUGH,
    NOTHING,
    Measure,
    entries_of,
    line_of,
    names_of,
    shown,
    trains_here,
)
from nonsingular.diagnosis.records import Statistic

ALONG = 0.5  # cosine between the ways of two models' weights, from where one follows the other

LATE = 0.8  # of the steps, after which a test is one of the last
SELDOM = 0.25  # steps between which there are tests, of all: more are no tests, but part of the loop


def _left_behind(loop: Loop) -> Statistic:
    """How far running statistics that stay lie off those of the model whose weights are followed."""
    words = "deviations by which running statistics that stayed lie off those of the model whose weights are followed"
    for teacher in loop.trainees:
        tests = [c for c in teacher.calls if not (c.graded or c.training)]
        if not tests or any(c.graded for c in teacher.calls):
            continue
        for student in loop.trainees:
            if (
                student is teacher
                or not trains_here(student)
                or loop.steps < ENOUGH
                or not _follows(loop, *_both(teacher, student))
            ):
                continue
            names, away = _stayed(loop, teacher, student)
            if names:
                return Statistic(
                    away, names, words, line_of(tests[0].place),
                    (shown("normalisations whose running statistics stayed", len(names)),),
                    f"Copy or average the buffers of {student.label} too, not its parameters alone (named_buffers; "
                    "AveragedModel(..., use_buffers=True)), or compute them anew with torch.optim.swa_utils.update_bn.",
                )  # fmt: skip
    return NOTHING


def _early(loop: Loop) -> Statistic:
    """Part of the way that a trained model has gone which is missing from the average that is tested in its place."""
    words = "part of the way from the first weights that the weights which are tested have not gone"
    for teacher in loop.trainees:
        tested = teacher.tested
        if tested is None or not loop.ended or not _is_tested_last(loop, teacher, tested):
            continue
        again = any(m in loop.loaded for m in teacher.module.modules())  # the best of its own earlier weights
        for student in loop.trainees:
            if not trains_here(student) or (student is teacher and again):
                continue
            ways = _ways(loop, tested.own, tested.stepped, *_both(teacher, student))
            if ways is not None and _along(*ways):
                a, b = ways
                calls = [c for c in teacher.calls if not (c.graded or c.training)]
                return Statistic(
                    1 - float(a @ b / (b @ b)), (), words, line_of(calls[-1].place if calls else None),
                    (shown("steps before the test", tested.steps),),
                    "With a decay of d an average forgets what it began with in some times 1/(1 - d) steps: take a "
                    "smaller one, let it grow (min(d, (1 + t) / (10 + t))), or divide by 1 - d^t.",
                )  # fmt: skip
    return NOTHING


def _is_tested_last(loop: Loop, model: Trainee, tested: Tested) -> bool:
    """Whether a model is tested near the end, and seldom: a teacher is asked at each step."""
    late = tested.steps >= max(ENOUGH, LATE * loop.steps)
    return (
        late and len(model.between) <= SELDOM * loop.steps and not any(c.graded and not c.training for c in model.calls)
    )


def _both(teacher: Trainee, student: Trainee) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Parameters of each by the names that they have without a wrapper around the model."""
    one, other = ({n.removeprefix("module."): p for n, p in t.module.named_parameters()} for t in (teacher, student))
    return one, other


def _follows(loop: Loop, teacher: dict[str, nn.Parameter], student: dict[str, nn.Parameter]) -> bool:
    """Whether the teacher's weights went, from where the student's began, the way that those have gone."""
    now = {id(p): entries_of(loop, p) for p in (*teacher.values(), *student.values())}
    ways = _ways(loop, now, now, teacher, student)
    return ways is not None and _along(*ways)


def _ways(
    loop: Loop, one: Mapping[int, Tensor], other: Mapping[int, Tensor], teacher: dict[str, nn.Parameter],
    student: dict[str, nn.Parameter],
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """From where the student's weights began, to the teacher's in ``one`` and to the student's in ``other``."""
    if teacher.keys() != student.keys() or any(teacher[n].shape != student[n].shape for n in teacher):
        return None
    ways: list[tuple[Tensor, Tensor]] = []
    for name, p in student.items():
        start = loop.starts.get(id(p))
        if start is None or id(teacher[name]) not in one:
            return None
        ways.append(((one[id(teacher[name])] - start).double(), (other.get(id(p), start) - start).double()))
    a, b = (torch.cat([way[i] for way in ways]) for i in (0, 1))
    return a, b


def _along(a: Tensor, b: Tensor) -> bool:
    size = float(a.norm() * b.norm())
    return size > 0 and float(a @ b) > ALONG * size


def _stayed(loop: Loop, teacher: Trainee, student: Trainee) -> tuple[tuple[str, ...], float]:
    """Normalisations of the teacher whose statistics are still those with which the student's began, if all are."""
    theirs = {n.removeprefix("module."): m for n, m in teacher.module.named_modules()}
    names, away = [], []
    for name, m in student.module.named_modules():
        other, began = theirs.get(name.removeprefix("module.")), loop.running.get(id(m))
        if began is None or not isinstance(other, _NormBase) or other.running_mean is None:
            continue
        stayed, (mean, variance) = _running(loop, other), _running(loop, m)
        if not all(torch.equal(a, b) for a, b in zip(stayed, began, strict=True)):
            return (), math.nan
        shift = (stayed[0] - mean) ** 2 + (stayed[1].sqrt() - variance.sqrt()) ** 2
        away.append(float((shift / variance.clamp(min=1e-12)).mean().sqrt()))
        names.append(name)
    return tuple(names), median(away) if away else math.nan


def _running(loop: Loop, m: nn.Module) -> tuple[Tensor, Tensor]:
    """Running mean and variance at the end of the loop, or now where it goes on."""
    return loop.running_ends[id(m)] if id(m) in loop.running_ends else running_statistics(m)[id(m)]


def _drawn_together(loop: Loop) -> Statistic:
    """Share of the measured steps that move both ends of a distance which is all that the loss is."""
    words = "share of the steps whose loss is a distance between two outputs alone, and which move both"
    steps = loop.counts["drawn together"]
    if steps < ENOUGH or loop.drawn_together is None or not loop.updates:
        return NOTHING
    student, target = loop.drawn_together
    return Statistic(
        min(1.0, steps / len(loop.updates)), names_of(loop, target - student), words,
        line_of(loop.places.get("drawn together")),
        (shown("steps of this kind", steps), shown("steps looked at", len(loop.updates))),
        "Compute what is to be matched under torch.no_grad(), or .detach() it, and leave its parameters out of the "
        "optimiser.",
    )  # fmt: skip


def _taught(loop: Loop) -> Statistic:
    """Share of the steps that move a teacher, which other terms of the loss do not train, to be like its student.

    A model that is drawn at random and learns to be like another is a student itself, and one that is given other
    inputs is another view. Where both are ready, as after a resumption, and in one mode, nobody knows who teaches.
    """
    words = "share of the steps that train a teacher to be like its student"
    if loop.counts["taught"] < ENOUGH or not loop.updates:
        return NOTHING
    for teacher in loop.trainees:
        others = [t for t in loop.trainees if t is not teacher and not teacher.ids & t.ids]
        given = [(c, t) for t in others for c in t.calls if c.graded and c.sample is not None]
        calls = [c for c in teacher.calls if c.graded and any(_same_sample(c, other) for other, _ in given)]
        beside = [(c, t) for c, t in given if any(_same_sample(c, one) for one in calls)]
        if not teacher.ids & loop.taught or not calls:
            continue
        by_weights = teacher.ready and not any(t.ready for _, t in beside)
        by_mode = not any(c.training for c in calls) and all(c.training for c, _ in beside)
        if not by_weights and not by_mode:
            continue
        return Statistic(
            min(1.0, loop.counts["taught"] / len(loop.updates)), names_of(loop, teacher.ids & loop.taught), words,
            line_of(calls[-1].place), (shown("steps of this kind", loop.counts["taught"]),),
            f"Call {teacher.label} under torch.no_grad(), or .detach() what it returns, and leave its parameters out "
            "of the optimiser.",
        )  # fmt: skip
    return NOTHING


def _same_sample(one: Call, other: Call) -> bool:
    """Whether two calls of one step were given the same."""
    return (one.number, one.sample) == (other.number, other.sample)


MEASURES: dict[str, Measure] = {
    "loop-left-behind": _left_behind,
    "loop-early": _early,
    "loop-drawn-together": _drawn_together,
    "loop-taught": _taught,
}
