"""Backward passes: what they begin from, which gradients they leave, and the first number that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nonsingular.diagnosis.loop.by_hand import ByHand
from nonsingular.diagnosis.loop.calls import Calls
from nonsingular.diagnosis.loop.inputs import Inputs
from nonsingular.diagnosis.loop.movement import factor, norms, not_zero
from nonsingular.diagnosis.loop.records import Broken, Loop
from nonsingular.diagnosis.loop.shared import Shared
from nonsingular.diagnosis.loop.tape import Rewarded
from nonsingular.diagnosis.records import Statistic
from nonsingular.places import Place, here


class Passes:
    """Keeps losses and gradients of backward passes.

    Attributes:
        unseen: steps that were taken while nobody listened.
    """

    def __init__(self, shared: Shared, calls: Calls, inputs: Inputs, by_hand: ByHand) -> None:
        self._shared, self._calls, self._inputs, self._by_hand = shared, calls, inputs, by_hand
        self._grads: dict[int, tuple[int, int] | None] = {}
        self.unseen = 0

    def begin(self, root: Any) -> None:
        """One begins from this."""
        shared, loop = self._shared, self._shared.loop
        for told in shared.caught.rewarded():
            told.log_probability.register_hook(_rewarding(loop, told))
            loop.places["rewards"] = told.place
        loop.backwards += 1
        loop.places["backward"] = place = here()
        if isinstance(root, Tensor):
            self._note_loss(root, place)
        if shared.measuring:
            for index, unclear in shared.unclear.items():
                if unclear:
                    shared.unclear[index] = not_zero(shared.parameters[i] for i in unclear)
        self._grads = {i: _version(p.grad) for i, p in shared.parameters.items()}
        self._calls.now.clear()
        shared.busy = True

    def _note_loss(self, root: Tensor, place: Place | None) -> None:
        shared, loop = self._shared, self._shared.loop
        if root.grad_fn is None:
            loop.counts["cut"] += 1
            loop.places["cut"] = place
        if shared.measuring or root.device.type == "cpu":
            value = float(root.detach().float().mean()) / (shared.scale or 1.0)
            if shared.scale is None:
                loop.factors.append(factor(root))
            loop.losses.append((loop.steps, value))
            if not math.isfinite(value):
                self._breaks("loss", ())

    def end(self, failed: bool = False) -> None:
        """It ended."""
        shared, loop = self._shared, self._shared.loop
        shared.busy = False
        if failed:  # as when a step has changed what the backward pass needs
            loop.counts["failed backward"] += 1
            return
        parameters = shared.parameters
        reached = {i for i, p in parameters.items() if p.grad is not None and _version(p.grad) != self._grads.get(i)}
        for held in shared.reached.values():
            held |= reached
        for trainee in loop.trainees:
            trainee.reached |= reached & trainee.ids
            trainee.reached |= reached & {
                id(p) for m in trainee.strangers.values() for p in m.parameters(recurse=False)
            }
        judges = [c for c in self._calls.now if c.cut_from & reached]
        if judges and not any(h.ids & reached and h.ids >= reached for h in loop.optimisers):
            loop.counts["cut feed"] += 1
            loop.places["cut feed"] = judges[0].place
        if reached and not self._calls.probed:
            shared.waiting.add(loop.places["backward"], [parameters[i] for i in reached])
        if shared.measuring:
            self._measure(reached)

    def _measure(self, reached: set[int]) -> None:
        """The gradients that it left."""
        shared, loop = self._shared, self._shared.loop
        made = norms({i: shared.parameters[i].grad for i in reached})
        scale = shared.scale or 1.0
        shared.made |= {i: n / scale for i, n in made.items()}
        broken = tuple(i for i, n in made.items() if not math.isfinite(n))
        if broken and shared.scale is None:
            self._breaks("gradient", broken)
        if not shared.within_steps:
            self._by_hand.reached(reached - {i for h in loop.optimisers if h.steps for i in h.ids})

    def _breaks(self, what: str, parameters: tuple[int, ...]) -> None:
        if self._shared.loop.broken is not None:
            return
        self._shared.busy = True  # the replay's own calls are none of the user's
        try:
            made = self._shared.caught.replayed(self._inputs.batch)
        finally:
            self._shared.busy = False
        self.broke(what, made, parameters)

    def broke(self, what: str, made: Statistic | None, parameters: tuple[int, ...] = ()) -> None:
        """A number is not finite: the loss, or the gradient of these parameters; the first is kept."""
        loop = self._shared.loop
        if loop.broken is None:
            finite = [abs(v) for _, v in loop.losses if math.isfinite(v)]
            grew = finite[-1] / max(finite[0], 1e-12) if finite else 1.0
            place, number = loop.places.get("backward"), loop.steps + self.unseen
            loop.broken = Broken(what, number, place, parameters, made, grew)


def _version(gradient: Tensor | None) -> tuple[int, int] | None:
    return None if gradient is None else (id(gradient), gradient._version)


def _rewarding(loop: Loop, told: Rewarded) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor) -> None:
        a, b = gradient.double().flatten(), told.wanted.double().flatten()
        if a.shape == b.shape and float(a.norm() * b.norm()) > 0:
            loop.rewards.append(float(torch.nn.functional.cosine_similarity(a, b, dim=0)))

    return hook
