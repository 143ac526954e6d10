"""From events to facts: what each step does to the weights, which gradients it uses, in which mode the models run.

The first steps are measured one by one, later ones in pairs at a cadence; in between only counts are kept. A measured
step costs a copy of the parameters and a few passes over them. Each part of an observer has one idea: ``calls``,
``losses``, ``passes``, ``gradients``, ``steps``, ``by_hand``; here events are handed to them.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from nonsingular.diagnosis.flat_derivatives import Derivatives
from nonsingular.diagnosis.loop.bootstraps import Bootstraps
from nonsingular.diagnosis.loop.by_hand import ByHand
from nonsingular.diagnosis.loop.calls import Calls
from nonsingular.diagnosis.loop.caught import BATCHES, Caught
from nonsingular.diagnosis.loop.collating import listened_to
from nonsingular.diagnosis.loop.cut_terms import CutTerms
from nonsingular.diagnosis.loop.distances import Distances
from nonsingular.diagnosis.loop.enough import Enough, taken
from nonsingular.diagnosis.loop.gradients import Gradients
from nonsingular.diagnosis.loop.inputs import Inputs
from nonsingular.diagnosis.loop.losses import Losses
from nonsingular.diagnosis.loop.movement import TOLD, some
from nonsingular.diagnosis.loop.passes import Passes
from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.returns import PAST_THE_END, returns_in_sight
from nonsingular.diagnosis.loop.shared import Shared
from nonsingular.diagnosis.loop.steps import Steps
from nonsingular.diagnosis.loop.tape import Tape
from nonsingular.diagnosis.records import Statistic
from nonsingular.objective import first_line
from nonsingular.places import Place, here

__all__ = ["Enough", "Observer"]

MEASURED = 40  # first steps, one by one
CADENCE = 25  # of later ones, in pairs
KEPT = 100  # measured steps of a loop that is watched in parts
LOOKED_FOR_RETURNS = 60  # first backward passes at which returns are held against rewards


class Observer:
    """Listens (``taps.Listener``) and fills in a ``Loop``.

    Args:
        steps: of each optimiser that trains on, after which ``Enough`` is raised; None lets the loop end by itself.
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
        self._began = time.perf_counter()
        self._shared = Shared(self.loop, self.tape, self.caught, steps, measured, cadence)
        self._inputs, self._bootstraps, self._distances = Inputs(self.loop), Bootstraps(), Distances()
        self._cut_terms, self._stepped = CutTerms(), 0
        self._derivatives = Derivatives()
        self._by_hand, self._gradients = ByHand(self._shared), Gradients(self._shared)
        self._calls = Calls(self._shared, self._inputs, self._by_hand)
        self._losses = Losses(self._shared, self._calls, self._inputs)
        self._passes = Passes(self._shared, self._calls, self._inputs, self._by_hand)
        self._steps = Steps(self._shared, self._calls, self._gradients, self._by_hand)

    # --- models and losses ----------------------------------------------------------------------------------

    def entered(self, module: nn.Module) -> None:
        """See ``taps.Listener``."""
        if not self._shared.elsewhere:
            self._calls.entered(module)

    def left(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        """See ``taps.Listener``."""
        if self._shared.elsewhere or (trainee := self._calls.left(module, inputs, named, output)) is None:
            return
        self.caught.called(trainee.module, inputs, named, output)
        if self._shared.measuring:
            self._distances.returned(output)
        if self._looks_for_returns:
            self._bootstraps.returned(output)

    def switched(self, module: nn.Module, training: bool) -> None:
        """See ``taps.Listener``."""
        self._calls.switched(module, training)

    def loaded(self, module: nn.Module, own: bool = False) -> None:
        """See ``taps.Listener``."""
        if own:
            self.loop.counts["own state"] += 1
            self.loop.places["own state"] = here()
            return
        self.loop.loaded.update(module.modules())

    def lost(self, name: str, args: tuple[Any, ...], named: dict[str, Any], value: Any) -> None:
        """See ``taps.Listener``."""
        if self._shared.elsewhere or not isinstance(value, Tensor):
            return
        target = self._losses.lost(name, args, named, value)
        if self._looks_for_returns:
            self._bootstraps.compared(target)

    def refused(self, function: Any, args: tuple[Any, ...], named: dict[str, Any], error: Exception) -> None:
        """See ``taps.Listener``."""
        if not self._shared.elsewhere:
            self._losses.refused(function, args, named, error)

    # --- backward passes and steps --------------------------------------------------------------------------

    def before_backward(self, tensors: Any) -> None:
        """See ``taps.Listener``."""
        if self._shared.elsewhere:
            return
        self._by_hand.settle()
        roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        if not self._shared.within_steps and taken(self.loop, self._shared.most, roots):
            raise Enough
        root = next(iter(roots), None)
        self._look_for_cut_terms(root)
        self._derivatives.forget()
        self.caught.before_backward(root)
        if self._looks_for_returns:
            for goal in self.caught.goals:
                self._bootstraps.compared(goal)
            self.loop.returns = returns_in_sight(self.caught.weights) or (
                PAST_THE_END if self._bootstraps.go_on(root) else ""
            )
            self._bootstraps.forget()
        self._shared.drawn_together = self._distances.between(root)
        self._shared.taught = self._distances.taught(root) if self._shared.drawn_together is None else set()
        self._distances.forget()
        self._inputs.loaders.forget()
        self._inputs.turned.forget()
        self._passes.begin(root)

    def _look_for_cut_terms(self, root: Any) -> None:
        steps = sum(h.steps for h in self.loop.optimisers)
        if steps != self._stepped:
            self._stepped, self._shared.cut = steps, None
        if self._shared.measuring and (calls := self.tape.calls()):
            found = self._cut_terms.of(root, calls, self.tape.numbers())
            self._shared.cut = [*(self._shared.cut or []), *found]

    @property
    def _looks_for_returns(self) -> bool:
        return not self.loop.returns and self.loop.backwards < LOOKED_FOR_RETURNS

    def after_backward(self, failed: bool = False) -> None:
        """See ``taps.Listener``."""
        if self._shared.busy and threading.get_ident() == self._shared.thread:
            self._passes.end(failed)

    def broke(self, what: str, made: Statistic | None, parameters: tuple[int, ...] = ()) -> None:
        """A number is not finite: the loss, or the gradient of these parameters; the first is kept."""
        self._passes.broke(what, made, parameters)

    @property
    def unseen(self) -> int:
        """Steps that were taken while nobody listened."""
        return self._passes.unseen

    @unseen.setter
    def unseen(self, steps: int) -> None:
        self._passes.unseen = steps

    def derived(self, outputs: Any, inputs: Any, derivative: Any) -> None:
        """See ``taps.Listener``."""
        if self._shared.elsewhere or self._shared.busy or not self._shared.measuring:
            return
        if (is_flat := self._derivatives.is_flat(outputs, inputs, derivative)) is None:
            return
        self.loop.counts["flat derivatives" if is_flat else "curved derivatives"] += 1
        if is_flat:
            self.loop.places["flat derivatives"] = here()

    def made(self, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._steps.index(optimiser, here())

    def met(self, optimiser: Optimizer) -> None:
        """An optimiser was made before anybody listened."""
        self._steps.index(optimiser)

    def stepping(self, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._steps.begin(optimiser)

    def stepped(self, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._steps.end(optimiser)

    def scheduled(self, scheduler: Any, given: tuple[Any, ...] = ()) -> None:
        """See ``taps.Listener``."""
        self._steps.scheduled(scheduler, given)

    def cleared(self, thing: Any) -> None:
        """See ``taps.Listener``."""
        self._gradients.cleared(thing)

    def clipped(self, parameters: Any, most: float = math.inf) -> None:
        """See ``taps.Listener``."""
        self._gradients.clipped(parameters, most)

    def scaled(self, scaler: Any) -> None:
        """See ``taps.Listener``."""
        self._gradients.scaled(scaler)

    def unscaled(self, scaler: Any, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._shared.scale = None

    def scaler_stepped(self, scaler: Any, optimiser: Optimizer) -> None:
        """See ``taps.Listener``."""
        self._shared.scale = None
        index = self._steps.index(optimiser)
        if scaler.is_enabled() and index is not None:
            self.loop.optimisers[index].asked += 1

    # --- the rest -------------------------------------------------------------------------------------------

    def seeded(self, seed: Any) -> None:
        """See ``taps.Listener``."""
        if not self._shared.elsewhere and self.loop.backwards and (place := here()) is not None:
            self.loop.seeds[seed, place] += 1

    def began(self, loader: Any, iterator: Any) -> None:
        """See ``taps.Listener``."""
        self._inputs.began(loader)
        self._inputs.loaders.began(loader, iterator, here())
        listened_to(iterator, self._collated)

    def _collated(self, apart: bool, place: Place | None) -> None:
        """A collate function put a batch together."""
        self.loop.counts["collated apart" if apart else "collated together"] += 1
        if apart and place is not None:
            self.loop.places["collated"] = place

    def indexed(self, iterator: Any, index: Any) -> None:
        """See ``taps.Listener``."""
        self._inputs.loaders.indexed(iterator, index)

    def drawn(self, batch: Any, iterator: Any = None) -> None:
        """See ``taps.Listener``; a batch that no loader has drawn has no iterator."""
        self._inputs.drawn(batch)
        if iterator is not None:
            self._inputs.loaders.drawn(iterator, self._inputs.batch)

    def failed(self, event: str, error: Exception) -> None:
        """See ``taps.Listener``."""
        self._shared.busy = False
        why = f"{event}: {type(error).__name__}: {first_line(error)}"
        self.loop.notes.append(f"the observation ended early, after {self.loop.steps} steps ({why})")

    def pause(self) -> None:
        """Nobody listens for a while: what was seen of the present step says nothing about the next that is seen."""
        self._by_hand.settle()
        self._shared.forget()
        self._steps.forget()
        self._calls.forget()
        self._bootstraps.forget()  # both hold graphs
        self._distances.forget()
        self._derivatives.forget()
        lists: list[list[Any]] = [self.loop.updates, self.loop.losses, *(s.values for s in self.loop.sites.values())]
        for long in lists:
            del long[KEPT // 5 : max(KEPT // 5, len(long) - KEPT)]  # the first, and the latest

    def finish(self, ended: bool = True) -> Loop:
        """All facts; ``ended`` says whether the loop came to its own end."""
        self._by_hand.settle()
        self._calls.finish()
        self.loop.ends = {i: some(self._shared.parameters[i], TOLD) for i in self.loop.starts}
        self.loop.ended, self.loop.seconds = ended, time.perf_counter() - self._began
        self._shared.busy = True  # a look of ours at the model, as it is now
        self.loop.together, self.loop.modes = self.caught.together(), self.caught.modes()
        self._shared.busy = False
        return self.loop
