"""What is done to gradients between a backward pass and a step: cleared, clipped, scaled."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nonsingular.diagnosis.loop.shared import Shared
from nonsingular.places import here


class Gradients:
    """Keeps clipping until a step follows it.

    Attributes:
        clipped_ids: parameters that were clipped since the latest step.
        bound: norm to which they were; infinity where they were not, or by their values.
        seen_by_steps: backward passes before the latest step.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.clipped_ids: set[int] = set()
        self.bound = math.inf
        self.seen_by_steps = 0

    def cleared(self, thing: Any) -> None:
        """See ``taps.Listener``."""
        shared = self._shared
        shared.loop.counts["zero_grad"] += 1
        shared.loop.places["zero_grad"] = here()
        if not shared.waiting:
            return
        groups = [g["params"] for g in thing.param_groups] if isinstance(thing, Optimizer) else [thing.parameters()]
        ids = {id(p) for group in groups for p in group}
        if shared.within_steps:  # of a closure, as L-BFGS calls it
            shared.waiting.use(ids)
        shared.waiting.clear(ids)

    def clipped(self, parameters: Any, most: float = math.inf) -> None:
        """See ``taps.Listener``."""
        loop = self._shared.loop
        loop.counts["clip"] += 1
        self.clipped_ids |= {id(p) for p in ([parameters] if isinstance(parameters, Tensor) else parameters)}
        loop.places["clip"] = here()
        if loop.backwards == self.seen_by_steps:
            loop.counts["idle clip"] += 1
        if self._shared.scale is not None:
            loop.counts["scaled clip"] += 1
        self.bound = most

    def taken(self) -> tuple[set[int], float]:
        """What was clipped since the latest step, and to which norm; a step takes it."""
        clipped, bound = self.clipped_ids, self.bound
        self.clipped_ids, self.bound = set(), math.inf
        return clipped, bound

    def scaled(self, scaler: Any) -> None:
        """See ``taps.Listener``."""
        if scaler.is_enabled():
            self._shared.scale = float(scaler.get_scale())
            self._shared.loop.counts["scaled"] += 1
            self._shared.loop.places["scaler"] = here()
