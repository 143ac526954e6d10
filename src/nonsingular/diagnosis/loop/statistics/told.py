"""How a statistic of a loop is written: numbers with their words, lines, names of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from nonsingular.diagnosis.loop.movement import TOLD, some
from nonsingular.diagnosis.loop.records import Loop, Trainee
from nonsingular.diagnosis.records import Statistic
from nonsingular.places import Place

ENOUGH = 3  # steps before anything is said
NOTHING = Statistic(math.nan, (), "")
Measure = Callable[[Loop], Statistic]


def trains_here(trainee: Trainee) -> bool:
    """Whether gradients came back to it in training mode."""
    return any(c.graded and c.training for c in trainee.calls)


def reached_by_gradients(loop: Loop) -> set[int]:
    """Ids of all parameters that a gradient reached."""
    return {i for t in loop.trainees for i in t.reached}


def held_by_optimisers(loop: Loop) -> set[int]:
    """Ids of all parameters that an optimiser holds."""
    return {i for h in loop.optimisers for i in h.ids}


def entries_of(loop: Loop, p: nn.Parameter) -> Tensor:
    """Some entries of a parameter, as ``loop.starts`` has them: at the end of the loop, or now where it goes on."""
    return loop.ends[id(p)] if id(p) in loop.ends else some(p, TOLD)


def is_moved(loop: Loop, trainee: Trainee) -> bool:
    """Whether any of a model's parameters changed."""
    return any(id(p) in loop.moved for p in trainee.module.parameters())


def names_of(loop: Loop, ids: Iterable[int]) -> tuple[str, ...]:
    """Names of the parameters with these ids."""
    names = loop.names()
    wanted = set(ids)
    return tuple(dict.fromkeys(name for i, name in names.items() if i in wanted))


def shown(words: str, value: float) -> dict[str, Any]:
    """A number as evidence, with what it is."""
    return {"measure": words, "value": float(value)}


def line_of(place: Place | None) -> str:
    """A line as it is told; "" where none is known."""
    return "" if place is None else str(place)
