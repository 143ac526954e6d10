"""Backward passes whose gradients nobody has used yet: whether a step uses them, or they are cleared before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nonsingular.diagnosis.loop.movement import some
from nonsingular.diagnosis.loop.records import Loop
from nonsingular.places import Place

FEW = 8  # entries that tell whether a weight has moved
MOST = 256  # backward passes without a step that are kept


@dataclass
class _Pass:
    """A backward pass.

    Attributes:
        place: its line.
        reached: ids of the parameters that it reached and that were not cleared since.
        probe, before: the smallest of them, and some of its entries.
    """

    place: Place | None
    reached: set[int]
    probe: nn.Parameter
    before: Tensor

    @property
    def moved(self) -> bool:
        """Whether weights have changed since."""
        return not torch.equal(some(self.probe, FEW), self.before)


class Waiting:
    """Counts into ``used`` and ``wasted`` of a loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self._passes = loop, list[_Pass]()

    def add(self, place: Place | None, reached: list[nn.Parameter]) -> None:
        """A backward pass has left gradients in these parameters."""
        probe = min(reached, key=lambda p: p.numel())
        new = _Pass(place, {id(p) for p in reached}, probe, some(probe, FEW))
        self._passes = [*self._passes[-MOST:], new]

    def use(self, ids: set[int]) -> None:
        """A step takes what backward passes have made of these parameters' gradients."""
        self._loop.used.update(w.place for w in self._passes if w.reached & ids)
        self._passes = [w for w in self._passes if not w.reached & ids]

    def clear(self, ids: set[int]) -> None:
        """The gradients of these parameters are cleared."""
        for waits in self._passes:
            waits.reached -= ids
        for waits in (w for w in self._passes if not w.reached):
            # Weights that moved were moved by it, as by a first step uphill.
            (self._loop.used if waits.moved else self._loop.wasted)[waits.place] += 1
        self._passes = [w for w in self._passes if w.reached]

    def forget(self) -> None:
        """What becomes of the gradients that are there now is not seen."""
        self._passes = []

    def __bool__(self) -> bool:
        return bool(self._passes)
