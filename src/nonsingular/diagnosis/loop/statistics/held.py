"""Parameters that the loss depends on and that nothing moves, because no optimiser holds them or they are frozen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nonsingular.diagnosis.loop.records import Loop, Trainee
from nonsingular.diagnosis.loop.statistics.losses import trains
from nonsingular.diagnosis.loop.statistics.steps import gradient_norm, stepping, updates_of
from nonsingular.diagnosis.loop.statistics.told import (
    ENOUGH,
    NOTHING,
    Measure,
    held_by_optimisers,
    is_moved,
    line_of,
    names_of,
    reached_by_gradients,
    shown,
    trains_here,
)
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.weights import drawn, fresh, telling


def _missed(loop: Loop) -> Statistic:
    """Parameters that get a gradient, and that neither an optimiser nor the loop itself ever changes."""
    if not loop.moved or loop.steps + loop.counts["hand"] < ENOUGH:
        return NOTHING
    held = held_by_optimisers(loop)
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
    latest = max((h for h in loop.optimisers if h.steps), key=lambda h: h.latest) if loop.steps else None
    strangers = {id(p) for t in loop.trainees for m in t.strangers.values() for p in m.parameters()}
    remedy = "Give them to the optimiser: make it from all parameters of the model that trains, after that is complete."
    if set(ids) & strangers:
        remedy = (
            "Their modules are called but are no submodules: keep them in nn.ModuleList or nn.ModuleDict, not in a "
            "Python list or dict, so that parameters() has them."
        )
    elif latest is not None and latest.ids - {id(p) for t in loop.trainees for p in t.module.parameters()}:
        remedy = (
            f"{latest.label} was made before these layers took the place of others, which it still holds: make it "
            "after the replacement, or hand the new ones to it with add_param_group."
        )
    vain = max(loop.still[i] for i in ids)
    some = f", of those looked at (not all of {loop.backwards})" if vain < loop.backwards else ""
    made = line_of(latest.made if latest is not None else None)
    return Statistic(
        1.0, names_of(loop, ids), "parameters with a gradient that no optimiser holds", made,
        (shown("share of the trained entries that nothing moves", share),
         shown(f"backward passes that reached them in vain{some}", vain)), remedy,
    )  # fmt: skip


def _on_purpose(loop: Loop, trainee: Trainee, missing: Sequence[int], trained: set[int]) -> bool:
    """Teachers, feature extractors and pretrained bodies: their gradients are by-products."""
    if not trains_here(trainee):
        return True
    own = {id(p): m for m in trainee.module.modules() for p in m.parameters(recurse=False)}
    modules = {own[i] for i in missing if i in own}
    if modules and not any(id(m) in trainee.lively for m in modules):
        return True
    kept = modules and (all(m in loop.loaded for m in modules) or not fresh(modules))
    if not kept:
        return False
    rest = [i for i in trainee.reached if i in trained and i in own]
    if not rest:  # the whole model
        return True
    order = trainee.called
    last = max(order.get(id(own[i]), -1) for i in missing if i in own)
    return last <= min(order.get(id(own[i]), math.inf) for i in rest)


def _foreign(loop: Loop) -> Statistic:
    """An optimiser whose parameters never get a gradient, while those of the model that runs do."""
    reached, held = reached_by_gradients(loop), held_by_optimisers(loop)
    for o in stepping(loop):
        own = set(o.ids)
        if any(gradient_norm(u) for u in updates_of(loop, o)) or not any(trains_here(t) for t in loop.trainees):
            continue  # of something else than a model, as an image that is optimised
        if own & reached or not reached - held or reached - held <= loop.moved:
            continue
        return Statistic(
            1.0, names_of(loop, reached - held), "parameters with a gradient that no optimiser holds", line_of(o.made),
            (shown(f"steps of {o.label}", o.steps), shown("of its parameters that ever had a gradient", 0)),
            "The optimiser holds the parameters of another model than the one that runs: make it after the model "
            "is made, changed or replaced.",
        )  # fmt: skip
    return NOTHING


def _frozen(loop: Loop) -> Statistic:
    """Part of a model that trains that is frozen although it was drawn and never trained or loaded."""
    words = "share of a model's weights that are frozen as they were drawn"
    if trains(loop) or loop.steps < ENOUGH:
        return NOTHING
    for t in loop.trainees:
        if not trains_here(t) or not is_moved(loop, t):
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
                sum(p.numel() for p, _ in frozen) / total, names_of(loop, {id(p) for p, _ in frozen}), words, "",
                (shown("weights that are frozen", sum(p.numel() for p, _ in frozen)), shown("weights", total)),
                "Call requires_grad_(True) on them, or load trained weights into them: look at the names that are "
                "compared where layers are frozen.",
            )  # fmt: skip
    return NOTHING


def _sizes(trainee: Trainee) -> dict[int, int]:
    found = {id(p): p.numel() for p in trainee.module.parameters()}
    return found | {id(p): p.numel() for m in trainee.strangers.values() for p in m.parameters(recurse=False)}


MEASURES: dict[str, Measure] = {
    "loop-missed": _missed,
    "loop-foreign": _foreign,
    "loop-frozen": _frozen,
}
