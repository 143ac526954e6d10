"""Calls of models: by which line, in which mode, of what, and whose outputs a gradient comes back to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.loop.by_hand import ByHand
from nonsingular.diagnosis.loop.inputs import Inputs, dense, told_apart
from nonsingular.diagnosis.loop.movement import TOLD, running_statistics, some
from nonsingular.diagnosis.loop.noising import mixture_in_sight
from nonsingular.diagnosis.loop.places import variable
from nonsingular.diagnosis.loop.records import Call, Tested, Trainee
from nonsingular.diagnosis.loop.shared import Shared
from nonsingular.places import here

MODELS = 32  # that are told apart
STRANGERS = 64  # modules that are called in a model and belong to none: some forward passes make new ones
MIXTURES = 8  # inputs of signal and noise that are kept
TESTS = 200  # calls without autograd of a model, of whose inputs the size is kept
CALLS = 400  # of a model that are kept
CLOSE = 4  # latest calls of a model among which that is looked for which made an input


class Calls:
    """Keeps the calls of the user's models.

    Attributes:
        now: calls that the present backward pass has come back to.
        probed: whether the latest call's inputs want a gradient.
        stepped: id of a parameter -> some entries after the latest measured step.
    """

    def __init__(self, shared: Shared, inputs: Inputs, by_hand: ByHand) -> None:
        self._shared, self._inputs, self._by_hand = shared, inputs, by_hand
        self._trainees: dict[int, Trainee] = {}
        self._told: dict[int, int] = {}  # id of a module -> calls of its train()
        self._own: dict[int, set[int]] = {}  # id of a model -> ids of its modules
        self._depth = 0
        self._inside: Trainee | None = None
        self._tracked = True
        self._chose: set[int] = set()  # memory of what chose rows of tables in the present call
        self._outputs: deque[tuple[StorageWeakRef, Call]] = deque(maxlen=16)  # memory of an output, its call
        self.now: list[Call] = []
        self.probed = False
        self.stepped: dict[int, Tensor] = {}

    @property
    def inside(self) -> bool:
        """Whether a module of the user's is running."""
        return bool(self._depth)

    def entered(self, module: nn.Module) -> None:
        """See ``taps.Listener``."""
        self._depth += 1
        if self._depth == 1:
            self._chose.clear()
            self._inside = self._trainee(module)
            if self._inside is not None:
                self._shared.tape.pause()  # what a module of the loss computes is the loss
                self._inside.called.setdefault(id(module), len(self._inside.called))
                if module.training:
                    self._inside.lively.add(id(self._inside.module))
            self._tracked = torch.is_grad_enabled()
            self._by_hand.settle()
        elif self._inside is not None and self._shared.measuring:
            self._note_part(self._inside, module)

    def _note_part(self, inside: Trainee, module: nn.Module) -> None:
        """A module runs within a model."""
        own = self._own[id(inside.module)]
        inside.called.setdefault(id(module), len(inside.called))
        if self._tracked and not torch.is_grad_enabled():
            inside.untracked.add(id(module))
        if module.training:
            inside.lively.add(id(module))
        if id(module) in own or id(module) in inside.strangers or len(inside.strangers) >= STRANGERS:
            return
        held = list(module.parameters(recurse=False))
        if held:  # what has none is no stranger, and may be another at every call
            own |= {id(m) for m in inside.module.modules()}  # put in since, as another head is
        if held and id(module) not in own:
            inside.strangers[id(module)] = module
            for p in held:
                self._shared.parameters.setdefault(id(p), p)

    def left(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Trainee | None:
        """See ``taps.Listener``; the model of the user's that has returned, None where none has."""
        if not self._depth:
            return None
        self._depth -= 1
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            self._chose |= {t.untyped_storage()._cdata for t in dense((inputs, named))}
        trainee = self._inside
        if self._depth:
            return None
        self._shared.tape.resume()
        if output is None:
            return None
        if trainee is None:
            if isinstance(output, Tensor) and not output.ndim:  # a loss of the user's own
                self._shared.caught.lost(type(module).__name__, inputs, named, module)
            return None
        tensors = dense((inputs, named))
        call = self._described(trainee, module, tensors)
        trainee.calls.append(call)
        if len(trainee.calls) > CALLS:
            del trainee.calls[CALLS // 2]
        for t in tree_leaves(output):
            if isinstance(t, Tensor) and t.is_floating_point() and t.layout == torch.strided:
                self._outputs.append((StorageWeakRef(t.untyped_storage()), call))
                if t.requires_grad:
                    reference = _reference(t, self._inputs.batch) if self._shared.measuring else None
                    t.register_hook(_graded(call, trainee, reference, self.now))
        return trainee

    def _described(self, trainee: Trainee, module: nn.Module, tensors: list[Tensor]) -> Call:
        """The call of a model that has returned."""
        loop, measuring = self._shared.loop, self._shared.measuring
        call = Call(loop.steps, module.training, torch.is_grad_enabled(), here())
        call.tested = self._inputs.are_drawn(tensors)
        self._inputs.loaders.given(tensors)
        if tensors and call.tracked and (measuring or tensors[0].device.type == "cpu"):
            self._inputs.turned.given(tensors[0])
        makers = self.made_by(tensors)
        for former in makers:
            former.fed = True
        if makers and call.tracked and not any(t.requires_grad for t in tensors):
            call.cut_from = self._parameters_behind(makers, trainee)
        if makers and measuring and call.tracked:
            call.cut_state = self._beside_cut_state(trainee, tensors)
        self.probed = call.probed = not makers and any(t.requires_grad for t in tensors)
        ids = bool(tensors) and tensors[0].untyped_storage()._cdata in self._chose
        if measuring and tensors:
            self._inputs.describe(call, tensors[0], trainee, call.tracked and not (makers or call.probed), ids)
        if tensors and call.tracked and not makers and len(loop.mixtures) < MIXTURES and measuring:
            self._note_mixture(tensors[0])
        if tensors and not (call.tracked or makers) and trainee.tests < TESTS:
            trainee.tests += 1
            self._inputs.describe_test(call, tensors[0], ids)
        if not (module.training or call.tracked or makers):
            self._note_weights(trainee)
        return call

    def _beside_cut_state(self, trainee: Trainee, tensors: list[Tensor]) -> Any:
        """What is given beside the former output of the same model that has lost its graph; None where it has not."""
        former = trainee.calls[-1] if trainee.calls else None
        if former is None or not former.tracked or former.number != self._shared.loop.steps:
            return None
        back = [any(c is former for c in self.made_by([t])) for t in tensors]
        state = [t for t, own in zip(tensors, back, strict=True) if own]
        beside = [t for t, own in zip(tensors, back, strict=True) if not own]
        if not state or not beside or any(t.requires_grad or not t.is_floating_point() for t in state):
            return None
        return told_apart(beside[0])

    def _note_weights(self, trainee: Trainee) -> None:
        """What a model is tested with, at steps that lie further and further apart."""
        steps = self._shared.loop.steps
        if len(trainee.between) < CALLS:
            trainee.between.add(steps)
        if trainee.tested is None or steps > 1.1 * trainee.tested.steps:
            own = {id(p): some(p, TOLD) for p in trainee.module.parameters()}
            trainee.tested = Tested(steps, own, dict(self.stepped))

    def _note_mixture(self, x: Tensor) -> None:
        if (mixed := mixture_in_sight(x)) is not None:
            self._shared.loop.mixtures.append(mixed[0])
            self._shared.loop.tables = mixed[1]
            self._shared.loop.places["mixture"] = here()

    def switched(self, module: nn.Module, training: bool) -> None:
        """See ``taps.Listener``."""
        trainee = self._trainees.get(id(module))
        self._told[id(module)] = self._told.get(id(module), 0) + training
        if trainee is not None and module.training != training:
            trainee.switched = here()

    @property
    def full(self) -> bool:
        """Whether no further model is told apart from those that are known."""
        return len(self._trainees) >= MODELS

    def _trainee(self, module: nn.Module) -> Trainee | None:
        loop, found = self._shared.loop, self._trainees.get(id(module))
        if found is None:
            if self.full or next(module.parameters(), None) is None:
                return None
            inner = getattr(module, "_orig_mod", module)
            found = Trainee(variable(module) or variable(inner) or type(inner).__name__, inner)
            self._trainees[id(module)] = found
            self._own[id(inner)] = {id(m) for m in inner.modules()} | {id(module)}
            loop.trainees.append(found)
            loop.running |= running_statistics(inner)
        own = {id(p): p for p in found.module.parameters()}
        if not own.keys() <= found.ids:  # at first, and where some were put in since
            for i, p in own.items():
                if i not in loop.starts:
                    loop.starts[i] = some(p, TOLD)
                self._shared.parameters.setdefault(i, p)
        found.ids = set(own)
        return found

    def made_by(self, tensors: list[Tensor]) -> list[Call]:
        """The calls whose outputs these are, or are views of."""
        memory = {t.untyped_storage()._cdata for t in tensors}
        return [call for ref, call in self._outputs if ref.cdata in memory and not ref.expired()]

    def _parameters_behind(self, makers: list[Call], taker: Trainee) -> set[int]:
        """Ids of the parameters of the other models that made something lately."""
        others = [t for t in self._shared.loop.trainees if t is not taker]
        recent = [t for t in others if any(c is made for c in t.calls[-CLOSE:] for made in makers)]
        return {i for t in recent for i in t.ids}

    def forget(self) -> None:
        """What is made from now on is made of none of these outputs."""
        self._depth = 0
        self._outputs.clear()

    def finish(self) -> None:
        """How often each model was told to train, and its running statistics at the end."""
        for trainee in self._shared.loop.trainees:
            trainee.told = self._told.get(id(trainee.module), 0)
        for trainee in self._shared.loop.trainees:
            self._shared.loop.running_ends |= running_statistics(trainee.module)


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


def _graded(call: Call, trainee: Trainee, reference: Tensor | None, now: list[Call]) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor) -> None:
        call.graded = True
        now.append(call)
        if reference is not None:
            trainee.agreement.append(
                float(torch.nn.functional.cosine_similarity(gradient.float().flatten(), reference.flatten(), dim=0))
            )

    return hook
