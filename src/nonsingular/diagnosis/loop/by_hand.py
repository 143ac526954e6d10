"""Weights without an optimiser: what became of those that a gradient reached."""

from __future__ import annotations

from torch import Tensor

from nonsingular.diagnosis.loop.enough import Enough
from nonsingular.diagnosis.loop.movement import movements, total
from nonsingular.diagnosis.loop.records import BY_HAND, Update
from nonsingular.diagnosis.loop.shared import Shared


class ByHand:
    """Keeps values and gradients of parameters until it shows whether the user's own code has changed them."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._free: dict[int, tuple[Tensor, Tensor]] = {}  # value, gradient

    def reached(self, ids: set[int]) -> None:
        """A backward pass has left gradients in these parameters, which no optimiser steps."""
        for i in ids:
            p = self._shared.parameters[i]
            self._free[i] = (p.detach().clone(), p.grad.detach().clone())  # type: ignore[union-attr]

    def held(self, ids: set[int]) -> None:
        """An optimiser steps these."""
        for i in ids:
            self._free.pop(i, None)

    def settle(self) -> None:
        """What became of them.

        Raises:
            Enough: as many steps as were asked for.
        """
        free, self._free = self._free, {}
        if not free:
            return
        loop = self._shared.loop
        own = [self._shared.parameters[i] for i in free]
        moved = movements(own, {i: value for i, (value, _) in free.items()}, {i: g for i, (_, g) in free.items()})
        changed = {i for i, m in moved.items() if m.moved}
        loop.moved |= changed
        self._shared.waiting.use(changed)
        loop.still.update(set(free) - changed)
        if not changed:
            return
        update = Update(loop.counts["hand"], BY_HAND, parameters={i: moved[i] for i in changed})
        update.used = update.made = total(m.gradient for m in update.parameters.values())
        update.sign = self._shared.sign
        loop.counts["hand"] += 1
        loop.updates.append(update)
        self._shared.signs = set()
        if self._shared.most is not None and not loop.steps and loop.counts["hand"] >= self._shared.most:
            raise Enough
