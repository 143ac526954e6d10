"""The calls of a step, missing or in the wrong order: which gradients a step uses, and whether any does."""

from __future__ import annotations

import math
from statistics import fmean

from nonsingular.diagnosis.loop.records import BY_HAND, Loop
from nonsingular.diagnosis.loop.statistics.losses import trains
from nonsingular.diagnosis.loop.statistics.steps import gradient_norm, stepping, updates_of
from nonsingular.diagnosis.loop.statistics.told import (
    ENOUGH,
    NOTHING,
    Measure,
    line_of,
    names_of,
    reached_by_gradients,
    shown,
    trains_here,
)
from nonsingular.diagnosis.records import Statistic

WAITING = 20  # backward passes without a step, before that is called a mistake in a loop that goes on
FEW = 60  # steps of a training that is over


def _no_step(loop: Loop) -> Statistic:
    """Parameters that get gradients and stay as they are, because nobody takes a step."""
    stepped = {i for h in loop.optimisers if h.steps for i in h.ids}
    waiting = {i: n for i, n in loop.still.items() if i not in stepped and i not in loop.moved}
    idle = [h for h in loop.optimisers if not h.steps and any(i in waiting for i in h.ids)]
    enough = ENOUGH if loop.ended else WAITING
    if not waiting or max(waiting.values()) < enough or not (idle or not (loop.optimisers or loop.moved)):
        return NOTHING
    if not any(map(trains_here, loop.trainees)):
        return NOTHING  # gradients for their own sake: saliency, attacks
    ids = [i for i in waiting if not idle or any(i in h.ids for h in idle)]
    what = f"{idle[0].kind} is made and never stepped" if idle else "there is no optimiser, and no step by hand"
    return Statistic(
        1.0, names_of(loop, ids), "backward passes without a step",
        line_of(idle[0].made if idle else loop.places.get("backward")),
        (shown("backward passes", loop.backwards), shown("steps", 0)),
        f"Call the step() of the optimiser after backward(): {what}.",
    )  # fmt: skip


def _no_backward(loop: Loop) -> Statistic:
    """Losses are computed in training mode, an optimiser is there, and nothing is ever done with them."""
    busy = loop.backwards or loop.steps or loop.moved or loop.counts["failed backward"]
    computed = sum(c.training and c.tracked for t in loop.trainees for c in t.calls)
    if busy or not loop.ended or not loop.optimisers or max(computed, loop.counts["rehearsed"]) < 2 * ENOUGH:
        return NOTHING
    if not (loop.sites or loop.counts["rehearsed"]):
        return NOTHING
    at = next((s.place for s in loop.sites.values()), None) or loop.optimisers[0].made
    return Statistic(
        1.0, (), "training passes without a backward pass and without a step", line_of(at),
        (shown("passes of a model in training mode, with autograd on", computed), shown("backward passes", 0),
         shown("steps", 0)),
        "Call loss.backward() and then the step() of the optimiser: the loss is computed and not used.",
    )  # fmt: skip


def _no_gradient(loop: Loop) -> Statistic:
    """Steps at which there is no gradient, although backward passes made some, or none was asked for."""
    reached = reached_by_gradients(loop)
    for o in stepping(loop):
        updates = updates_of(loop, o)
        if not updates or any(gradient_norm(u) for u in updates):
            continue
        if o.ids & reached:
            where, remedy = (
                o.place,
                ("The step comes before backward(): the order is zero_grad, forward, backward, step."),
            )
            if loop.counts["zero_grad"]:
                where = loop.places.get("zero_grad")
                remedy = (
                    "Gradients are cleared between backward() and step(), or the step comes before backward(): the "
                    "order is zero_grad, forward, backward, step."
                )
            words = "share of steps that met no gradient, although backward passes made one"
        elif not loop.backwards:
            where, words = o.place, "share of steps that met no gradient, because no backward pass was made"
            remedy = "Call backward() of the loss before the step() of the optimiser."
        else:
            continue
        return Statistic(
            1.0, names_of(loop, o.ids), words, line_of(where), (shown(words, 1.0), shown("steps", o.steps)), remedy
        )
    return NOTHING


