"""The objective as a pure function of the chosen parameters; and what has no curvature."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nonsingular.curvature.choosing import Choice, choose
from nonsingular.curvature.slopes import refuse_false_slopes
from nonsingular.errors import InputError
from nonsingular.objective import FAILURES, Batch, Objective, is_out_of_memory, out_of_memory, told
from nonsingular.words import counted

Params = tuple[Tensor, ...]
ROUNDING = 1e-3
"""Share of a difference that is left in float64, up to which it was rounding: digits are a billionth there."""


class Problem:
    """An objective as ``loss(params, batch)``, with ``params`` a tuple of tensors.

    Tensors with four axes are in channels-last order where the model has two-dimensional convolutions and takes it.
    """

    def __init__(
        self, objective: Objective, params: Choice | Iterable[Choice] | None, channels_last: bool | None
    ) -> None:
        self.objective, self.model = objective, objective.model
        self.dtype, self.device = objective.dtype, objective.device
        self.convolutional = any(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in self.model.modules())
        self._channels_last = objective.channels_last if channels_last is None else channels_last
        self.names = tuple(choose(self.model, objective.own(params)))
        self.params: Params = tuple(self._ordered(objective.parameters[n]) for n in self.names)
        everything = {**objective.parameters, **objective.buffers}
        self._fixed = {k: self._ordered(t) for k, t in everything.items() if k not in self.names}
        self.batches = [b.map(self._ordered) for b in objective.batches]
        self.weights = list(objective.weights)

    @property
    def size(self) -> int:
        """Number of chosen parameters."""
        return sum(p.numel() for p in self.params)

    @property
    def told(self) -> tuple[str, str]:
        """What ``repr`` says of it: the number of batches, and in which mode the model is measured."""
        return counted(len(self.batches), "batch"), f"mode: {self.objective.mode_in_words}"

    def output(self, params: Sequence[Tensor], batch: Batch, buffers: Mapping[str, Tensor] | None = None) -> Any:
        """The model's output on ``batch``, with other values for some buffers if given."""
        return self.objective.output(self._state(params, buffers), batch)

    def loss(self, params: Sequence[Tensor], batch: Batch, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss on ``batch``, a scalar."""
        return self.objective.loss(self._state(params, buffers), batch)

    def loss_fn(self, output: Any, target: Any) -> Tensor:
        """The loss of an output of the model."""
        return self.objective.of_output(output, target)

    def cut(self, size: int) -> bool:
        """Go on with pieces of the batches, of at most ``size`` samples, if that leaves the loss what it is."""
        found = self.objective.cut(size)
        if found is not None:
            self.batches, self.weights = [b.map(self._ordered) for b in found[0]], found[1]
        return found is not None

    def in_double(self) -> Problem:
        """The same of the first batch alone, with float64 copies of parameters, buffers and batch."""
        other = copy.copy(self)
        other.dtype = torch.float64
        other.params = tuple(_doubled(p) for p in self.params)
        other._fixed = {name: _doubled(t) for name, t in self._fixed.items()}
        other.batches, other.weights = [self.batches[0].map(_doubled)], [1.0]
        return other

    def check(
        self,
        what: str = "the loss",
        of: Callable[[Sequence[Tensor], Batch], Tensor] | None = None,
        second: bool = True,
    ) -> None:
        """Differentiate the first batch and refuse what has no Hessian.

        Args:
            what: is differentiated, in the words of the user.
            of: parameters and a batch, as a scalar; the loss by default.
            second: whether second derivatives of the model itself are wanted.

        Raises:
            InputError: the loss does not depend on the parameters, or by steps only; no finite gradient; a function of
                the user's own whose derivatives are wrong.
        """
        batch = self.batches[0]
        params = [p.clone().requires_grad_() for p in self.params]
        try:
            loss = (of or self.loss)(params, batch)
        except InputError:
            raise
        except FAILURES as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            raise InputError(f"the model or the loss failed on the first batch: {told(error)}") from error
        if not loss.requires_grad:
            raise InputError(f"{what} does not depend on the chosen parameters (detached, or under no_grad?)")
        _refuse_steps(self, loss, params, batch)
        self._refuse_unused(loss, params)
        refuse_false_slopes(loss, lambda: (of or self.loss)(params, batch), second)

    def _refuse_unused(self, loss: Tensor, params: list[Tensor]) -> None:
        try:
            gradients = torch.autograd.grad(loss, params, allow_unused=True)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(self.batches[0]) from error
            from nonsingular.curvature.culprits import culprit  # which needs this module

            raise InputError(f"the loss has no gradient: {culprit(self, self.batches[0], error)}") from error
        for name, g in zip(self.names, gradients, strict=True):
            if g is not None and not torch.isfinite(g).all():
                raise InputError(f"the gradient with respect to {name} is not finite; the Hessian is not either")

    def _ordered(self, tensor: Tensor) -> Tensor:
        return self.objective.ordered(tensor, self._channels_last)

    def _state(self, params: Sequence[Tensor], buffers: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        return {**self._fixed, **(buffers or {}), **dict(zip(self.names, params, strict=True))}

    # --- flat vectors ---------------------------------------------------------------------------------------

    def split(self, vector: Tensor) -> Params:
        """A flat vector ``[P]``, or columns ``[k, P]``, as tensors of the parameters' shapes (and formats)."""
        lead = vector.shape[:-1]
        tensors = []
        for part, p in zip(vector.split([p.numel() for p in self.params], dim=-1), self.params, strict=True):
            tensor = part.reshape((*lead, *p.shape))
            if not lead and tensor.stride() != p.stride():
                # Recordings hold for one memory order, to the stride.
                tensor = torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device=p.device).copy_(tensor)
            tensors.append(tensor)
        return tuple(tensors)

    def join(self, tensors: Sequence[Tensor], lead: int = 0) -> Tensor:
        """The inverse of `split`; the first ``lead`` axes are kept."""
        return torch.cat([t.reshape(*t.shape[:lead], -1) for t in tensors], dim=-1)


