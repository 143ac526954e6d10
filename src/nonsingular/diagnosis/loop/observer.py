"""From events to facts: what each step does to the weights, which gradients it uses, in which mode the models run.

The first steps are measured one by one, later ones in pairs at a cadence; in between only counts are kept. A measured
step costs a copy of the parameters and a few passes over them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.refusals import of_call, refused_by
from nonsingular.diagnosis.loop.bootstraps import Bootstraps
from nonsingular.diagnosis.loop.caught import BATCHES, Caught
from nonsingular.diagnosis.loop.inputs import Inputs, dense
from nonsingular.diagnosis.loop.movement import (
    TOLD,
    coupled,
    decay_share,
    factor,
    movements,
    norms,
    not_zero,
    running_statistics,
    shrinkage,
    some,
    still_there,
)
from nonsingular.diagnosis.loop.noising import mixture_in_sight
from nonsingular.diagnosis.loop.places import assigned, variable
from nonsingular.diagnosis.loop.records import BY_HAND, Broken, Call, Held, Loop, Site, Tested, Trainee, Update
from nonsingular.diagnosis.loop.returns import PAST_THE_END, returns_in_sight
from nonsingular.diagnosis.loop.tape import Rewarded, Tape
from nonsingular.diagnosis.loop.waiting import Waiting
from nonsingular.diagnosis.records import Statistic
from nonsingular.objective import first_line
from nonsingular.places import Place, here

MEASURED = 40  # first steps, one by one
SCALED = 2.0  # factor of a loss from which its gradients are said to be scaled
CADENCE = 25  # of later ones, in pairs
MODELS = 32  # that are told apart
STRANGERS = 64  # modules that are called in a model and belong to none: some forward passes make new ones
MIXTURES = 8  # inputs of signal and noise that are kept
TESTS = 200  # calls without autograd of a model, of whose inputs the size is kept
CALLS = 400  # of a model that are kept
TARGETS = 4096  # of a loss that are kept
KEPT = 100  # measured steps of a loop that is watched in parts
CLOSE = 4  # latest calls of a model among which that is looked for which made an input
MOST_METRICS = 1000  # numbers that a scheduler was given that are kept
LOOKED_FOR_RETURNS = 60  # first backward passes at which returns are held against rewards


class Enough(BaseException):
    """As many steps as were asked for; no ``except Exception`` of the user's stops it."""


