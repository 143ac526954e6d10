"""What a loop comes down to: one number for each way in which loops go wrong, with the line and the parameters.

Numbers are taken from what happened to the weights and gradients themselves, so that a loop is judged by what it does,
not by how it is written. A step is called too large, too small, clipped or decayed away only where the loss shows it.
"""

from __future__ import annotations

import itertools
import linecache
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from nonsingular.diagnosis.contract.samples import FEWER, fewer_classes
from nonsingular.diagnosis.loop.caught import constant_loss
from nonsingular.diagnosis.loop.movement import ADAPTIVE, DECOUPLED, TOLD, some
from nonsingular.diagnosis.loop.places import Place, is_library
from nonsingular.diagnosis.loop.records import BY_HAND, Call, Held, Loop, Movement, Trainee, Update
from nonsingular.diagnosis.loop.returns import PAST_THE_END
from nonsingular.diagnosis.records import TRAINS, Statistic
from nonsingular.diagnosis.weights import drawn, telling

ENOUGH = 3  # steps before anything is said
WAITING = 20  # backward passes without a step, before that is called a mistake in a loop that goes on
NOTHING = Statistic(math.nan, (), "")


def loop_statistics(loop: Loop) -> dict[str, Statistic]:
    """Every number of a loop, by name; NaN where the loop has nothing to measure it by."""
    return {name: measure(loop) for name, measure in MEASURES.items()}


# --- which parameters move ----------------------------------------------------------------------------------


def _missed(loop: Loop) -> Statistic:
    """Parameters that get a gradient, and that neither an optimiser nor the loop itself ever changes."""
    if not loop.moved or loop.steps + loop.counts["hand"] < ENOUGH:
        return NOTHING
    held = {i for h in loop.optimisers for i in h.ids}
    ids: list[int] = []
    reached = 0
    for trainee in loop.trainees:
        own = {i: p for i, p in _sizes(trainee).items() if i in trainee.reached}
        missing = [i for i in own if i not in held and i not in loop.moved]
        reached += sum(own.values())
        if missing and not _on_purpose(loop, trainee, missing, held | loop.moved):
            ids += missing
    if not ids:
        return NOTHING
    sizes = {i: n for t in loop.trainees for i, n in _sizes(t).items()}
    share = sum(sizes[i] for i in ids) / reached
    made = max((h for h in loop.optimisers if h.steps), key=lambda h: h.latest).made if loop.steps else None
    strangers = {id(p) for t in loop.trainees for m in t.strangers.values() for p in m.parameters()}
    remedy = "Give them to the optimiser: make it from all parameters of the model that trains, after that is complete."
    if set(ids) & strangers:
        remedy = (
            "Their modules are called but are no submodules: keep them in nn.ModuleList or nn.ModuleDict, not in a "
            "Python list or dict, so that parameters() has them."
        )
    return Statistic(
        1.0, _named(loop, ids), "parameters with a gradient that no optimiser holds", _at(made),
        (_number("share of the trained entries that nothing moves", share),
         _number("backward passes that reached them in vain", max(loop.still[i] for i in ids))), remedy,
    )  # fmt: skip


def _trains_here(trainee: Trainee) -> bool:
    """Whether gradients came back to it in training mode."""
    return any(c.graded and c.training for c in trainee.calls)


def _on_purpose(loop: Loop, trainee: Trainee, missing: Sequence[int], trained: set[int]) -> bool:
    """Teachers, feature extractors and pretrained bodies: their gradients are by-products."""
    if not _trains_here(trainee):
        return True
    own = {id(p): m for m in trainee.module.modules() for p in m.parameters(recurse=False)}
    modules = {own[i] for i in missing if i in own}
    if modules and not any(id(m) in trainee.lively for m in modules):
        return True
    kept = modules and (all(m in loop.loaded for m in modules) or not _fresh(modules))
    if not kept:
        return False
    rest = [i for i in trainee.reached if i in trained and i in own]
    if not rest:  # the whole model
        return True
    order = trainee.called
    last = max(order.get(id(own[i]), -1) for i in missing if i in own)
    return last <= min(order.get(id(own[i]), math.inf) for i in rest)


def _fresh(modules: Iterable[nn.Module]) -> bool:
    """Whether weights look as initialisations draw them."""
    weights = [p for m in modules for p in m.parameters(recurse=False) if telling(p)]
    return not weights or sum(map(drawn, weights)) >= 0.5 * len(weights)


def _foreign(loop: Loop) -> Statistic:
    """An optimiser whose parameters never get a gradient, while those of the model that runs do."""
    reached = set().union(*(t.reached for t in loop.trainees)) if loop.trainees else set()
    held = {i for h in loop.optimisers for i in h.ids}
    for o in _stepping(loop):
        own = set(o.ids)
        if any(_gradient(u) for u in _of(loop, o)) or not any(_trains_here(t) for t in loop.trainees):
            continue  # of something else than a model, as an image that is optimised
        if own & reached or not reached - held or reached - held <= loop.moved:
            continue
        return Statistic(
            1.0, _named(loop, reached - held), "parameters with a gradient that no optimiser holds", _at(o.made),
            (_number(f"steps of {o.label}", o.steps), _number("of its parameters that ever had a gradient", 0)),
            "The optimiser holds the parameters of another model than the one that runs: make it after the model "
            "is made, changed or replaced.",
        )  # fmt: skip
    return NOTHING


def _no_step(loop: Loop) -> Statistic:
    """Parameters that get gradients and stay as they are, because nobody takes a step."""
    stepped = {i for h in loop.optimisers if h.steps for i in h.ids}
    waiting = {i: n for i, n in loop.still.items() if i not in stepped and i not in loop.moved}
    idle = [h for h in loop.optimisers if not h.steps and any(i in waiting for i in h.ids)]
    enough = ENOUGH if loop.ended else WAITING
    if not waiting or max(waiting.values()) < enough or not (idle or not (loop.optimisers or loop.moved)):
        return NOTHING
    if not any(map(_trains_here, loop.trainees)):
        return NOTHING  # gradients for their own sake: saliency, attacks
    ids = [i for i in waiting if not idle or any(i in h.ids for h in idle)]
    what = f"{idle[0].kind} is made and never stepped" if idle else "there is no optimiser, and no step by hand"
    return Statistic(
        1.0, _named(loop, ids), "backward passes without a step",
        _at(idle[0].made if idle else loop.places.get("backward")),
        (_number("backward passes", loop.backwards), _number("steps", 0)),
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
        1.0, (), "training passes without a backward pass and without a step", _at(at),
        (_number("passes of a model in training mode, with autograd on", computed), _number("backward passes", 0),
         _number("steps", 0)),
        "Call loss.backward() and then the step() of the optimiser: the loss is computed and not used.",
    )  # fmt: skip


def _no_gradient(loop: Loop) -> Statistic:
    """Steps at which there is no gradient, although backward passes made some, or none was asked for."""
    reached = set().union(*(t.reached for t in loop.trainees)) if loop.trainees else set()
    for o in _stepping(loop):
        updates = _of(loop, o)
        if not updates or any(_gradient(u) for u in updates):
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
            1.0, _named(loop, o.ids), words, _at(where), (_number(words, 1.0), _number("steps", o.steps)), remedy
        )
    return NOTHING