def _stale(loop: Loop) -> Statistic:
    words = "share of the gradient that earlier steps used already, and that was not cleared"
    known = [u for u in loop.updates if not math.isnan(u.stale)]
    if len(known) < ENOUGH - 1:
        return NOTHING
    value = fmean(u.stale for u in known)
    by = loop.optimisers[max(known, key=lambda u: u.stale).optimiser]
    return Statistic(
        value, (), words, line_of(loop.places.get("backward")), (shown("steps looked at", len(known)),),
        f"Clear the gradients of {by.label} once for each of its steps: call its zero_grad() before backward().",
    )  # fmt: skip


def _behind(loop: Loop) -> Statistic:
    words = "share of steps taken between a forward pass and its backward pass"
    updates = [u for u in loop.updates if u.optimiser != BY_HAND and u.pending is not None]
    failed = loop.counts["failed backward"] > 0 and any(u.pending for u in updates[-1:])
    if not failed and (len(updates) < ENOUGH or not any(gradient_norm(u) for u in updates)):
        return NOTHING
    value = 1.0 if failed else fmean(any(c.graded for c in u.pending) for u in updates)
    return Statistic(
        value, (), words, line_of(loop.optimisers[updates[-1].optimiser].place), (),
        "The step comes before backward(), so that it uses the gradient of the batch before: the order is zero_grad, "
        "forward, backward, step.",
    )  # fmt: skip


def _wasted(loop: Loop) -> Statistic:
    """Share of the backward passes of one line whose gradients are cleared before any step has used them.

    Where no step ever uses any, it is the order of the calls, or the step, that is wrong (`_no_gradient`, `_no_step`).
    """
    words = "share of backward passes whose gradients were cleared before any step used them"
    known = {place: n for place, n in loop.wasted.items() if n >= 2 * ENOUGH and loop.used[place]}
    if not known:
        return NOTHING
    place = max(known, key=lambda p: known[p] / (known[p] + loop.used[p]))
    wasted, used = known[place], loop.used[place]
    return Statistic(
        wasted / (wasted + used), (), words, line_of(place),
        (shown("backward passes that were wasted", wasted), shown("those that a step used", used),
         shown("steps", loop.steps)),
        "Call step() after each backward(), in the same loop, or zero_grad() after each step() alone.",
    )  # fmt: skip


def _few_steps(loop: Loop) -> Statistic:
    """Batches of a pass through the data for each step, where there is one step a pass."""
    words = "batches that a pass through the data has for each step"
    for d in loop.loaders.values():
        if d.length < 4 or d.begun < ENOUGH or not loop.steps or trains(loop):
            continue
        once = 0.8 * d.begun <= loop.steps <= 1.2 * d.begun
        all_of_it = d.drawn >= 0.9 * d.length * (d.begun - 1) and loop.backwards >= 0.8 * d.drawn
        first_alone = d.drawn <= 1.2 * d.begun and loop.ended and loop.steps <= FEW
        if not once or not (all_of_it or first_alone):
            continue
        return Statistic(
            d.length * 1.0, (), words, line_of(next((o.place for o in stepping(loop)), None) or d.place),
            (shown("passes through the data", d.begun), shown("batches of one", d.length),
             shown("batches that were drawn", d.drawn), shown("steps", loop.steps)),
            "Step after each batch: step() belongs into the loop over batches." if all_of_it else
            "Each pass ends after its first batch: look for a return or break in the loop over batches.",
        )  # fmt: skip
    return NOTHING


MEASURES: dict[str, Measure] = {
    "loop-no-step": _no_step,
    "loop-no-backward": _no_backward,
    "loop-no-gradient": _no_gradient,
    "loop-stale": _stale,
    "loop-behind": _behind,
    "loop-wasted": _wasted,
    "loop-few-steps": _few_steps,
}
