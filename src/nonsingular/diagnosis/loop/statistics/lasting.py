"""Whether what steps have done, and what an optimiser knows of them, is still there at the next."""

from __future__ import annotations

import itertools
import math
from statistics import fmean, median
from typing import Any

from nonsingular.diagnosis.loop.movement import ADAPTIVE, DECOUPLED
from nonsingular.diagnosis.loop.records import Held, Loop, Movement, Trainee
from nonsingular.diagnosis.loop.statistics.losses import trains
from nonsingular.diagnosis.loop.statistics.steps import several, stepping
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, shown
from nonsingular.diagnosis.records import Statistic


def _renewed(loop: Loop) -> Statistic:
    """Share of steps at which the optimiser was made anew, so that it knows nothing of the steps before."""
    words = "share of steps for which the optimiser was made anew"
    for held in loop.optimisers:
        stateful = held.kind in (*ADAPTIVE, *DECOUPLED) or held.momentum > 0
        if held.steps >= 2 * ENOUGH and stateful:
            return Statistic(
                held.remade / held.steps, (), words, line_of(held.made),
                (shown(f"optimisers ({held.kind}) made by this line", held.remade + 1), shown("steps", held.steps)),
                "Make the optimiser once, before the loop.",
            )  # fmt: skip
    return NOTHING


def _undone(loop: Loop) -> Statistic:
    """Part of each step that is gone before the next: weights loaded back, averaged over, clamped."""
    words = "part of a step that is taken back before the next one"
    kept = [(u.kept, u) for u in loop.updates if not math.isnan(u.kept)]
    if len(kept) < ENOUGH or several(loop.updates) or trains(loop):
        return NOTHING  # of adversaries, one may be held within bounds
    value = 1 - median(k for k, _ in kept)
    held = loop.optimisers[kept[-1][1].optimiser]
    return Statistic(
        value, (), words, line_of(held.place), (shown("steps looked at", len(kept)),),
        "Something between two steps writes over the weights (an average that is copied back, load_state_dict, clamp_, "
        "a model of its own): let only the optimiser change them.",
    )  # fmt: skip


def _returned(loop: Loop) -> Statistic:
    """How often the weights are exactly what they were at an earlier step, having been others in between."""
    words = "times that the weights are again exactly what they were at an earlier step"
    for held in stepping(loop):
        seen: dict[int, list[int]] = {}
        before = None
        for step, state in held.states:
            if state != before:
                seen.setdefault(state, []).append(step)
            before = state
        again = max(seen.values(), key=len, default=[])
        if len(again) > 2 and again[-1] - again[0] >= 0.5 * held.steps and not trains(loop):
            return Statistic(
                len(again) - 1.0, (), words, line_of(held.made),
                (shown("first of these steps", again[0]), shown("last of them", again[-1])),
                "Weights of before are loaded back again and again (load_state_dict of a copy that never changes): "
                "keep what was learnt.",
            )  # fmt: skip
    return NOTHING


def _remade(loop: Loop) -> Statistic:
    """How many models the same line gave an optimiser, each for a step, or for one pass through the same data."""
    words = "models that were made anew and trained for one pass through the data, or less"
    groups: dict[Any, list[Held]] = {}
    for held in loop.optimisers:
        if held.made is not None and held.steps:
            groups.setdefault((held.kind, held.made, held.size), []).append(held)
    for group in groups.values():
        apart = len(set().union(*(h.ids for h in group))) == sum(len(h.ids) for h in group)
        if len(group) < ENOUGH or not apart or trains(loop):
            continue
        each = max(h.steps for h in group)
        once = [d for d in loop.loaders.values() if d.begun <= len(group) + 1 and 0 < each <= d.length]
        if each <= 2 or once:
            return Statistic(
                float(len(group)), (), words, line_of(group[0].made), (shown("steps of each", each),),
                "Make model and optimiser once, before the loop: a new model knows nothing of what was learnt.",
            )  # fmt: skip
    return NOTHING


def _own_state(loop: Loop) -> Statistic:
    """Weights that are loaded and are the model's own: a state that was kept without a copy."""
    words = "times that a model was given back its own weights, which were kept without a copy"
    times = loop.counts["own state"]
    if not times or loop.steps < ENOUGH:
        return NOTHING
    return Statistic(
        float(times), (), words, line_of(loop.places.get("own state")), (shown(words, times),),
        "state_dict() refers to the weights, which go on training: keep copy.deepcopy(model.state_dict()), or save it.",
    )  # fmt: skip


def _replicas(loop: Loop) -> Statistic:
    """Share of the steps at which models of one make get the same gradients and have other weights."""
    words = "share of the steps at which copies of a model get the same gradient at weights that differ"
    groups: dict[Any, list[Trainee]] = {}
    for t in loop.trainees:
        shapes = tuple((n, tuple(p.shape)) for n, p in t.module.named_parameters() if p.requires_grad)
        if shapes:
            groups.setdefault(shapes, []).append(t)
    moved: dict[int, list[Movement]] = {}
    for u in loop.updates:
        for i, m in u.parameters.items():
            moved.setdefault(i, []).append(m)
    for group in groups.values():
        for one, other in itertools.pairwise(group):
            shares = [
                fmean(_apart(a, b) for a, b in zip(moved[id(p)], moved[id(q)], strict=False))
                for p, q in zip(one.module.parameters(), other.module.parameters(), strict=False)
                if p is not q and len(moved.get(id(p), ())) >= ENOUGH and id(q) in moved and p.numel() > 1
            ]
            if shares and max(shares) > 0.5:
                return Statistic(
                    max(shares), (), words, line_of(one.calls[0].place),
                    (shown("copies of the model", len(group)),),
                    f"The replicas {one.label} and {other.label} start from different weights and share their "
                    "gradients: copy the weights of one to all before training (broadcast, load_state_dict).",
                )  # fmt: skip
    return NOTHING


def _apart(a: Movement, b: Movement) -> bool:
    alike = a.gradient > 0 and abs(a.gradient - b.gradient) <= 1e-5 * a.gradient
    return alike and abs(a.weight - b.weight) > 1e-3 * max(a.weight, b.weight)


MEASURES: dict[str, Measure] = {
    "loop-renewed": _renewed,
    "loop-undone": _undone,
    "loop-returned": _returned,
    "loop-remade": _remade,
    "loop-own-state": _own_state,
    "loop-replicas": _replicas,
}