def _cut(loop: Loop) -> Statistic:
    """Backward passes that reach no parameter of any optimiser."""
    reached = set().union(*(t.reached for t in loop.trainees)) if loop.trainees else set()
    moved = [u for u in loop.updates if _gradient(u)]
    died = loop.counts["cut"] > 0 and loop.counts["failed backward"] > 0  # torch refuses the first one
    if (loop.backwards < ENOUGH and not died) or reached or moved or not (loop.trainees and loop.optimisers):
        return NOTHING
    where = loop.places.get("cut") or loop.places.get("backward")
    if not any(p.requires_grad for t in loop.trainees for p in t.module.parameters()):
        return Statistic(
            1.0, (), "parameters that require a gradient", _at(where),
            (_number("backward passes", loop.backwards), _number("parameters that require a gradient", 0)),
            "All parameters are frozen: call requires_grad_(True) on those that should train.",
        )  # fmt: skip
    new = loop.counts["cut"] > 0
    what = "the loss is a new tensor without history" if new else "what the loss is made of was detached"
    return Statistic(
        1.0, (), "backward passes that reach a parameter", _at(where),
        (_number("backward passes", loop.backwards), _number("parameters that a gradient reached", 0)),
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
        changed = any(not torch.equal(some(p, TOLD), loop.starts[id(p)]) for m in modules for p in _known(loop, m))
        if changed or not _fresh(modules) or all(m in loop.loaded for m in modules):
            continue  # an average of the weights, or what was trained before
        if not any(id(m) in t.lively for m in modules):
            continue
        return Statistic(
            1.0, _named(loop, deaf), "parameters that the optimiser holds and no gradient reaches",
            _at(graded[0].place),
            (_number("backward passes", loop.backwards), _number("parameters without any gradient", len(deaf))),
            "The graph is cut behind these layers (no_grad(), .detach(), .data, numpy, argmax, a new tensor): hand "
            "their output on as it is; if they are meant to stay as they are, call requires_grad_(False).",
        )  # fmt: skip
    return NOTHING


def _renewed(loop: Loop) -> Statistic:
    """Share of steps at which the optimiser was made anew, so that it knows nothing of the steps before."""
    words = "share of steps for which the optimiser was made anew"
    for held in loop.optimisers:
        stateful = held.kind in (*ADAPTIVE, *DECOUPLED) or held.momentum > 0
        if held.steps >= 2 * ENOUGH and stateful:
            return Statistic(
                held.remade / held.steps, (), words, _at(held.made),
                (_number(f"optimisers ({held.kind}) made by this line", held.remade + 1), _number("steps", held.steps)),
                "Make the optimiser once, before the loop.",
            )  # fmt: skip
    return NOTHING


# --- what becomes of steps ----------------------------------------------------------------------------------


def _undone(loop: Loop) -> Statistic:
    """Part of each step that is gone before the next: weights loaded back, averaged over, clamped."""
    words = "part of a step that is taken back before the next one"
    kept = [(u.kept, u) for u in loop.updates if not math.isnan(u.kept)]
    if len(kept) < ENOUGH or len({u.optimiser for u in loop.updates}) > 1 or trains(loop):
        return NOTHING  # of adversaries, one may be held within bounds
    value = 1 - median(k for k, _ in kept)
    held = loop.optimisers[kept[-1][1].optimiser]
    return Statistic(
        value, (), words, _at(held.place), (_number("steps looked at", len(kept)),),
        "Something between two steps writes over the weights (an average that is copied back, load_state_dict, clamp_, "
        "a model of its own): let only the optimiser change them.",
    )  # fmt: skip


def _returned(loop: Loop) -> Statistic:
    """How often the weights are exactly what they were at an earlier step, having been others in between."""
    words = "times that the weights are again exactly what they were at an earlier step"
    for held in _stepping(loop):
        seen: dict[int, list[int]] = {}
        for number, state in enumerate(held.states):
            if not number or held.states[number - 1] != state:
                seen.setdefault(state, []).append(number)
        again = max(seen.values(), key=len, default=[])
        if len(again) > 2 and again[-1] - again[0] >= 0.5 * len(held.states) and not trains(loop):
            return Statistic(
                len(again) - 1.0, (), words, _at(held.made),
                (_number("first of these steps", again[0]), _number("last of them", again[-1])),
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
                float(len(group)), (), words, _at(group[0].made), (_number("steps of each", each),),
                "Make model and optimiser once, before the loop: a new model knows nothing of what was learnt.",
            )  # fmt: skip
    return NOTHING


# --- which gradients a step uses ----------------------------------------------------------------------------


def _stale(loop: Loop) -> Statistic:
    words = "share of the gradient that earlier steps used already, and that was not cleared"
    known = [u for u in loop.updates if not math.isnan(u.stale)]
    if len(known) < ENOUGH - 1:
        return NOTHING
    value = fmean(u.stale for u in known)
    by = loop.optimisers[max(known, key=lambda u: u.stale).optimiser]
    return Statistic(
        value, (), words, _at(loop.places.get("backward")), (_number("steps looked at", len(known)),),
        f"Clear the gradients of {by.label} once for each of its steps: call its zero_grad() before backward().",
    )  # fmt: skip


def _behind(loop: Loop) -> Statistic:
    words = "share of steps taken between a forward pass and its backward pass"
    updates = [u for u in loop.updates if u.optimiser != BY_HAND and u.pending is not None]
    failed = loop.counts["failed backward"] > 0 and any(u.pending for u in updates[-1:])
    if not failed and (len(updates) < ENOUGH or not any(_gradient(u) for u in updates)):
        return NOTHING
    value = 1.0 if failed else fmean(any(c.graded for c in u.pending) for u in updates)
    return Statistic(
        value, (), words, _at(loop.optimisers[updates[-1].optimiser].place), (),
        "The step comes before backward(), so that it uses the gradient of the batch before: the order is zero_grad, "
        "forward, backward, step.",
    )  # fmt: skip


# --- the step over the weight -------------------------------------------------------------------------------


def ratio(update: Update) -> float:
    """Norm of the step over the norm of the weights, over all parameters."""
    rows = list(update.parameters.values())
    weight, moved = (math.sqrt(sum(getattr(m, what) ** 2 for m in rows)) for what in ("weight", "moved"))
    return moved / weight if weight else math.nan


def usual_ratio(update: Update) -> float:
    """The same of the usual parameter: a table of embeddings, of which a step meets a few rows, may hide the others."""
    known = [m.moved / m.weight for m in update.parameters.values() if m.weight and m.moved]
    return max([ratio(update), *([median(known)] if len(known) > 1 else [])])


def _too_large(loop: Loop) -> Statistic:
    words = "norm of a step over the norm of the weights"
    updates = [u for u in loop.updates if math.isfinite(ratio(u))]
    harm = _harm(loop) or (_thrown(loop) if updates and max(map(usual_ratio, updates[:3])) > THROWS else None)
    if harm is None and updates and no_better(loop) and median(map(ratio, updates)) > HURLS:
        best, values = constant(loop)
        harm = _number("last loss over that of the best constant prediction", latest(values) / best)
    if not updates or harm is None:
        return NOTHING
    if len({u.optimiser for u in loop.updates}) > 1 and loop.broken is None:
        return NOTHING  # of adversaries, one's loss rises as the other learns
    # Weights that large steps have made large hide them later.
    parts = (updates, updates[:3], updates[-max(1, len(updates) // 4) :])
    value = max(median(map(usual_ratio, part)) for part in parts)
    if loop.broken is not None:
        value = max(value, *(ratio(u) for u in updates))
    rate, bound = _stability(loop)
    remedy = "Divide the learning rate by ten until the loss falls."
    if math.isfinite(rate):
        remedy = f"The learning rate is {rate:.3g}: divide it by ten until the loss falls."
    if rate > bound:
        remedy = f"The learning rate is {rate:.3g}; at the start the loss is stable below {bound:.2g}."
    evidence, parts_of_step = [harm], loop.backwards / max(loop.steps, 1)
    if len(_stepping(loop)) == 1 and parts_of_step >= 2 and _factor(loop) > 0.9:
        evidence.append(_number("backward passes whose gradients are summed for each step", parts_of_step))
        remedy = (
            f"Each step sums the gradients of {parts_of_step:.0f} backward passes: divide each loss by their number "
            f"(accumulated micro-batches). {remedy}"
        )
    return Statistic(value, (), words, _stepped_at(loop, updates[-1]), tuple(evidence), remedy)


HURLS = 0.3  # of the weights, at each step: nothing can be learnt so
THROWS = 0.05  # of the weights: a first step beyond it throws them somewhere else


def _thrown(loop: Loop) -> dict[str, Any] | None:
    """What the loss shows where the first steps threw the weights to a place from where nothing was learnt."""
    losses = step_losses(loop)
    jump = max(losses[1:10], default=0.0) / max(losses[0], 1e-12) if losses and losses[0] > 0 else 0.0
    best, values = constant(loop)
    if jump > 1.25 and len(values) >= 20 and 0 < 0.9 * best <= latest(values):
        return _number("largest loss of the first ten over the first, after which little was learnt", jump)
    return None


def _unstable(loop: Loop) -> Statistic:
    """Plain gradient steps beyond what the curvature at the start allows, where the loss shows it."""
    words = "learning rate over the largest that is stable at the start, 2 (1 + momentum) / sharpness"
    rate, bound = _stability(loop)
    updates = [u for u in loop.updates if u.rate == rate]
    if not (rate > 0 and bound > 0 and updates) or (harm := _harm(loop)) is None:
        return NOTHING
    remedy = f"The learning rate is {rate:.3g}; at the start the loss is stable below {bound:.2g}."
    evidence = (harm, _number("sharpness, the Hessian's largest eigenvalue", loop.sharpness))
    return Statistic(rate / bound, (), words, _stepped_at(loop, updates[-1]), evidence, remedy)


def _stability(loop: Loop) -> tuple[float, float]:
    """The learning rate, and the largest that is stable at the start (Polyak 1964); NaN where it is not known."""
    first = next((u for u in loop.updates if u.rate and u.optimiser != BY_HAND), None)
    if first is None:
        return math.nan, math.nan
    if not loop.sharpness > 0:
        return first.rate, math.nan
    return first.rate, 2 * (1 + loop.optimisers[first.optimiser].momentum) / loop.sharpness


def _stepped_at(loop: Loop, update: Update) -> str:
    by_hand = update.optimiser == BY_HAND
    return _at(loop.places.get("backward") if by_hand else loop.optimisers[update.optimiser].made)


def _too_small(loop: Loop) -> Statistic:
    words = "decades of steps that the weights need to change by their own size"
    updates = [u for u in _moving(loop) if _short(loop, u)]
    if len(updates) < ENOUGH or not _stuck(loop):
        return NOTHING
    value = -math.log10(max(_typical(loop, updates), 1e-30))
    at, times = updates[-1].optimiser, _factor(loop)
    by_loss = at == BY_HAND or times < TINY
    evidence = [
        _number("norm of a step over the norm of the weights", _typical(loop, updates)),
        _number("learning rate", updates[-1].rate),
    ]
    remedy = "The loss does not move: multiply the learning rate by ten until it does."
    epsilon = 0.0 if at == BY_HAND else loop.optimisers[at].epsilon
    if not any(m.moved for u in updates for m in u.parameters.values()):
        remedy = (
            "Nothing moves: step() must change parameters in place, as in p.sub_(...); p = p - ... makes a new tensor."
        )
    elif times < TINY:
        evidence.append(_number("factor in front of the loss", times))
        remedy = f"The loss is multiplied by {times:.2g} before backward(): leave the factor out."
    elif epsilon > TINY:
        evidence.append(_number("eps of the optimiser", epsilon))
        remedy = f"Steps are divided by the gradient's size plus eps, which is {epsilon:g} here: 1e-8 is usual."
    return Statistic(
        value, (), words, _at(loop.places.get("backward") if by_loss else loop.optimisers[at].made), tuple(evidence),
        remedy,
    )  # fmt: skip


def _short(loop: Loop, update: Update) -> bool:
    """Whether a small step is the optimiser's doing: elsewhere the gradient is small, and that is the network's."""
    gradient = _gradient(update) / min(1.0, _factor(loop))
    if gradient <= 1e-7 * _weight(update):
        return False
    if update.optimiser != BY_HAND and loop.optimisers[update.optimiser].kind in (*ADAPTIVE, *DECOUPLED):
        return True
    return ratio(update) * _weight(update) <= 3e-4 * gradient


TINY = 1e-3  # a factor in front of the loss below which it is no weight of a term, an eps beyond which it is no guard


def _factor(loop: Loop) -> float:
    """By what the loss is multiplied before each backward pass."""
    return abs(median(loop.factors)) if loop.factors else 1.0


def _clipped(loop: Loop) -> Statistic:
    words = "share of the gradient's norm that clipping takes away, smallest of nine steps in ten"
    shares = [u.used / u.made for u in loop.updates if u.made > 0 and u.used > 0 and math.isfinite(u.made)]
    updates = _moving(loop)
    if len(shares) < ENOUGH or not updates:
        return NOTHING
    scaled = loop.counts["scaled clip"] > 0
    left = sorted(shares)[min(len(shares) - 1, int(0.9 * len(shares)))]
    if not scaled and (not _stuck(loop) or _typical(loop, updates) > 3e-4):
        return NOTHING
    remedy = "Clip at a norm that few steps reach: a high quantile of the norms that clip_grad_norm_ returns."
    if scaled:
        remedy = "Call scaler.unscale_(optimiser) before clipping: the gradients still have the scaler's factor."
    return Statistic(
        1 - left, (), words, _at(loop.places.get("clip")),
        (_number("norm of the gradient before clipping, median", median(u.made for u in loop.updates if u.made > 0)),
         _number("after it", median(u.used for u in loop.updates if u.used > 0)),
         _number("norm of a step over the norm of the weights", _typical(loop, updates))), remedy,
    )  # fmt: skip


def _decay(loop: Loop) -> Statistic:
    """Decay's part of a step; of a penalty that the loss has itself, the part of the steps that leads to zero."""
    declared = [u for u in loop.updates if u.decay > 0 and u.parameters]
    updates = declared or [u for u in loop.updates if u.parameters and _weight(u)]
    if len(updates) < ENOUGH:
        return NOTHING
    # Once the weights have come to zero, steps lead round it.
    early = [u for u in updates if _weight(u) > 0.3 * _weight(updates[0])]
    inward = median(map(_cosine, early))
    first, last = (_weight(u) for u in (updates[0], updates[-1]))
    alike = loop.together > ALIKE
    harm = alike or (_stuck(loop, 0.3) if declared else no_better(loop) and last < 0.5 * first)
    if inward < (0.35 if alike and declared else 0.5) or not harm:
        return NOTHING
    if declared:
        words, value = "weight decay's part of a step over the gradient's part", median(u.decay for u in early)
        where, remedy = _stepped_at(loop, updates[-1]), "1e-4 for SGD, 1e-2 for AdamW are usual"
    else:
        words, value = (
            "part of a step that leads to zero over the rest of it",
            inward / math.sqrt(1 - min(inward, 1 - 1e-9) ** 2),
        )
        where, remedy = _at(loop.places.get("backward")), "of a penalty on the weights, try a hundredth"
    return Statistic(
        min(value, 1e9), (), words, where,
        (_number("cosine between the step and the way to zero", inward),
         _number("norm of the weights, last step over first", last / first if first else math.nan)),
        f"Take a smaller weight_decay or penalty: {remedy}.",
    )  # fmt: skip


def _forgets(loop: Loop) -> Statistic:
    words = "share of itself that weight decay takes from a weight at each step"
    updates = [u for u in loop.updates if u.shrinks > 0 and u.parameters]
    if len(updates) < ENOUGH or trains(loop):
        return NOTHING
    value = median(u.shrinks for u in updates)
    first, last = (_weight(u) for u in (updates[0], updates[-1]))
    return Statistic(
        value, (), words, _stepped_at(loop, updates[-1]),
        (_number("steps after which half of a weight is gone", math.log(2) / value),
         _number("norm of the weights, last step over first", last / first if first else math.nan)),
        "Take a smaller weight_decay: 1e-4 for SGD, 1e-2 for AdamW are usual.",
    )  # fmt: skip


def _no_rate(loop: Loop) -> Statistic:
    words = "share of steps at a learning rate below a thousandth of its peak"
    value, worst = 0.0, None
    for o in _stepping(loop):
        rates = o.rates
        peak = max(rates)
        after = rates[rates.index(peak) :] if peak else rates
        gone = sum(r <= 1e-3 * peak for r in after)
        if gone >= ENOUGH and gone / len(rates) > value:
            value, worst = gone / len(rates), o
    if worst is None:
        return NOTHING
    return Statistic(
        value, (), words, _at(worst.schedule_place or worst.made),
        (_number("learning rate, largest", max(worst.rates)), _number("learning rate, last", worst.rates[-1])),
        "The scheduler takes the learning rate away: step it once an epoch if its numbers are epochs, and let it end "
        "where training ends.",
    )  # fmt: skip


def _per_batch(loop: Loop) -> Statistic:
    """By how much a schedule meant for epochs, stepped once a batch, divides the rate within one epoch."""
    words = "decades that the learning rate loses within one epoch"
    length = max((d.length for d in loop.loaders.values()), default=0)
    for o in _stepping(loop):
        if o.scheduler is None or not length or o.schedule_steps < max(2, 0.5 * o.steps):
            continue
        fall = _fall(o, length)
        if fall > 0:
            return Statistic(
                fall, (), words, _at(o.schedule_place),
                (_number("steps of the scheduler", o.schedule_steps), _number("steps of the optimiser", o.steps),
                 _number("batches of an epoch", length)),
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
    for o in _stepping(loop):
        if len(o.schedulers) < 2 or not o.base > 0 or trains(loop):
            continue
        return Statistic(
            math.log10(o.base / max(max(o.rates), 1e-12 * o.base)), (), words, _at(o.schedule_made),
            (_number("schedulers made after the first step", len(o.schedulers)),
             _number("largest learning rate", max(o.rates)), _number("the one it leads to", o.base)),
            f"Make {o.schedule} once, before the loop: each new one begins its warm-up again.",
        )  # fmt: skip
    return NOTHING


def _warming(loop: Loop) -> Statistic:
    """Decades by which the rate is still below the peak of its schedule when training ends, on its way there."""
    words = "decades by which the learning rate stays below the one that its schedule leads to"
    for o in _stepping(loop):
        peak, rates = _peak(o), list(o.rates)
        if not loop.ended or not math.isfinite(peak) or len(rates) < 2 * ENOUGH or trains(loop):
            continue
        if rates[-1] < max(rates) or not rates[-1] > 0 or rates[0] == rates[-1]:
            continue  # past its peak, or none
        return Statistic(
            math.log10(peak / rates[-1]), (), words, _at(o.schedule_place),
            (_number("learning rate at the end of training", rates[-1]), _number("largest one ahead", peak),
             _number("steps", o.steps)),
            "The warm-up is longer than the training: take fewer steps for it, a tenth of all is usual.",
        )  # fmt: skip
    return NOTHING


LOSSES = re.compile(r"loss|err|mse|mae|nll|perplex|_ppl|rmse", re.IGNORECASE)
SCORES = re.compile(r"acc|auc|f1|score|iou|dice|bleu|r2|precision|recall|reward", re.IGNORECASE)


def _plateau(loop: Loop) -> Statistic:
    """Whether a scheduler waits for a number to rise that is to fall, or the other way round."""
    words = "a plateau scheduler takes every improvement for none"
    for o in _stepping(loop):
        mode, numbers = getattr(o.scheduler, "mode", ""), [m for m, _ in o.metrics]
        if o.schedule != "ReduceLROnPlateau" or len(numbers) < ENOUGH:
            continue
        rest = _called_with(o.schedule_place)
        loss, score = bool(LOSSES.search(rest)), bool(SCORES.search(rest))
        falls = _falls(numbers) and _falls([x for _, x in o.metrics if math.isfinite(x)])
        wrong = (mode == "max" and not score and (loss or falls)) or (mode == "min" and score and not loss)
        other = "min" if mode == "max" else "max"
        return Statistic(
            float(wrong), (), words, _at(o.schedule_place),
            (_number("first number that it was given", numbers[0]), _number("the last one", numbers[-1]),
             _number("learning rate, largest", max(o.rates)), _number("learning rate, last", o.rates[-1])),
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


# --- how many steps there are --------------------------------------------------------------------------------


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
        wasted / (wasted + used), (), words, _at(place),
        (_number("backward passes that were wasted", wasted), _number("those that a step used", used),
         _number("steps", loop.steps)),
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
            d.length * 1.0, (), words, _at(next((o.place for o in _stepping(loop)), None) or d.place),
            (_number("passes through the data", d.begun), _number("batches of one", d.length),
             _number("batches that were drawn", d.drawn), _number("steps", loop.steps)),
            "Step after each batch: step() belongs into the loop over batches." if all_of_it else
            "Each pass ends after its first batch: look for a return or break in the loop over batches.",
        )  # fmt: skip
    return NOTHING


FEW = 60  # steps of a training that is over


def _no_batches(loop: Loop) -> Statistic:
    """Loaders that are begun and hold nothing."""
    words = "batches of the data loader"
    busy = loop.steps or loop.backwards or not loop.ended
    empty = [d for d in loop.loaders.values() if d.begun and not d.drawn]
    if busy or not empty or any(d.drawn for d in loop.loaders.values()):
        return NOTHING
    return Statistic(
        1.0,
        (),
        words,
        _at(empty[0].place),
        (_number("times it was begun", empty[0].begun), _number(words, 0)),
        "The loader has no batch: the batch is larger than the data and drop_last=True, or the data set is empty.",
    )


def _idle_clip(loop: Loop) -> Statistic:
    words = "share of the clippings at which no gradient was there that a step had not used already"
    if loop.counts["clip"] < ENOUGH or loop.steps < ENOUGH:
        return NOTHING
    return Statistic(
        loop.counts["idle clip"] / loop.counts["clip"], (), words, _at(loop.places.get("clip")),
        (_number("clippings", loop.counts["clip"]), _number("steps", loop.steps)),
        "Clip between backward() and step(): the order is zero_grad, forward, backward, clip, step.",
    )  # fmt: skip


def _own_state(loop: Loop) -> Statistic:
    """Weights that are loaded and are the model's own: a state that was kept without a copy."""
    words = "times that a model was given back its own weights, which were kept without a copy"
    times = loop.counts["own state"]
    if not times or loop.steps < ENOUGH:
        return NOTHING
    return Statistic(
        float(times), (), words, _at(loop.places.get("own state")), (_number(words, times),),
        "state_dict() refers to the weights, which go on training: keep copy.deepcopy(model.state_dict()), or save it.",
    )  # fmt: skip


def _cut_feed(loop: Loop) -> Statistic:
    """Share of the steps of a model's optimiser whose loss judges its output by another model, without its graph."""
    words = "share of the steps whose loss goes through another model that was given a detached output"
    if loop.counts["cut feed"] < ENOUGH or not loop.steps:
        return NOTHING
    return Statistic(
        min(1.0, loop.counts["cut feed"] / loop.steps), (), words, _at(loop.places.get("cut feed")),
        (_number("backward passes of this kind", loop.counts["cut feed"]),),
        "In the generator's step hand its output on as it is: .detach() belongs into the discriminator's step alone.",
    )  # fmt: skip


def _part_clipped(loop: Loop) -> Statistic:
    """Share of what an optimiser steps by that is not clipped, where the rest of it is."""
    words = "share of a step's parameters whose gradient is not clipped, although the others' are"
    for o in loop.optimisers:
        if len(o.unclipped) >= ENOUGH and 0 < median(o.unclipped) < 1:
            return Statistic(
                median(o.unclipped), (), words, _at(loop.places.get("clip")),
                (_number("steps with a clipping", len(o.unclipped)),),
                f"Only a part of the parameters of {o.label} is clipped: clip all that it holds, in one call.",
            )  # fmt: skip
    return NOTHING


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
                    max(shares), (), words, _at(one.calls[0].place),
                    (_number("copies of the model", len(group)),),
                    f"The replicas {one.label} and {other.label} start from different weights and share their "
                    "gradients: copy the weights of one to all before training (broadcast, load_state_dict).",
                )  # fmt: skip
    return NOTHING


def _apart(a: Movement, b: Movement) -> bool:
    alike = a.gradient > 0 and abs(a.gradient - b.gradient) <= 1e-5 * a.gradient
    return alike and abs(a.weight - b.weight) > 1e-3 * max(a.weight, b.weight)


def _own_train(loop: Loop) -> Statistic:
    """A model that trains whose class has a ``train`` of its own, which nobody calls."""
    words = "calls of the model's own train()"
    for t in loop.trainees:
        own = [m for m in t.module.modules() if not type(m).__module__.startswith("torch.") and _redefined(type(m))]
        if own and not t.told and _trains_here(t) and _trains(loop, t) and loop.steps >= ENOUGH:
            return Statistic(
                1.0, (), words, _at(t.calls[0].place), (_number(words, 0), _number("steps", loop.steps)),
                f"{type(own[0]).__name__} does something in its train(): freezing, modes. Call model.train() before "
                "each training epoch, or do it where the model is made.",
            )  # fmt: skip
    return NOTHING


def _redefined(kind: type) -> bool:
    """Whether the user wrote a ``train``; what a library's does is the library's to call."""
    owner = next((c for c in kind.__mro__ if "train" in vars(c)), nn.Module)
    return owner is not nn.Module and not is_library(getattr(sys.modules.get(owner.__module__), "__file__", None) or "")


def _repeated(loop: Loop) -> Statistic:
    """Share of the batches that were there before in the same pass through a loader."""
    words = "share of the batches that came before in the same pass through the data"
    for t in loop.trainees:
        each = {(*c.passed, c.sample) for c in t.calls if c.graded and c.sample is not None and any(c.passed)}
        seen = [(begun, sample) for begun, _, sample in each]
        if len(seen) < 2 * ENOUGH or any(d.length == 1 for d in loop.loaders.values()):
            continue
        again = len(seen) - len(set(seen))
        every = len({s for _, s in seen})
        return Statistic(
            again / len(seen), (), words, _at(next((d.place for d in loop.loaders.values()), None)),
            (_number("batches looked at", len(seen)), _number("different ones", every)),
            "Workers that have the same seed deliver the same samples: seed each by its number and by the epoch "
            "(worker_init_fn, get_worker_info().seed), or divide the samples among them.",
        )  # fmt: skip
    return NOTHING


def _frozen(loop: Loop) -> Statistic:
    """Part of a model that trains that is frozen although it was drawn and never trained or loaded."""
    words = "share of a model's weights that are frozen as they were drawn"
    if trains(loop) or loop.steps < ENOUGH:
        return NOTHING
    for t in loop.trainees:
        if not _trains_here(t) or not _trains(loop, t):
            continue
        own = {p: m for m in t.module.modules() for p in m.parameters(recurse=False)}
        frozen = [
            (p, m) for p, m in own.items()
            if not p.requires_grad and telling(p) and id(m) in t.called and m not in loop.loaded
            and id(p) not in loop.moved and not any(q.requires_grad for q in m.parameters(recurse=False))
        ]  # fmt: skip
        frozen = [(p, m) for p, m in frozen if drawn(p)]
        total = sum(p.numel() for p in own)
        if frozen and total:
            return Statistic(
                sum(p.numel() for p, _ in frozen) / total, _named(loop, {id(p) for p, _ in frozen}), words, "",
                (_number("weights that are frozen", sum(p.numel() for p, _ in frozen)), _number("weights", total)),
                "Call requires_grad_(True) on them, or load trained weights into them: look at the names that are "
                "compared where layers are frozen.",
            )  # fmt: skip
    return NOTHING


# --- modes --------------------------------------------------------------------------------------------------


def _mode_training(loop: Loop) -> Statistic:
    words = "share of training passes in evaluation mode"
    value, at = 0.0, None
    for t in loop.trainees:
        graded = [c for c in t.calls if c.graded]
        if len(graded) < ENOUGH or not _depends_on_mode(t.module) or not _trains(loop, t):
            continue
        share = fmean(not c.training for c in graded)
        if share > value:
            value, at = share, t
    if at is None:
        return NOTHING
    what = ", ".join(dict.fromkeys(type(m).__name__ for m in _mode_modules(at.module)))
    return Statistic(
        value, tuple(n for n, m in at.module.named_modules() if m in set(_mode_modules(at.module)))[:4], words,
        _at(at.switched or next(c.place for c in at.calls if c.graded and not c.training)), (),
        f"Call model.train() before each training epoch: in evaluation mode {what} does not do its work.",
    )  # fmt: skip


def _mode_testing(loop: Loop) -> Statistic:
    words = "share of test passes in training mode"
    for t in loop.trainees:
        if not _depends_on_mode(t.module) or not _trains(loop, t):
            continue
        tests = _tests(t)
        value = fmean(c.training for c in tests) if tests else 0.0
        if value:
            what = ", ".join(dict.fromkeys(type(m).__name__ for m in _mode_modules(t.module)))
            return Statistic(
                value, tuple(n for n, m in t.module.named_modules() if m in set(_mode_modules(t.module)))[:4], words,
                _at(next(c.place for c in tests if c.training)), (_number("test passes", len(tests)),),
                f"Call model.eval() before testing and model.train() after it: {what} changes what is measured.",
            )  # fmt: skip
    return NOTHING


def _tests(trainee: Trainee) -> list[Call]:
    """Calls that serve a test: no gradient, not another model's input, and not one before each step."""
    quiet = [c for c in trainee.calls if not c.graded and not c.fed and (c.tested or not c.tracked)]
    quiet = [c for c in quiet if not c.tracked or c.tested]
    graded = [c for c in trainee.calls if c.graded]
    steps = {c.number for c in graded}
    alternating = sum(c.number in steps for c in quiet) > 0.5 * len(steps) and len(quiet) < 1.5 * len(graded)
    return [] if alternating or not any(c.tested for c in graded) else quiet


def _mode_modules(module: nn.Module) -> list[nn.Module]:
    """Submodules that behave differently in training."""
    return [m for m in module.modules() if _has_modes(m)]


def _has_modes(m: nn.Module) -> bool:
    if isinstance(m, _DropoutNd):
        return m.p > 0
    if isinstance(m, nn.modules.batchnorm._NormBase):
        return bool(m.track_running_stats)
    return isinstance(m, nn.MultiheadAttention | nn.RNNBase) and m.dropout > 0


def _depends_on_mode(module: nn.Module) -> bool:
    return bool(_mode_modules(module))


def _trains(loop: Loop, trainee: Trainee) -> bool:
    return any(id(p) in loop.moved for p in trainee.module.parameters())


# --- what is minimised --------------------------------------------------------------------------------------


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
        fmean(s < 0 for s in every), (), words, _at(site.place if site else loop.places.get("backward")), (),
        "The loss is made larger: take away the minus in front of it, or maximize=True, or the plus in the step.",
    )  # fmt: skip


def _uphill(loop: Loop) -> Statistic:
    """By hand or by an optimiser, steps along the gradient instead of against it; momentum turns back some of them."""
    words = "share of steps along the gradient instead of against it"
    updates = [u for u in loop.updates if any(m.gradient for m in u.parameters.values())]
    updates = [u for u in updates if not u.sign]
    along = [sum(m.uphill for m in u.parameters.values()) for u in updates]
    along = [a for a in along if a and math.isfinite(a)]
    if len(along) < ENOUGH or len({u.optimiser for u in updates}) > 1:
        return NOTHING
    value = fmean(a > 0 for a in along)
    return Statistic(
        value, (), words, _at(loop.places.get("backward")), (), "Subtract the gradient: weight -= rate * gradient."
    )


def _unbounded(loop: Loop) -> Statistic:
    """Decades by which a loss has run below zero, where no loss that measures a distance goes."""
    words = "decades by which the loss fell below zero, over its size at the start"
    losses = [v for v in step_losses(loop) if math.isfinite(v)]
    if len(losses) < 2 * ENOUGH or len({u.optimiser for u in loop.updates}) > 1:
        return NOTHING  # of adversaries, one may be without a bound for a while
    last = latest(losses)
    if last >= 0:
        return NOTHING
    return Statistic(
        math.log10(-last / max(1.0, abs(losses[0]))), (), words, _at(loop.places.get("backward")),
        (_number("first loss", losses[0]), _number("last loss", last)),
        "What is minimised has no least value: look for a minus in front of a distance, or a term that rewards size.",
    )  # fmt: skip


def _against_targets(loop: Loop) -> Statistic:
    words = "cosine between the loss's gradient by the outputs and the way away from the targets"
    for t in loop.trainees:
        if len(t.agreement) >= ENOUGH:
            return Statistic(
                -median(t.agreement), (), words, _at(loop.places.get("backward")), (),
                "What is minimised grows as the outputs come nearer to the targets: its sign is wrong.",
            )  # fmt: skip
    return NOTHING


def _against_rewards(loop: Loop) -> Statistic:
    words = "cosine between the way that steps take log-probabilities and the way away from what is rewarded"
    if len(loop.rewards) < ENOUGH:
        return NOTHING
    return Statistic(
        median(loop.rewards), (), words, _at(loop.places.get("rewards") or loop.places.get("backward")), (),
        "Less of this loss makes what is rewarded less likely: minimise minus the log-probability times its reward.",
    )  # fmt: skip


# --- numbers ------------------------------------------------------------------------------------------------


def _same_batch(loop: Loop) -> Statistic:
    words = "share of steps on the very same batch, although there are more"
    more = max((d.length for d in loop.loaders.values()), default=0)
    begun = max((d.begun for d in loop.loaders.values()), default=0)
    for t in loop.trainees:
        graded = [c for c in t.calls if c.graded and c.sample is not None]
        if len(graded) < 2 * ENOUGH:
            continue
        samples = [c.sample for c in graded]
        most = max(set(samples), key=samples.count)
        value = samples.count(most) / len(samples)
        again = more > 1 and begun >= 0.5 * len(graded)
        if value > 0.5 and (again or all(c.sliced for c in graded[1:])):
            loader = max(loop.loaders.values(), key=lambda d: d.begun, default=None)
            return Statistic(
                value, (), words, _at(loader.place if again and loader else graded[0].place),
                (_number("steps looked at", len(graded)), *([_number("batches there are", more)] if again else [])),
                "next(iter(loader)) begins anew each time: write 'for batch in loader'." if again else
                "The same slice is taken at every step: let its index move on.",
            )  # fmt: skip
    return NOTHING


def _sorted(loop: Loop) -> Statistic:
    for site in loop.sites.values():
        batches = [t for t in site.targets if not t.is_floating_point() and t.numel() > 3]
        if len(batches) < 2 * ENOUGH or len(torch.cat(batches).unique()) < 2:
            continue
        return Statistic(
            fewer_classes(batches), (), FEWER, _at(site.place), (_number("batches looked at", len(batches)),),
            "Shuffle the samples before they are put into batches: DataLoader(..., shuffle=True), or a permutation.",
        )  # fmt: skip
    return NOTHING


def _rows_apart(loop: Loop) -> Statistic:
    words = "share of the losses whose targets are the batch's in another order than the inputs"
    apart, together = loop.counts["rows apart"], loop.counts["rows together"]
    if apart < ENOUGH:
        return NOTHING
    return Statistic(
        apart / (apart + together), (), words, _at(loop.places.get("rows")),
        (_number("losses looked at", apart + together),),
        "Inputs were sorted or shuffled and the targets were not: index both with the same permutation.",
    )  # fmt: skip


def _rewritten(loop: Loop) -> Statistic:
    """The drift of the inputs, where the data themselves are written over."""
    drift = _drift(loop)
    changed = max((d.changed for d in loop.loaders.values()), default=0)
    parts = max((sum(c.rewritten for c in t.calls) for t in loop.trainees), default=0)
    if max(changed, parts) < 2 or math.isnan(drift.value):
        return NOTHING
    times = _number("times the data were written over since they were last read", max(changed, parts))
    return replace(
        drift,
        evidence=(*drift.evidence, times),
        remedy="The data are changed in place each time they are read: x = (x - mean) / std makes new numbers, -= and "
        "/= write over those of the data set. Do it once, before training.",
    )  # fmt: skip


def _drift(loop: Loop) -> Statistic:
    """How far the inputs' mean and deviation have gone from what they were at first, over what is told apart."""
    words = "decades of the inputs' size, or half deviations of their mean, by which they have changed in training"
    if loop.rewards or loop.returns:
        return NOTHING  # what an agent sees changes as it learns
    worst = NOTHING
    for t in loop.trainees:
        if sum(c.fed for c in t.calls) or not _trains(loop, t):
            continue
        levels = [c.level for c in t.calls if c.graded and c.level is not None]
        part = len(levels) // 5
        if part < ENOUGH:
            continue
        first, last = levels[:part], levels[-part:]
        (m0, s0), (m1, s1) = ((median(m for m, _ in some), median(s for _, s in some)) for some in (first, last))
        if not s0 > 0:
            continue
        moved = [abs(m - m0) / (2 * s0) for m in (m1, *(m for m, _ in first))]
        scaled = [abs(math.log10(max(s, 1e-12 * s0) / s0)) for s in (s1, *(s for _, s in first))]
        # More than from one batch to the next.
        value = max((way[0] for way in (moved, scaled) if way[0] > 3 * max(way[1:])), default=0.0)
        if not value:
            continue
        if math.isnan(worst.value) or value > worst.value:
            worst = Statistic(
                value, (), words, _at(t.calls[0].place),
                (_number("mean of the inputs at first", m0), _number("mean at the end", m1),
                 _number("their deviation at first", s0), _number("deviation at the end", s1)),
                "Look at what is done to the inputs on their way: they should have the same mean and deviation at "
                "every pass through the data.",
            )  # fmt: skip
    return worst


def _reseeded(loop: Loop) -> Statistic:
    words = "share of steps before which the random numbers began again from the same seed"
    if loop.steps < 2 * ENOUGH or not loop.seeds:
        return NOTHING
    (seed, place), times = loop.seeds.most_common(1)[0]
    return Statistic(
        min(1.0, times / loop.steps),
        (),
        words,
        _at(place),
        (_number(f"times that the seed {seed} was set", times),),
        "Call manual_seed once, before the loop: else dropout, noise and random choices are the same at every step.",
    )


def _returns(loop: Loop) -> Statistic:
    words = "returns against the discounted sums of the rewards that come after"
    if not loop.returns:
        return NOTHING
    return Statistic(
        1.0,
        (),
        words,
        _at(loop.places.get("backward")),
        (_number(f"returns are {loop.returns}", 1.0),),
        "Multiply what comes after by (1 - done): nothing does after the last step of an episode."
        if loop.returns == PAST_THE_END
        else "Sum from the end: for r in reversed(rewards): R = r + gamma * R; returns.insert(0, R).",
    )


def _lost(loop: Loop) -> Statistic:
    words = "share of the entries with a gradient that a step leaves as they are, by rounding"
    updates = [u for u in loop.updates if u.dtype in ("float16", "bfloat16") and _gradient(u)]
    if len(updates) < ENOUGH or trains(loop):
        return NOTHING
    dtype, at = updates[-1].dtype, updates[-1].optimiser
    value = median(_weighted(u, lambda m: m.lost) for u in updates)
    return Statistic(
        value, (), words, _at(loop.optimisers[at].made if at != BY_HAND else None),
        (_number("norm of a step over the norm of the weights", _typical(loop, updates)),
         _number(f"relative precision of {dtype}", torch.finfo(getattr(torch, dtype)).eps)),
        "Keep the weights in float32 and compute under torch.autocast.",
    )  # fmt: skip


def _vanished(loop: Loop) -> Statistic:
    """Gradients that become zero in 16 bits, for want of a scaler."""
    words = "share of the gradient's entries that are zero, in 16 bits and without a scaler"
    half = [u for u in loop.updates if u.dtype == "float16" or loop.counts["half outputs"]]
    half = [u for u in half if _gradient(u) or u.parameters]
    if len(half) < ENOUGH or loop.counts["scaled"]:
        return NOTHING
    value = median(_weighted(u, lambda m: m.zeros) for u in half)
    return Statistic(
        value, (), words, _at(loop.places.get("backward")), (),
        "Use torch.amp.GradScaler (scale, unscale_, step, update), or bfloat16, whose range is that of float32.",
    )  # fmt: skip


def _skipped(loop: Loop) -> Statistic:
    words = "share of steps that the gradient scaler skips, because gradients overflow"
    for o in loop.optimisers:
        if o.asked >= 3 * ENOUGH:
            return Statistic(
                (o.asked - o.steps) / o.asked, (), words, _at(loop.places.get("scaler")),
                (_number("steps asked for", o.asked),),
                "Call scaler.update() after each step, and look for what overflows: a summed loss, large outputs.",
            )  # fmt: skip
    return NOTHING


def _still_scaled(loop: Loop) -> Statistic:
    words = "share of steps with gradients that still have the scaler's factor"
    for o in loop.optimisers:
        if o.scaled and o.steps >= ENOUGH:
            return Statistic(
                o.scaled / max(1, len(_of(loop, o))), (), words, _at(o.place), (),
                "Step with step() and update() of the scaler, not with the step() of the optimiser.",
            )  # fmt: skip
    return NOTHING


def _nan_loss(loop: Loop) -> Statistic:
    return _broken(loop, "loss")


def _nan_gradient(loop: Loop) -> Statistic:
    return _broken(loop, "gradient")


def _broken(loop: Loop, what: str) -> Statistic:
    b = loop.broken
    if b is None or b.what != what:
        return NOTHING
    made = b.made or NOTHING
    return Statistic(
        1.0, _named(loop, b.parameters) or made.layers, f"first step whose {what} is not finite",
        made.where or _at(b.place),
        (_number(f"first step whose {what} is not finite", b.number),
         _number("loss before it over the first loss", b.grew), *made.evidence), made.remedy,
    )  # fmt: skip


def _training(loop: Loop) -> Statistic:
    """No mistake: that it is seen to learn."""
    return Statistic(float(trains(loop)), (), "whether the loss fell below half of the best constant prediction's")


def _running(loop: Loop) -> Statistic:
    """Part of what training has learnt that is gone in evaluation mode, on the very same samples."""
    words = "part of what is learnt that batch normalisation's running statistics lose, on the samples of training"
    if loop.modes is None or loop.steps < 50:
        return NOTHING
    (train, test), (best, _) = loop.modes, constant(loop)
    if not (math.isfinite(best) and 0 <= train < 0.5 * best):
        return NOTHING
    norms = [t for t in loop.trainees if any(isinstance(m, nn.modules.batchnorm._NormBase) for m in t.module.modules())]
    layers = tuple(
        n for t in norms[:1] for n, m in t.module.named_modules() if isinstance(m, nn.modules.batchnorm._NormBase)
    )
    return Statistic(
        (test - train) / (best - train), layers, words, "",
        (_number("loss of training samples in training mode, dropout off", train),
         _number("of the same in evaluation mode", test), _number("of the best constant prediction", best)),
        "The running statistics do not follow: keep the momentum near 0.1, use larger batches, do not share a "
        "normalisation between kinds of data; GroupNorm and LayerNorm have none.",
    )  # fmt: skip


MEASURES: dict[str, Callable[[Loop], Statistic]] = {
    "loop-running": _running,
    TRAINS: _training,
    "loop-missed": _missed,
    "loop-foreign": _foreign,
    "loop-no-step": _no_step,
    "loop-no-backward": _no_backward,
    "loop-no-gradient": _no_gradient,
    "loop-cut": _cut,
    "loop-behind-cut": _behind_cut,
    "loop-renewed": _renewed,
    "loop-undone": _undone,
    "loop-returned": _returned,
    "loop-remade": _remade,
    "loop-stale": _stale,
    "loop-behind": _behind,
    "loop-large-step": _too_large,
    "loop-unstable": _unstable,
    "loop-small-step": _too_small,
    "loop-clipped": _clipped,
    "loop-decay": _decay,
    "loop-forgets": _forgets,
    "loop-no-rate": _no_rate,
    "loop-per-batch": _per_batch,
    "loop-rescheduled": _rescheduled,
    "loop-warming": _warming,
    "loop-plateau": _plateau,
    "loop-wasted": _wasted,
    "loop-few-steps": _few_steps,
    "loop-no-batches": _no_batches,
    "loop-idle-clip": _idle_clip,
    "loop-frozen": _frozen,
    "loop-part-clipped": _part_clipped,
    "loop-own-state": _own_state,
    "loop-cut-feed": _cut_feed,
    "loop-replicas": _replicas,
    "loop-own-train": _own_train,
    "loop-repeated": _repeated,
    "loop-rows-apart": _rows_apart,
    "loop-rewritten": _rewritten,
    "loop-drift": _drift,
    "loop-reseeded": _reseeded,
    "loop-returns": _returns,
    "loop-mode-training": _mode_training,
    "loop-mode-testing": _mode_testing,
    "loop-sign": _sign,
    "loop-uphill": _uphill,
    "loop-unbounded": _unbounded,
    "loop-against-targets": _against_targets,
    "loop-against-rewards": _against_rewards,
    "loop-same-batch": _same_batch,
    "loop-sorted": _sorted,
    "loop-lost-steps": _lost,
    "loop-vanished": _vanished,
    "loop-skipped": _skipped,
    "loop-still-scaled": _still_scaled,
    "loop-nan-loss": _nan_loss,
    "loop-nan-gradient": _nan_gradient,
}


# --- shared -------------------------------------------------------------------------------------------------


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
    if len(sites) != 1 or sites[0].weighted:
        return loop.constant, [] if math.isnan(loop.constant) else step_losses(loop)
    [site] = sites
    return constant_loss(site.name, torch.cat(site.targets), site.classes), [v for _, v in site.values]


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


def _harm(loop: Loop) -> dict[str, Any] | None:
    """What the loss shows of steps that are too large; None where it shows nothing."""
    losses = step_losses(loop)
    if len(losses) < ENOUGH:
        return None
    first = fmean(losses[: min(3, max(1, len(losses) // 10))])
    last = latest(losses)
    if loop.broken is not None and loop.broken.grew > 3:
        return _number("loss before it was not finite, over the first loss", loop.broken.grew)
    if not all(map(math.isfinite, losses)):
        return None
    if min(losses) < 0 < max(losses) and max(map(abs, losses)) < 10 * max(map(abs, losses[:5])):
        return None  # a loss of either sign, as a policy's, has no size to rise from
    start = max(abs(losses[0]), 1e-12)
    best, values = constant(loop)
    late = latest(values) if values else math.nan
    # Batches differ: one that is harder than the first is still easier than not to know anything.
    if first > 0 and len(losses) >= 5 and (last > 1.3 * first or last > 3 * start) and not late < 1.5 * best:
        return _number("last loss over the first", last / start)
    middle = median(losses[1:])
    if middle > 3 * start and not median(values or [math.nan]) < 1.5 * best:
        return _number("median loss over the first", middle / start)
    if len(values) >= 20 and late > 1.05 * best > 0 and late > 0.7 * values[0]:
        return _number("last loss over that of the best constant prediction", late / best if best else math.inf)
    if no_better(loop) and max(losses) > 3 * start:
        return _number("largest loss over the first, before it came to that of the best constant", max(losses) / start)
    if no_better(loop) and loop.together > ALIKE:
        return _number("decades by which outputs of different samples have come together", loop.together)
    return None


ALIKE = 2.0  # decades by which outputs have come together, from where they tell no samples apart


def _stuck(loop: Loop, share: float = 0.02) -> bool:
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


def _moving(loop: Loop) -> list[Update]:
    return [u for u in loop.updates if _gradient(u) and math.isfinite(ratio(u)) and u.rate != 0]


def _typical(loop: Loop, updates: Sequence[Update]) -> float:
    """The median step over the weight; of a loop that goes on, at the largest rate that its schedule leads to."""
    peaks = [_peak(h) for h in loop.optimisers]

    def ahead(u: Update) -> float:
        known = peaks[u.optimiser] if u.optimiser != BY_HAND else math.nan
        peak = known if math.isfinite(known) else u.peak
        return max(1.0, peak / u.rate) if u.rate and math.isfinite(peak) and not loop.ended else 1.0

    return median(ratio(u) * ahead(u) for u in updates)


def _peak(held: Held) -> float:
    """The largest rate that a schedule written as a function leads to; NaN of others."""
    functions = getattr(held.scheduler, "lr_lambdas", None)
    if not functions or not held.base > 0:
        return math.nan
    ahead = {round(10 ** (i / 40)) for i in range(200)}  # to 1e5 steps, evenly by their logarithm
    try:
        return float(held.base * max(f(n) for f in functions for n in ahead))
    except Exception:  # a function of the user's that knows no such step
        return math.nan


def _gradient(update: Update) -> float:
    return math.sqrt(sum(m.gradient**2 for m in update.parameters.values()))


def _weight(update: Update) -> float:
    return math.sqrt(sum(m.weight**2 for m in update.parameters.values()))


def _cosine(update: Update) -> float:
    """Between the step and the way from the weights to zero."""
    rows = update.parameters.values()
    moved = math.sqrt(sum(m.moved**2 for m in rows))
    size = moved * _weight(update)
    return sum(m.inward for m in rows) / size if size else 0.0


def _weighted(update: Update, measure: Callable[[Any], float]) -> float:
    return fmean(measure(m) for m in update.parameters.values()) if update.parameters else math.nan


def _stepping(loop: Loop) -> list[Held]:
    return [h for h in loop.optimisers if h.steps >= ENOUGH]


def _of(loop: Loop, held: Held) -> list[Update]:
    index = loop.optimisers.index(held)
    return [u for u in loop.updates if u.optimiser == index]


def _sizes(trainee: Trainee) -> dict[int, int]:
    found = {id(p): p.numel() for p in trainee.module.parameters()}
    return found | {id(p): p.numel() for m in trainee.strangers.values() for p in m.parameters(recurse=False)}


def _named(loop: Loop, ids: Iterable[int]) -> tuple[str, ...]:
    names = loop.names()
    wanted = set(ids)
    return tuple(dict.fromkeys(name for i, name in names.items() if i in wanted))


def _known(loop: Loop, module: nn.Module) -> list[nn.Parameter]:
    """Its own parameters of which it is known what they were at first."""
    return [p for p in module.parameters(recurse=False) if id(p) in loop.starts]


def _number(words: str, value: float) -> dict[str, Any]:
    return {"measure": words, "value": float(value)}


def _at(place: Place | None) -> str:
    return "" if place is None else str(place)