class Observer:
    """Listens (``taps.Listener``) and fills in a ``Loop``.

    Args:
        steps: after which ``Enough`` is raised; None lets the loop end by itself.
        measured: steps from the start that are measured one by one.
        cadence: of later measurements.
        caught: that is filled in on the way; by default with the first ``kept`` batches.

    Attributes:
        loop: what was seen.
        tape: to be entered around what is observed; without it losses written by hand are not known.
    """

    def __init__(
        self, steps: int | None = None, measured: int = MEASURED, cadence: int = CADENCE, caught: Caught | None = None,
        kept: int = BATCHES,
    ) -> None:  # fmt: skip
        self.loop = Loop()
        self.tape = Tape()
        self.caught = caught or Caught(kept, self.tape)
        self._most, self._first, self._cadence = steps, measured, cadence
        self._thread, self._began = threading.get_ident(), time.perf_counter()
        self._held: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()  # optimiser -> its index
        self._parameters: dict[int, nn.Parameter] = {}
        self._trainees: dict[int, Trainee] = {}
        self._told: dict[int, int] = {}  # id of a module -> calls of its train()
        self._clipped: set[int] = set()  # parameters that were clipped since the latest step
        self._own: dict[int, set[int]] = {}  # id of a model -> ids of its modules
        self._depth = 0
        self._inside: Trainee | None = None
        self._tracked = True
        self._busy = False  # within a backward pass: what it recomputes is no call of the user's
        self._outputs: deque[tuple[StorageWeakRef, Call]] = deque(maxlen=16)  # memory of an output, its call
        self._inputs = Inputs(self.loop)
        self._bootstraps = Bootstraps()
        self._now: list[Call] = []  # calls that the present backward pass has come back to
        self._probed = False  # the latest call's inputs want a gradient
        self._waiting = Waiting(self.loop)
        self._seen_by_steps = 0  # backward passes before the latest step
        self._made: dict[int, float] = {}  # id of a parameter -> norm of its gradient after the latest backward pass
        self._grads: dict[int, tuple[int, int] | None] = {}
        self._unclear: dict[int, set[int]] = {}  # index of an optimiser -> its gradients that may be a former step's
        self._reached: dict[int, set[int]] = {}  # ... -> parameters that a gradient reached since its former step
        self._signs: set[int] = set()  # of the losses in the backward passes since the former step
        self._snapshot: dict[int, Tensor] = {}
        self._stepped: dict[int, Tensor] = {}  # id of a parameter -> some entries after the latest measured step
        self._walks: dict[int, tuple[int, dict[int, tuple[Tensor, Tensor]]]] = {}  # index -> its former step: from, to
        self._free: dict[int, tuple[Tensor, Tensor]] = {}  # parameters without an optimiser: value, gradient
        self._update: Update | None = None
        self._inside_step = 0
        self._scale: float | None = None
        self._bound = math.inf  # norm to which gradients were clipped since the latest step
        self._pending_loss = math.nan
        self._ran = 0
        self.unseen = 0  # steps that were taken while nobody listened

    # --- calls of models ------------------------------------------------------------------------------------

    def entered(self, module: nn.Module) -> None:
        """See ``taps.Listener``."""
        if self._elsewhere():
            return
        self._depth += 1
        if self._depth == 1:
            self._inside = self._trainee(module)
            if self._inside is not None:
                self.tape.pause()  # what a module of the loss computes is the loss
                self._inside.called.setdefault(id(module), len(self._inside.called))
                if module.training:
                    self._inside.lively.add(id(self._inside.module))
            self._tracked = torch.is_grad_enabled()
            self._settle_by_hand()
        elif self._inside is not None and self.measuring:
            own = self._own[id(self._inside.module)]
            self._inside.called.setdefault(id(module), len(self._inside.called))
            if self._tracked and not torch.is_grad_enabled():
                self._inside.untracked.add(id(module))
            if module.training:
                self._inside.lively.add(id(module))
            if id(module) not in own:  # put in since, as another head is
                own |= {id(m) for m in self._inside.module.modules()}
            new = id(module) not in own and len(self._inside.strangers) < STRANGERS
            if new and next(module.parameters(recurse=False), None) is not None:
                self._inside.strangers[id(module)] = module
                for p in module.parameters(recurse=False):
                    self._parameters.setdefault(id(p), p)

    def left(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        """See ``taps.Listener``."""
        if self._elsewhere() or not self._depth:
            return
        self._depth -= 1
        trainee = self._inside
        if self._depth:
            return
        self.tape.resume()
        if output is None:
            return
        if trainee is None:
            if isinstance(output, Tensor) and not output.ndim:  # a loss of the user's own
                self.caught.lost(type(module).__name__, inputs, named, module)
            return
        tensors = dense((inputs, named))
        call = Call(self.loop.steps, module.training, torch.is_grad_enabled(), here())
        call.tested = self._inputs.are_drawn(tensors)
        makers = self._made_by(tensors)
        for former in makers:
            former.fed = True
        if makers and call.tracked and not any(t.requires_grad for t in tensors):
            call.cut_from = self._parameters_behind(makers, trainee)
        self._probed = call.probed = not makers and any(t.requires_grad for t in tensors)
        if self.measuring and tensors:
            self._inputs.describe(call, tensors[0], trainee, call.tracked and not (makers or call.probed))
        if tensors and call.tracked and not makers and len(self.loop.mixtures) < MIXTURES and self.measuring:
            self._note_mixture(tensors[0])
        if tensors and not (call.tracked or makers) and trainee.tests < TESTS:
            trainee.tests += 1
            self._inputs.describe_test(call, tensors[0])
        if not (module.training or call.tracked or makers):
            self._note_weights(trainee)
        self._keep(trainee, call)
        for t in tree_leaves(output):
            if isinstance(t, Tensor) and t.is_floating_point() and t.layout == torch.strided:
                self._outputs.append((StorageWeakRef(t.untyped_storage()), call))
                if t.requires_grad:
                    reference = _reference(t, self._inputs.batch) if self.measuring else None
                    t.register_hook(_graded(call, trainee, reference, self._now))
        self.caught.called(trainee.module, inputs, named, output)
        if self._looks_for_returns:
            self._bootstraps.returned(output)

    @property
    def _looks_for_returns(self) -> bool:
        return not self.loop.returns and self.loop.backwards < LOOKED_FOR_RETURNS

    def _note_weights(self, trainee: Trainee) -> None:
        """What a model is tested with, at steps that lie further and further apart."""
        if len(trainee.between) < CALLS:
            trainee.between.add(self.loop.steps)
        if trainee.tested is None or self.loop.steps > 1.1 * trainee.tested.steps:
            own = {id(p): some(p, TOLD) for p in trainee.module.parameters()}
            trainee.tested = Tested(self.loop.steps, own, dict(self._stepped))

    def _note_mixture(self, x: Tensor) -> None:
        if (mixed := mixture_in_sight(x)) is not None:
            self.loop.mixtures.append(mixed[0])
            self.loop.tables = mixed[1]
            self.loop.places["mixture"] = here()

    def switched(self, module: nn.Module, training: bool) -> None:
        """See ``taps.Listener``."""
        trainee = self._trainees.get(id(module))
        self._told[id(module)] = self._told.get(id(module), 0) + training
        if trainee is not None and module.training != training:
            trainee.switched = here()

    def loaded(self, module: nn.Module, own: bool = False) -> None:
        """See ``taps.Listener``."""
        if own:
            self.loop.counts["own state"] += 1
            self.loop.places["own state"] = here()
            return
        self.loop.loaded.update(module.modules())

    def _trainee(self, module: nn.Module) -> Trainee | None:
        found = self._trainees.get(id(module))
        if found is None:
            if len(self._trainees) >= MODELS or next(module.parameters(), None) is None:
                return None
            inner = getattr(module, "_orig_mod", module)
            found = Trainee(variable(module) or variable(inner) or type(inner).__name__, inner)
            self._trainees[id(module)] = found
            self._own[id(inner)] = {id(m) for m in inner.modules()} | {id(module)}
            self.loop.trainees.append(found)
            self.loop.running |= running_statistics(inner)
        for p in found.module.parameters():
            if id(p) not in self.loop.starts:
                self.loop.starts[id(p)] = some(p, TOLD)
            self._parameters.setdefault(id(p), p)
        return found

    def _keep(self, trainee: Trainee, call: Call) -> None:
        trainee.calls.append(call)
        if len(trainee.calls) > CALLS:
            del trainee.calls[CALLS // 2]

    def _made_by(self, tensors: list[Tensor]) -> list[Call]:
        """The calls whose outputs these are, or are views of."""
        memory = {t.untyped_storage()._cdata for t in tensors}
        return [call for ref, call in self._outputs if not ref.expired() and ref.cdata in memory]

    def _parameters_behind(self, makers: list[Call], taker: Trainee) -> set[int]:
        """Ids of the parameters of the other models that made something lately."""
        others = [t for t in self.loop.trainees if t is not taker]
        recent = [t for t in others if any(c is made for c in t.calls[-CLOSE:] for made in makers)]
        return {id(p) for t in recent for p in t.module.parameters()}

    def _elsewhere(self) -> bool:
        return self._busy or torch.compiler.is_compiling() or threading.get_ident() != self._thread

    # --- losses ---------------------------------------------------------------------------------------------

    def lost(self, name: str, args: tuple[Any, ...], named: dict[str, Any], value: Any) -> None:
        """See ``taps.Listener``."""
        if self._elsewhere() or not isinstance(value, Tensor):
            return
        output = args[0] if args else named.get("input")
        target = args[1] if len(args) > 1 else named.get("target")
        for call in self._made_by(dense(output)):
            call.tested = True
        if not (value.requires_grad and self.measuring):
            return
        if self._looks_for_returns:
            self._bootstraps.compared(target)
        place = here()
        if isinstance(target, Tensor) and (apart := self._inputs.rows_apart(target)) is not None:
            self.loop.counts["rows apart" if apart else "rows together"] += 1
            self.loop.places["rows"] = place
        site = self.loop.sites.setdefault((name, place), Site(name, place))
        plain = named.get("reduction", "mean") == "mean" and named.get("weight") is None
        site.weighted = site.weighted or not plain
        if isinstance(output, Tensor) and isinstance(target, Tensor):
            site.classes = output.shape[1] if output.ndim > 1 and not target.is_floating_point() else 0
            if target.numel() and sum(len(t) for t in site.targets) < TARGETS:
                site.targets.append(target.detach().flatten()[:TARGETS].cpu())
        if value.numel() == 1 or named.get("reduction") == "none":
            number, shown = self.loop.steps, value.detach()
            value.register_hook(lambda g: self._felt(site, number, shown, g))
        if not self._depth:
            self.caught.lost(name, args, named)

    def refused(self, function: Any, args: tuple[Any, ...], named: dict[str, Any], error: Exception) -> None:
        """See ``taps.Listener``."""
        if not self._elsewhere() and not self.loop.refused and (found := of_call(function, args, named)) is not None:
            where = str(here() or "")
            made = refused_by(found, error, op=function.__name__)
            self.loop.refused = {name: replace(s, where=where) for name, s in made.items()}

    def _felt(self, site: Site, number: int, value: Tensor, gradient: Tensor) -> None:
        """A gradient came back to a loss: it is minimised where that is positive."""
        total = float(gradient.sum())
        site.values.append((number, float(value.mean())))
        if total:
            self._signs.add(1 if total > 0 else -1)

    # --- backward -------------------------------------------------------------------------------------------

    def before_backward(self, tensors: Any) -> None:
        """See ``taps.Listener``."""
        if self._elsewhere():
            return
        self._settle_by_hand()
        root = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        self.caught.before_backward(root)
        rewarded = self.caught.rewarded()
        if self._looks_for_returns:
            for goal in self.caught.goals:
                self._bootstraps.compared(goal)
            self.loop.returns = returns_in_sight() or (PAST_THE_END if self._bootstraps.go_on(root) else "")
            self._bootstraps.forget()
        for told in rewarded:
            told.log_probability.register_hook(_rewarding(self.loop, told))
            self.loop.places["rewards"] = told.place
        self.loop.backwards += 1
        self.loop.places["backward"] = place = here()
        if isinstance(root, Tensor):
            if root.grad_fn is None:
                self.loop.counts["cut"] += 1
                self.loop.places["cut"] = place
            if self.measuring or root.device.type == "cpu":
                self._pending_loss = float(root.detach().float().mean()) / (self._scale or 1.0)
                if self._scale is None:
                    self.loop.factors.append(factor(root))
                self.loop.losses.append((self.loop.steps, self._pending_loss))
                if not math.isfinite(self._pending_loss):
                    self._breaks("loss", ())
        if self.measuring:
            for index, unclear in self._unclear.items():
                if unclear:
                    self._unclear[index] = not_zero(self._parameters[i] for i in unclear)
        self._grads = {i: _version(p.grad) for i, p in self._parameters.items()}
        self._now.clear()
        self._busy = True

    def after_backward(self, failed: bool = False) -> None:
        """See ``taps.Listener``."""
        if not self._busy or threading.get_ident() != self._thread:
            return
        self._busy = False
        if failed:  # as when a step has changed what the backward pass needs
            self.loop.counts["failed backward"] += 1
            return
        reached = {i for i, p in self._parameters.items() if p.grad is not None and _version(p.grad) != self._grads[i]}
        for held in self._reached.values():
            held |= reached
        for trainee in self.loop.trainees:
            trainee.reached |= reached & {id(p) for p in trainee.module.parameters()}
            trainee.reached |= reached & {
                id(p) for m in trainee.strangers.values() for p in m.parameters(recurse=False)
            }
        judges = [c for c in self._now if c.cut_from & reached]
        if judges and not any(h.ids & reached and h.ids >= reached for h in self.loop.optimisers):
            self.loop.counts["cut feed"] += 1
            self.loop.places["cut feed"] = judges[0].place
        if reached and not self._probed:
            self._waiting.add(self.loop.places["backward"], [self._parameters[i] for i in reached])
        if not self.measuring:
            return
        made = norms({i: self._parameters[i].grad for i in reached})
        scale = self._scale or 1.0
        self._made |= {i: n / scale for i, n in made.items()}
        broken = tuple(i for i, n in made.items() if not math.isfinite(n))
        if broken and self._scale is None:
            self._breaks("gradient", broken)
        if not self._inside_step:
            stepped = {i for h in self.loop.optimisers if h.steps for i in h.ids}
            for i in reached - stepped:
                p = self._parameters[i]
                self._free[i] = (p.detach().clone(), p.grad.detach().clone())  # type: ignore[union-attr]

    def _breaks(self, what: str, parameters: tuple[int, ...]) -> None:
        if self.loop.broken is not None:
            return
        self._busy = True  # the replay's own calls are none of the user's
        try:
            made = self.caught.replayed(self._inputs.batch)
        finally:
            self._busy = False
        self.broke(what, made, parameters)

    def broke(self, what: str, made: Statistic | None, parameters: tuple[int, ...] = ()) -> None:
        """A number is not finite: the loss, or the gradient of these parameters; the first is kept."""
        if self.loop.broken is None:
            finite = [abs(v) for _, v in self.loop.losses if math.isfinite(v)]
            grew = finite[-1] / max(finite[0], 1e-12) if finite else 1.0
            place, number = self.loop.places.get("backward"), self.loop.steps + self.unseen
            self.loop.broken = Broken(what, number, place, parameters, made, grew)

    # --- optimisers -----------------------------------------------------------------------------------------

    def made(self, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._index(optimiser, here())

    def met(self, optimiser: Optimizer) -> None:
        """An optimiser was made before anybody listened."""
        self._index(optimiser)

    def _index(self, optimiser: Optimizer, place: Place | None = None) -> int:
        own = [p for group in optimiser.param_groups for p in group["params"]]
        ids = {id(p) for p in own}
        if optimiser not in self._held:
            kind = type(optimiser).__name__
            held = Held(kind, kind, place or assigned(optimiser))
            again = next((i for i, h in enumerate(self.loop.optimisers) if h.remakes(held, ids)), None)
            if again is None:
                self.loop.optimisers.append(held)
            else:
                self.loop.optimisers[again].remade += 1
            self._held[optimiser] = len(self.loop.optimisers) - 1 if again is None else again
        index = self._held[optimiser]
        held = self.loop.optimisers[index]
        held.ids, held.size = ids, sum(p.numel() for p in own)
        for p in own:
            self._parameters.setdefault(id(p), p)
        return index

    def stepping(self, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        index = self._index(optimiser)
        held = self.loop.optimisers[index]
        if not held.steps:
            held.label = variable(optimiser) or held.kind
        held.place = here()
        self._waiting.use(held.ids)
        for i in held.ids:
            self._free.pop(i, None)
        self._inside_step += 1
        self._ran = self.loop.backwards
        group = max(optimiser.param_groups, key=lambda g: float(g.get("lr", 0.0)), default={})
        rate = float(group.get("lr", math.nan))
        held.rates.append(rate)
        held.base = float(group.get("initial_lr", math.nan))
        held.epsilon = float(group.get("eps") or 0.0)
        held.momentum = float(group.get("momentum") or 0.0)
        held.latest = sum(h.steps for h in self.loop.optimisers)
        own = [self._parameters[i] for i in held.ids if self._parameters[i].grad is not None]
        if own and self._clipped & held.ids:
            left = sum(p.numel() for p in own if id(p) not in self._clipped)
            held.unclipped.append(left / sum(p.numel() for p in own))
        self._clipped = set()
        bound, self._bound = self._bound, math.inf
        if self.measuring or not own or own[0].device.type == "cpu":
            held.states.append((held.steps, _state(own)))
        if not self.measuring:
            self._unclear.pop(index, None)
            self._walks.pop(index, None)
            return
        if self._scale is not None and getattr(optimiser, "grad_scale", None) is None:
            held.scaled += 1
        update = Update(held.steps, index, rate, float(group.get("initial_lr", rate)))
        used = norms({id(p): p.grad for p in own})
        update.used, update.made = _total(used.values()), _total(self._made.get(id(p), math.nan) for p in own)
        if getattr(optimiser, "grad_scale", None) is not None:
            update.used = update.made
        by_hand = abs(self.loop.factors[-1]) if self.loop.factors and self._scale is None else 1.0
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
        update.sign = (-1 if self._signs == {-1} else 1) if self._signs else 0
        update.pending = self._pending(held.ids)
        number, walk = self._walks.pop(index, (-1, {}))
        if number == held.steps - 1 and walk:
            before, after = zip(*walk.values(), strict=True)
            update.kept = still_there(before, after, [some(self._parameters[i]) for i in walk])
        self._update = update
        self._snapshot = {id(p): p.detach().clone() for p in own}

    def stepped(self, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        index = self._index(optimiser)
        held, update = self.loop.optimisers[index], self._update
        self._inside_step = max(0, self._inside_step - 1)
        closure = self.loop.backwards > self._ran
        if update is not None and update.optimiser == index:
            self._update = None
            own = [self._parameters[i] for i in self._snapshot]
            update.parameters = movements(own, self._snapshot)
            walk = {id(p): (some(self._snapshot[id(p)]), some(p)) for p in own}
            self._walks[index] = (held.steps, walk)
            self._stepped |= {id(p): some(p, TOLD) for p in own}
            update.dtype = _main_dtype(own)
            if closure:  # it made its gradients itself, as L-BFGS does
                update.stale = self._stale(index, own)
                update.used = update.made = math.nan
                update.pending, update.decay = [], 0.0
            elif not any(m.gradient for m in update.parameters.values()):
                held.empty += 1
            self._snapshot = {}
            self.loop.updates.append(update)
            self.loop.moved |= {i for i, m in update.parameters.items() if m.moved}
            self._unclear[index] = {i for i, m in update.parameters.items() if m.gradient}
        self._reached[index] = set()
        self._signs = set()
        self._seen_by_steps = self.loop.backwards
        held.steps += 1
        self._count()
        self._stop()

    def _stale(self, index: int, own: list[nn.Parameter]) -> float:
        """Share of the gradient's entries that a former step used too, on top of which new gradients came."""
        if index not in self._unclear or not self._reached.get(index):
            return math.nan
        old = self._unclear[index] & self._reached[index]
        return sum(p.numel() for p in own if id(p) in old) / max(sum(p.numel() for p in own), 1)

    def _pending(self, ids: set[int]) -> list[Call]:
        """Forward passes of these parameters' models that no backward pass has come back from yet."""
        latest = [
            t.calls[-1] for t in self.loop.trainees if t.calls and any(id(p) in ids for p in t.module.parameters())
        ]
        return [call for call in latest if call.tracked and not call.graded]

    def _count(self) -> None:
        self.loop.steps = max((h.steps for h in self.loop.optimisers), default=0)

    def _stop(self) -> None:
        if self._most is not None and self.loop.steps >= self._most:
            raise Enough

    @property
    def measuring(self) -> bool:
        """Whether the present step is measured."""
        done = self.loop.steps or max(0, self.loop.backwards - 1) * (not any(h.steps for h in self.loop.optimisers))
        return done < self._first or done % self._cadence < 2 * max(1, len(self.loop.optimisers))

    # --- weights without an optimiser -----------------------------------------------------------------------

    def _settle_by_hand(self) -> None:
        """What became of the parameters that a gradient reached and no optimiser holds."""
        free, self._free = self._free, {}
        if not free:
            return
        own = [self._parameters[i] for i in free]
        moved = movements(own, {i: value for i, (value, _) in free.items()}, {i: g for i, (_, g) in free.items()})
        changed = {i for i, m in moved.items() if m.moved}
        self.loop.moved |= changed
        self._waiting.use(changed)
        self.loop.still.update(set(free) - changed)
        if changed:
            update = Update(self.loop.counts["hand"], BY_HAND, parameters={i: moved[i] for i in changed})
            update.used = update.made = _total(m.gradient for m in update.parameters.values())
            update.sign = (-1 if self._signs == {-1} else 1) if self._signs else 0
            self.loop.counts["hand"] += 1
            self.loop.updates.append(update)
            self._signs = set()
            if self._most is not None and not self.loop.steps and self.loop.counts["hand"] >= self._most:
                raise Enough

    # --- the rest -------------------------------------------------------------------------------------------

    def cleared(self, thing: Any) -> None:
        """See ``taps.Listener``."""
        self.loop.counts["zero_grad"] += 1
        self.loop.places["zero_grad"] = here()
        if not self._waiting:
            return
        groups = [g["params"] for g in thing.param_groups] if isinstance(thing, Optimizer) else [thing.parameters()]
        ids = {id(p) for group in groups for p in group}
        if self._inside_step:  # of a closure, as L-BFGS calls it
            self._waiting.use(ids)
        self._waiting.clear(ids)

    def clipped(self, parameters: Any, most: float = math.inf) -> None:
        """See ``taps.Listener``."""
        self.loop.counts["clip"] += 1
        self._clipped |= {id(p) for p in ([parameters] if isinstance(parameters, Tensor) else parameters)}
        self.loop.places["clip"] = here()
        if self.loop.backwards == self._seen_by_steps:
            self.loop.counts["idle clip"] += 1
        if self._scale is not None:
            self.loop.counts["scaled clip"] += 1
        self._bound = most

    def seeded(self, seed: Any) -> None:
        """See ``taps.Listener``."""
        if not self._elsewhere() and self.loop.backwards and (place := here()) is not None:
            self.loop.seeds[seed, place] += 1

    def scheduled(self, scheduler: Any, given: tuple[Any, ...] = ()) -> None:
        """See ``taps.Listener``."""
        optimiser = getattr(scheduler, "optimizer", None)
        if isinstance(optimiser, Optimizer) and optimiser in self._held:
            held = self.loop.optimisers[self._held[optimiser]]
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
                latest = self.loop.losses[-1][1] if self.loop.losses else math.nan
                held.metrics = [*held.metrics[-MOST_METRICS:], (float(number), latest)]

    def scaled(self, scaler: Any) -> None:
        """See ``taps.Listener``."""
        if scaler.is_enabled():
            self._scale = float(scaler.get_scale())
            self.loop.counts["scaled"] += 1
            self.loop.places["scaler"] = here()

    def unscaled(self, scaler: Any, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._scale = None

    def scaler_stepped(self, scaler: Any, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._scale = None
        if not scaler.is_enabled():
            return
        self.loop.optimisers[self._index(optimiser)].asked += 1

    def began(self, loader: Any) -> None:
        """See ``taps.Listener``."""
        self._inputs.began(loader)

    def drawn(self, batch: Any) -> None:
        """See ``taps.Listener``."""
        self._inputs.drawn(batch)

    def failed(self, event: str, error: Exception) -> None:
        """See ``taps.Listener``."""
        self._busy = False
        why = f"{event}: {type(error).__name__}: {first_line(error)}"
        self.loop.notes.append(f"the observation ended early, after {self.loop.steps} steps ({why})")

    def pause(self) -> None:
        """Nobody listens for a while: what was seen of the present step says nothing about the next that is seen."""
        self._settle_by_hand()
        self._unclear, self._reached, self._signs, self._made, self._scale = {}, {}, set(), {}, None
        self._snapshot, self._update, self._depth, self._busy = {}, None, 0, False
        self._waiting.forget()
        self._walks = {}
        self._outputs.clear()
        self._bootstraps.forget()  # it holds graphs
        lists: list[list[Any]] = [self.loop.updates, self.loop.losses, *(s.values for s in self.loop.sites.values())]
        for long in lists:
            del long[KEPT // 5 : max(KEPT // 5, len(long) - KEPT)]  # the first, and the latest

    def finish(self, ended: bool = True) -> Loop:
        """All facts; ``ended`` says whether the loop came to its own end."""
        self._settle_by_hand()
        for trainee in self.loop.trainees:
            trainee.told = self._told.get(id(trainee.module), 0)
        self.loop.ends = {i: some(self._parameters[i], TOLD) for i in self.loop.starts}
        for trainee in self.loop.trainees:
            self.loop.running_ends |= running_statistics(trainee.module)
        self.loop.ended, self.loop.seconds = ended, time.perf_counter() - self._began
        self._busy = True  # a look of ours at the model, as it is now
        self.loop.together, self.loop.modes = self.caught.together(), self.caught.modes()
        self._busy = False
        return self.loop


def _state(parameters: list[nn.Parameter]) -> int:
    """Tells weights from what they were at other steps, by some entries of the last two that have a gradient."""
    return hash(tuple(number for p in parameters[-2:] for number in some(p, TOLD).tolist()))


def _version(gradient: Tensor | None) -> tuple[int, int] | None:
    return None if gradient is None else (id(gradient), gradient._version)


def _total(values: Iterable[float]) -> float:
    return math.sqrt(sum(v * v for v in values))


def _main_dtype(parameters: list[nn.Parameter]) -> str:
    sizes: dict[str, int] = {}
    for p in parameters:
        name = str(p.dtype).removeprefix("torch.")
        sizes[name] = sizes.get(name, 0) + p.numel()
    return max(sizes, key=lambda name: sizes[name], default="float32")


def _reference(output: Tensor, batch: list[Tensor]) -> Tensor | None:
    """The gradient by these outputs of the plain loss of the batch's targets, where there is exactly one candidate."""
    out = output.detach()
    classes = [
        t for t in batch if not t.is_floating_point() and t.dtype == torch.long and out.ndim == 2 and out.shape[1] > 1
        and t.shape == out.shape[:1] and bool((t >= 0).all()) and bool((t < out.shape[1]).all())
    ]  # fmt: skip
    if len(classes) != 1:
        return None
    one = torch.nn.functional.one_hot(classes[0].to(out.device), out.shape[1])
    return out.float().softmax(1) - one


def _rewarding(loop: Loop, told: Rewarded) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor) -> None:
        a, b = gradient.double().flatten(), told.wanted.double().flatten()
        if a.shape == b.shape and float(a.norm() * b.norm()) > 0:
            loop.rewards.append(float(torch.nn.functional.cosine_similarity(a, b, dim=0)))

    return hook


def _graded(call: Call, trainee: Trainee, reference: Tensor | None, now: list[Call]) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor) -> None:
        call.graded = True
        now.append(call)
        if reference is not None:
            trainee.agreement.append(
                float(torch.nn.functional.cosine_similarity(gradient.float().flatten(), reference.flatten(), dim=0))
            )

    return hook
