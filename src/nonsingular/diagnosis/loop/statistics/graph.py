"""The way of the gradient from the loss to the parameters, where it is cut."""

from __future__ import annotations

import math

import torch
from torch import nn

from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.statistics.steps import gradient_norm
from nonsingular.diagnosis.loop.statistics.told import (
    ENOUGH,
    NOTHING,
    Measure,
    entries_of,
    fresh,
    line_of,
    names_of,
    reached_by_gradients,
    shown,
)
from nonsingular.diagnosis.records import Statistic


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


def _known(loop: Loop, module: nn.Module) -> list[nn.Parameter]:
    """Its own parameters of which it is known what they were at first."""
    return [p for p in module.parameters(recurse=False) if id(p) in loop.starts]


MEASURES: dict[str, Measure] = {
    "loop-cut": _cut,
    "loop-behind-cut": _behind_cut,
    "loop-cut-feed": _cut_feed,
}
