"""When a script has taken as many steps as were asked for: so many of each optimiser that trains on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from nonsingular.diagnosis.loop.records import Held, Loop
from nonsingular.diagnosis.paths import leaves
from nonsingular.words import counted

TURN = 20  # latest steps of all optimisers, among which is one of each that trains in turn with others
TIMES = 10  # steps of all optimisers over those asked for of one, beyond which no other is waited for
SHOWN = 4  # latest optimisers whose steps are told


class Enough(BaseException):
    """As many steps as were asked for; no ``except Exception`` of the user's stops it."""


def taken(loop: Loop, most: int | None, roots: Iterable[Any] = (), stepping: Held | None = None) -> bool:
    """Whether an optimiser has taken so many steps, and none that trains on has fewer.

    One with fewer trains on where it has just stepped, as that of a generator beside its judge has, or where the
    present pass reaches parameters that it alone trains now, as the first pass of a student after its teacher's
    training does.

    Args:
        loop: what was seen.
        most: steps that were asked for; None for all.
        roots: what a backward pass begins from.
        stepping: an optimiser that begins a step.
    """
    full = [h for h in loop.optimisers if most is not None and h.steps >= most]
    if most is None or not full:
        return False
    if sum(h.steps for h in loop.optimisers) >= TIMES * most:
        return True
    if any(h.steps < most for h in in_turn(loop)):
        return False
    nodes = (t.grad_fn for t in roots if isinstance(t, Tensor))
    reached = stepping.ids if stepping is not None else {id(v) for v in leaves(nodes)}
    return not any(
        h.ids & reached - {i for f in full if f.latest >= h.entered for i in f.ids}
        for h in loop.optimisers
        if h.steps < most
    )


def in_turn(loop: Loop) -> list[Held]:
    """Optimisers that have stepped lately: those of several trainings one after another are the latest's alone."""
    total = sum(h.steps for h in loop.optimisers)
    return [h for h in loop.optimisers if h.steps and total - h.latest <= TURN]


def stopped(loop: Loop) -> str:
    """After which steps a script was stopped, of which optimisers and models."""
    held = [h for h in loop.optimisers if h.steps]
    told = [_told(loop, h) for h in held[-SHOWN:]] or [counted(loop.counts["hand"], "step") + " by hand"]
    if len(held) > SHOWN:
        told.insert(0, f"those of {counted(len(held) - SHOWN, 'other optimiser')}")
    steps = "; ".join(told)
    return f"the script was stopped after {steps}: what it does and trains after them was not seen"


def _told(loop: Loop, held: Held) -> str:
    models = [t.label or type(t.module).__name__ for t in loop.trainees if t.ids & held.ids]
    of = f" on {', '.join(dict.fromkeys(models))}" if models else ""
    name = held.kind if held.label == held.kind else f"{held.label} ({held.kind})"
    at = f", made at {held.made}" if held.made is not None else ""
    return f"{counted(held.steps, 'step')} of {name}{of}{at}"
