"""Steps of optimisers: what each does to the weights, which gradients it uses, at which rate, by which schedule."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nonsingular.diagnosis.loop.by_hand import ByHand
from nonsingular.diagnosis.loop.calls import MODELS, Calls
from nonsingular.diagnosis.loop.enough import Enough, in_turn, taken
from nonsingular.diagnosis.loop.gradients import Gradients
from nonsingular.diagnosis.loop.movement import (
    TOLD,
    coupled,
    decay_share,
    movements,
    norms,
    shrinkage,
    some,
    still_there,
    total,
)
from nonsingular.diagnosis.loop.places import assigned, variable
from nonsingular.diagnosis.loop.records import Call, Held, Update
from nonsingular.diagnosis.loop.shared import Shared
from nonsingular.diagnosis.weights import fresh
from nonsingular.places import Place, here

SCALED = 2.0  # factor of a loss from which its gradients are said to be scaled
BEYOND = f"only the first {MODELS} models were looked at"
MOST_METRICS = 1000  # numbers that a scheduler was given that are kept


class Steps:
    """Measures the steps of optimisers, each between its start and its end."""

    def __init__(self, shared: Shared, calls: Calls, gradients: Gradients, by_hand: ByHand) -> None:
        self._shared, self._calls, self._gradients, self._by_hand = shared, calls, gradients, by_hand
        self._held: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()  # optimiser -> its index
        self._snapshot: dict[int, Tensor] = {}
        self._walks: dict[int, tuple[int, dict[int, tuple[Tensor, Tensor]]]] = {}  # index -> its former step: from, to
        self._update: Update | None = None
        self._ran = 0  # backward passes before the step that goes on

    def index(self, optimiser: Optimizer, place: Place | None = None) -> int | None:
        """Which of the optimisers it is; a new one is entered with the line that made it.

        None for one of a model that came when as many were known as are told apart: to know its parameters is to
        hold them, and a search may make thousands of models.
        """
        loop = self._shared.loop
        own = [p for group in optimiser.param_groups for p in group["params"]]
        ids = {id(p) for p in own}
        if optimiser not in self._held:
            if self._calls.full and not ids & self._shared.parameters.keys():
                if BEYOND not in loop.notes:
                    loop.notes.append(BEYOND)
                return None
            kind = type(optimiser).__name__
            held = Held(kind, kind, place or assigned(optimiser), entered=sum(h.steps for h in loop.optimisers))
            held.settings = {k: v for group in optimiser.param_groups[:1] for k, v in group.items() if k != "params"}
            again = next((i for i, h in enumerate(loop.optimisers) if h.remakes(held, ids)), None)
            if again is None:
                loop.optimisers.append(held)
            else:
                loop.optimisers[again].remade += 1
            self._held[optimiser] = len(loop.optimisers) - 1 if again is None else again
        index = self._held[optimiser]
        held = loop.optimisers[index]
        held.ids, held.size = ids, sum(p.numel() for p in own)
        for p in own:
            self._shared.parameters.setdefault(id(p), p)
        return index

    def begin(self, optimiser: Optimizer) -> None:
        """A step begins.

        Raises:
            Enough: there were as many as were asked for.
        """
        shared, loop = self._shared, self._shared.loop
        index = self.index(optimiser)
        if index is None:
            return
        held = loop.optimisers[index]
        if taken(loop, shared.most, stepping=held):
            raise Enough
        if not held.steps:
            held.label = variable(optimiser) or held.kind
        held.place = here()
        shared.waiting.use(held.ids)
        self._by_hand.held(held.ids)
        shared.within_steps += 1
        self._ran = loop.backwards
        group = max(optimiser.param_groups, key=lambda g: float(g.get("lr", 0.0)), default={})
        held.rates.append(float(group.get("lr", math.nan)))
        held.base = float(group.get("initial_lr", math.nan))
        held.epsilon = float(group.get("eps") or 0.0)
        held.momentum = float(group.get("momentum") or 0.0)
        held.latest = sum(h.steps for h in loop.optimisers)
        own = [shared.parameters[i] for i in held.ids if shared.parameters[i].grad is not None]
        clipped, bound = self._gradients.taken()
        if own and clipped & held.ids:
            left = sum(p.numel() for p in own if id(p) not in clipped)
            held.unclipped.append(left / sum(p.numel() for p in own))
        if shared.measuring or not own or own[0].device.type == "cpu":
            held.states.append((held.steps, _state(own)))
        if not shared.measuring:
            shared.unclear.pop(index, None)
            self._walks.pop(index, None)
            return
        if shared.scale is not None and getattr(optimiser, "grad_scale", None) is None:
            held.scaled += 1
        self._update = self._begun(optimiser, index, group, own, bound)
        if shared.drawn_together is not None and all(held.ids & ids for ids in shared.drawn_together):
            loop.drawn_together = shared.drawn_together
            loop.counts["drawn together"] += 1
            loop.places["drawn together"] = loop.places.get("backward")
        if shared.taught & held.ids:
            if not loop.counts["taught"]:
                self._look_who_is_ready()
            loop.taught |= shared.taught & held.ids
            loop.counts["taught"] += 1
            loop.places["taught"] = loop.places.get("backward")
        loop.counts["terms looked at"] += shared.cut is not None
        loop.cuts.update(dict.fromkeys((c for c in shared.cut or [] if c.behind & held.ids), 1))
        self._snapshot = {id(p): p.detach().clone() for p in own}

    def _look_who_is_ready(self) -> None:
        """Later, students look trained too."""
        loop = self._shared.loop
        for trainee in loop.trainees:
            modules = list(trainee.module.modules())
            trainee.ready = any(m in loop.loaded for m in modules) or not fresh(modules)

    def _begun(
        self, optimiser: Optimizer, index: int, group: dict[str, Any], own: list[nn.Parameter], bound: float
    ) -> Update:
        """What is known of a step before it is taken."""
        shared, loop = self._shared, self._shared.loop
        held = loop.optimisers[index]
        update = Update(held.steps, index, held.rates[-1], float(group.get("initial_lr", held.rates[-1])))
        used = norms({id(p): p.grad for p in own})
        update.used, update.made = total(used.values()), total(shared.made.get(id(p), math.nan) for p in own)
        if getattr(optimiser, "grad_scale", None) is not None:
            update.used = update.made
        by_hand = abs(loop.factors[-1]) if loop.factors and shared.scale is None else 1.0
        if (
            by_hand >= SCALED
            and update.made > 0
            and update.used <= 1.01 * min(update.made, bound) / by_hand
            and math.isfinite(bound)
        ):
            update.cut = min(1.0, update.used * by_hand / update.made)
        update.stale = self._stale(index, own)
        update.decay, update.shrinks = decay_share(optimiser), shrinkage(optimiser)
        update.coupled = coupled(optimiser)
        update.sign = shared.sign
        update.pending = self._pending(held.ids)
        number, walk = self._walks.pop(index, (-1, {}))
        if number == held.steps - 1 and walk:
            before, after = zip(*walk.values(), strict=True)
            update.kept = still_there(before, after, [some(shared.parameters[i]) for i in walk])
        return update

    def end(self, optimiser: Optimizer) -> None:
        """It ended."""
        shared, loop = self._shared, self._shared.loop
        index = self.index(optimiser)
        if index is None:
            return
        held, update = loop.optimisers[index], self._update
        shared.within_steps = max(0, shared.within_steps - 1)
        if update is not None and update.optimiser == index:
            self._update = None
            self._ended(held, update, closure=loop.backwards > self._ran)
        shared.reached[index] = set()
        shared.signs = set()
        self._gradients.seen_by_steps = loop.backwards
        held.steps += 1
        loop.steps = max(h.steps for h in loop.optimisers)
        shared.done = max(h.steps for h in in_turn(loop))

    def _ended(self, held: Held, update: Update, closure: bool) -> None:
        """What a measured step did."""
        shared, loop, index = self._shared, self._shared.loop, update.optimiser
        own = [shared.parameters[i] for i in self._snapshot]
        update.parameters = movements(own, self._snapshot)
        self._walks[index] = (held.steps, {id(p): (some(self._snapshot[id(p)]), some(p)) for p in own})
        self._calls.stepped |= {id(p): some(p, TOLD) for p in own}
        update.dtype = _main_dtype(own)
        if closure:  # it made its gradients itself, as L-BFGS does
            update.stale = self._stale(index, own)
            update.used = update.made = math.nan
            update.pending, update.decay = [], 0.0
        elif not any(m.gradient for m in update.parameters.values()):
            held.empty += 1
        self._snapshot = {}
        loop.updates.append(update)
        loop.moved |= {i for i, m in update.parameters.items() if m.moved}
        shared.unclear[index] = {i for i, m in update.parameters.items() if m.gradient}

    def _stale(self, index: int, own: list[nn.Parameter]) -> float:
        """Share of the gradient's entries that a former step used too, on top of which new gradients came."""
        if index not in self._shared.unclear or not self._shared.reached.get(index):
            return math.nan
        old = self._shared.unclear[index] & self._shared.reached[index]
        return sum(p.numel() for p in own if id(p) in old) / max(sum(p.numel() for p in own), 1)

    def _pending(self, ids: set[int]) -> list[Call]:
        """Forward passes of these parameters' models that no backward pass has come back from yet."""
        trainees = self._shared.loop.trainees
        latest = [t.calls[-1] for t in trainees if t.calls and any(id(p) in ids for p in t.module.parameters())]
        return [call for call in latest if call.tracked and not call.graded]

    def scheduled(self, scheduler: Any, given: tuple[Any, ...] = ()) -> None:
        """See ``taps.Listener``."""
        optimiser, loop = getattr(scheduler, "optimizer", None), self._shared.loop
        if not isinstance(optimiser, Optimizer) or optimiser not in self._held:
            return
        held = loop.optimisers[self._held[optimiser]]
        known = [s for s in (held.scheduler, *held.schedulers) if s is not None]
        anew = all(s is not scheduler and type(s) is type(scheduler) for s in known)
        if held.steps and anew:
            held.schedulers.append(scheduler)
            held.schedule_made = here()
        held.scheduler, held.schedule = scheduler, type(scheduler).__name__
        held.schedule_place = here()
        if held.steps:  # a scheduler steps itself when it is made
            held.schedule_steps += 1
        number = given[0] if given and isinstance(scheduler, ReduceLROnPlateau) else None
        if isinstance(number, int | float) or (isinstance(number, Tensor) and number.numel() == 1):
            latest = loop.losses[-1][1] if loop.losses else math.nan
            held.metrics = [*held.metrics[-MOST_METRICS:], (float(number), latest)]

    def forget(self) -> None:
        """What was seen of the present step says nothing about the next that is seen."""
        self._snapshot, self._update, self._walks = {}, None, {}


def _state(parameters: list[nn.Parameter]) -> int:
    """Tells weights from what they were at other steps, by some entries of the last two that have a gradient."""
    return hash(tuple(number for p in parameters[-2:] for number in some(p, TOLD).tolist()))


def _main_dtype(parameters: list[nn.Parameter]) -> str:
    sizes: dict[str, int] = {}
    for p in parameters:
        name = str(p.dtype).removeprefix("torch.")
        sizes[name] = sizes.get(name, 0) + p.numel()
    return max(sizes, key=lambda name: sizes[name], default="float32")