STEPS = {f"{name}Backward0": f"torch.{name.lower()}" for name in ("Sign", "Sgn", "Round", "Floor", "Ceil", "Trunc")}
"""Nodes of the autograd graph whose derivative is zero wherever there is one."""


def _refuse_steps(problem: Problem, loss: Tensor, params: Sequence[Tensor], batch: Batch) -> None:
    """Refuse parameters that the loss depends on through step functions alone: all their second derivatives are zero.

    Besides other paths, as in ``x * sign(x)``, steps do no harm.
    """
    every, smooth = _nodes([loss]), _nodes([loss], through_steps=False)
    lost = {getattr(n, "variable", None) for n in every} - {getattr(n, "variable", None) for n in smooth}
    names = [name for name, p in zip(problem.names, params, strict=True) if p in lost]
    if not names:
        return
    places: list[str] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if _steps(tree_leaves(output)) and not _steps(tree_leaves(inputs)):
                places.append(f"module {name or 'model'} ({type(module).__name__})")

        return hook

    handles = [m.register_forward_hook(look(n)) for n, m in problem.model.named_modules()]
    try:
        problem.output([p.clone().requires_grad_() for p in params], batch)
    finally:
        for handle in handles:
            handle.remove()
    raise InputError(
        f"{places[0] if places else 'loss_fn'} uses {_steps([loss])[0]}, which is constant between its steps: all "
        f"derivatives with respect to {names[0]} would be zero. Use a smooth function (ReLU is accepted: curvature 0 "
        "on either side of its kink)"
    )


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _steps(outputs: Sequence[Any]) -> list[str]:
    return [STEPS[n.name()] for n in _nodes(outputs) if n.name() in STEPS]


def _nodes(outputs: Sequence[Any], through_steps: bool = True) -> list[Any]:
    """The autograd graph behind ``outputs``, nearest nodes first."""
    found = [t.grad_fn for t in outputs if isinstance(t, Tensor) and t.grad_fn is not None]
    seen = set(found)
    for node in found:
        if through_steps or node.name() not in STEPS:
            following = [n for n, _ in node.next_functions if n is not None and n not in seen]
            seen.update(following)
            found += following
    return found
