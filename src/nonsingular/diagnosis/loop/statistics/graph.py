"""The way of the gradient from the loss to the parameters, where it is cut."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from nonsingular.diagnosis.flat_derivatives import REMEDY, WORDS
from nonsingular.diagnosis.loop.records import Call, Loop, Trainee
from nonsingular.diagnosis.loop.statistics.steps import gradient_norm, stepping, updates_of
from nonsingular.diagnosis.loop.statistics.told import (
    ENOUGH,
    NOTHING,
    Measure,
    entries_of,
    line_of,
    names_of,
    reached_by_gradients,
    shown,
)
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.weights import fresh

TIMES = 4  # calls of a model in one step from where they are a recurrence
CHANCES = 7  # steps for each part that takes turns, after which one in a thousand (e^-7) has had none


def _cut(loop: Loop) -> Statistic:
    """Backward passes that reach no parameter of any optimiser."""
    reached = reached_by_gradients(loop)
    moved = [u for u in loop.updates if gradient_norm(u)]
    died = loop.counts["cut"] > 0 and loop.counts["failed backward"] > 0  # torch refuses the first one
    if (loop.backwards < ENOUGH and not died) or reached or moved or not (loop.trainees and loop.optimisers):
        return NOTHING
    where = loop.places.get("cut") or loop.places.get("backward")
    if not any(p.requires_grad for t in loop.trainees for p in t.module.parameters()):
        return Statistic(
            1.0, (), "parameters that require a gradient", line_of(where),
            (shown("backward passes", loop.backwards), shown("parameters that require a gradient", 0)),
            "All parameters are frozen: call requires_grad_(True) on those that should train.",
        )  # fmt: skip
    new = loop.counts["cut"] > 0
    what = "the loss is a new tensor without history" if new else "what the loss is made of was detached"
    return Statistic(
        1.0, (), "backward passes that reach a parameter", line_of(where),
        (shown("backward passes", loop.backwards), shown("parameters that a gradient reached", 0)),
        f"Keep the graph ({what}): no .item(), .data, .detach(), numpy or torch.tensor(...) between the model's output "
        "and backward().",
    )  # fmt: skip


def _behind_cut(loop: Loop) -> Statistic:
    """The first layers of a model that trains get no gradient, although they run with autograd on."""
    held = {i for h in loop.optimisers if h.steps for i in h.ids}
    for t in loop.trainees:
        graded = [c for c in t.calls if c.graded]
        if not graded and sum(c.fed and c.training for c in t.calls) >= ENOUGH:
            graded = [c for c in t.calls if c.fed]  # the whole model, in front of another
        if len(graded) < ENOUGH or not any(c.training for c in graded):
            continue
        own = {
            id(p): m
            for m in t.module.modules()
            for p in m.parameters(recurse=False)
            if p.requires_grad and id(m) in t.called
        }
        deaf = [i for i in own if i in held and i not in t.reached]
        rest = [t.called[id(own[i])] for i in own if i in t.reached]
        modules = {own[i] for i in deaf}
        if not deaf or max(t.called[id(m)] for m in modules) >= min(rest, default=math.inf):
            continue
        known = [p for m in modules for p in _known(loop, m)]
        changed = any(not torch.equal(entries_of(loop, p), loop.starts[id(p)]) for p in known)
        if changed or not fresh(modules) or all(m in loop.loaded for m in modules):
            continue  # an average of the weights, or what was trained before
        if not any(id(m) in t.lively for m in modules):
            continue
        return Statistic(
            1.0, names_of(loop, deaf), "parameters that the optimiser holds and no gradient reaches",
            line_of(graded[0].place),
            (shown("backward passes", loop.backwards), shown("parameters without any gradient", len(deaf))),
            "The graph is cut behind these layers (no_grad(), .detach(), .data, numpy, argmax, a new tensor): hand "
            "their output on as it is; if they are meant to stay as they are, call requires_grad_(False).",
        )  # fmt: skip
    return NOTHING


def _unreached(loop: Loop) -> Statistic:
    """Modules that run in training, are held by an optimiser and get no gradient, or zeros, in all that was seen."""
    words = "modules that run in training and that no gradient ever reaches, although an optimiser holds them"
    graded = {i for u in loop.updates for i, m in u.parameters.items() if m.gradient}
    if not graded or _behind_cut(loop).value > 0:
        return NOTHING
    names, where = list[str](), ""
    for held in stepping(loop):
        steps = [{i for i, m in u.parameters.items() if m.gradient} for u in updates_of(loop, held)]
        turns = _taking_turns(loop, steps)
        if not held.ids & graded:
            continue  # of something else than what trains here
        deaf = [
            (t, m) for t in loop.trainees if any(c.tracked and c.training for c in t.calls)
            for m in t.module.modules() if _deaf(loop, t, m, held.ids, graded)
        ]  # fmt: skip
        if deaf and len(steps) >= (CHANCES * (turns + len(deaf)) if turns else ENOUGH):
            names += names_of(loop, (id(p) for _, m in deaf for p in m.parameters(recurse=False)))
            where = where or line_of(deaf[0][0].calls[-1].place)
    if not names:
        return NOTHING
    return Statistic(
        1.0, tuple(names), words, where,
        (shown("steps looked at", len(loop.updates)), shown("parameters without any gradient", len(names))),
        "See that each output has its loss, and that the losses are added up (loss = loss + ...), so that none takes "
        "the place of another; what is meant to stay as it is should not be given to the optimiser.",
    )  # fmt: skip


def _deaf(loop: Loop, t: Trainee, module: nn.Module, held: set[int], graded: set[int]) -> bool:
    """Whether it ran in training, stands as it was drawn, and none of its parameters ever had a gradient."""
    own = list(module.parameters(recurse=False))
    ran = id(module) in t.called and id(module) not in t.untracked and id(module) in t.lively
    if not own or not ran or module in loop.loaded or not fresh([module]):
        return False
    if any(id(p) not in held or id(p) in graded or not p.requires_grad for p in own):
        return False
    # Without a gradient no step moves them: what moved was written, as an average of weights is.
    return all(id(p) in t.reached or _stayed(loop, p) for p in own)


def _stayed(loop: Loop, p: nn.Parameter) -> bool:
    return id(p) in loop.starts and torch.equal(entries_of(loop, p), loop.starts[id(p)])


def _taking_turns(loop: Loop, steps: list[set[int]]) -> int:
    """Modules with a gradient at some steps and none at others, as experts and tasks that are drawn at random."""
    counts = Counter(i for ids in steps for i in ids)
    some = {i for i, n in counts.items() if n < len(steps)}
    return sum(
        any(id(p) in some for p in m.parameters(recurse=False)) for t in loop.trainees for m in t.module.modules()
    )


def _cut_feed(loop: Loop) -> Statistic:
    """Share of the steps of a model's optimiser whose loss judges its output by another model, without its graph."""
    words = "share of the steps whose loss goes through another model that was given a detached output"
    if loop.counts["cut feed"] < ENOUGH or not loop.steps:
        return NOTHING
    return Statistic(
        min(1.0, loop.counts["cut feed"] / loop.steps), (), words, line_of(loop.places.get("cut feed")),
        (shown("backward passes of this kind", loop.counts["cut feed"]),),
        "In the generator's step hand its output on as it is: .detach() belongs into the discriminator's step alone.",
    )  # fmt: skip


def _cut_state(loop: Loop) -> Statistic:
    """Share of the steps with a recurrence whose state loses its graph at each time step, and only the last is trained.

    Where each call is given the same beside, as in a refinement, all that is to be known is in the last one; where each
    has a loss of its own, it is an output that is fed back.
    """
    words = "share of the steps at which no gradient goes back from one time step to the one before"
    for t in loop.trainees:
        each: dict[int, list[Call]] = {}
        for c in t.calls:
            if c.tracked and c.sample is not None:  # in a measured step
                each.setdefault(c.number, []).append(c)
        long = [calls for calls in each.values() if len(calls) >= TIMES and any(c.graded for c in calls)]
        cut = [calls for calls in long if _is_cut_recurrence(calls)]
        if len(cut) < ENOUGH:
            continue
        times = max(map(len, cut))
        return Statistic(
            len(cut) / len(long), (t.label,), words, line_of(cut[-1][-1].place),
            (shown("time steps of a sequence", times), shown("those that a gradient comes back to", 1)),
            "Hand the state on as it is and detach it between sequences, or every so many time steps, not at each one.",
        )  # fmt: skip
    return NOTHING


def _is_cut_recurrence(calls: Sequence[Call]) -> bool:
    """Whether each call but the first was given the former one's output without its graph, and the last one trains."""
    later = [c for c in calls if c.cut_state is not None]
    beside = {c.cut_state for c in later}
    only = [c for c in calls if c.graded] == calls[-1:]
    return only and len(later) == len(calls) - 1 and len(beside) > len(later) / 2


def _cut_terms(loop: Loop) -> Statistic:
    """Share of the losses looked at with a term that a model's parameters make and that has no graph."""
    words = "share of the losses with a term that hangs on the weights and sends no gradient back"
    cut = max((c for c in loop.cuts if not c.graded), key=loop.cuts.__getitem__, default=None)
    if cut is None or (steps := loop.cuts[cut]) < ENOUGH:
        return NOTHING
    where = line_of(cut.place)
    return Statistic(
        min(1.0, steps / loop.counts["terms looked at"]), (), words, where,
        (shown("steps on such a loss", steps),),
        f"Add this term with its graph{f' ({where})' if where else ''}: no .item(), .data, .detach(), numpy, no_grad() "
        "and no counting (argmax, comparisons) on its way.",
    )  # fmt: skip


def _flat_derivative(loop: Loop) -> Statistic:
    """Share of the derivatives of derivatives that are zero everywhere."""
    flat, curved = loop.counts["flat derivatives"], loop.counts["curved derivatives"]
    if flat + curved < ENOUGH:
        return NOTHING
    where = line_of(loop.places.get("flat derivatives"))
    return Statistic(
        flat / (flat + curved), (), WORDS, where, (shown("second derivatives looked at", flat + curved),), REMEDY
    )


def _known(loop: Loop, module: nn.Module) -> list[nn.Parameter]:
    """Its own parameters of which it is known what they were at first."""
    return [p for p in module.parameters(recurse=False) if id(p) in loop.starts]


MEASURES: dict[str, Measure] = {
    "loop-cut": _cut,
    "loop-behind-cut": _behind_cut,
    "loop-unreached": _unreached,
    "loop-cut-feed": _cut_feed,
    "loop-cut-state": _cut_state,
    "loop-cut-terms": _cut_terms,
    "loop-flat-derivative": _flat_derivative,
}
