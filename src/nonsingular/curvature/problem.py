"""The loss as a pure function of the chosen parameters, one batch at a time; and what is wrong with a bad one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.curvature.choosing import Choice, choose
from nonsingular.curvature.padding import ConstantPadding
from nonsingular.errors import InputError

Params = tuple[Tensor, ...]


class Loss(Protocol):
    """(model output, target) -> scalar."""

    def __call__(self, output: Any, target: Any, /) -> Tensor:
        """The loss."""


@dataclass(frozen=True)
class Batch:
    """One batch: what the model takes, what the loss compares with, how much it weighs."""

    inputs: Any
    target: Any
    samples: int

    def split(self, size: int) -> list[Batch]:
        """Pieces of at most ``size`` samples: slices of all tensors whose leading axis counts the samples."""

        def piece(start: int) -> Batch:
            def take(t: Tensor) -> Tensor:
                return t[start : start + size] if t.dim() and t.shape[0] == self.samples else t

            inputs, target = (tree_map_only(Tensor, take, x) for x in (self.inputs, self.target))
            return Batch(inputs, target, min(size, self.samples - start))

        return [piece(start) for start in range(0, self.samples, size)]


class Problem:
    """A model, a loss and batches, as ``loss(params, batch)`` with ``params`` a tuple of tensors.

    The model is not changed: parameters and buffers are copied (cast to one dtype, 4-D tensors in channels-last order
    when the model has convolutions), batch normalisation in train mode uses the batch's statistics without updating
    the running ones, and attention takes its mathematical form, the only one that can be differentiated twice.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Loss,
        batches: Iterable[tuple[Any, Any]],
        params: Choice | Iterable[Choice] | None,
        reduction: str,
        dtype: torch.dtype | None,
        channels_last: bool | None,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise InputError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.model, self.loss_fn = model, loss_fn
        chosen = choose(model, params)
        first = next(iter(chosen.values()))
        self.dtype, self.device = dtype or first.dtype, first.device
        self.convolutional = any(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in model.modules())
        self._channels_last = (
            any(isinstance(m, nn.Conv2d) for m in model.modules()) if channels_last is None else channels_last
        )
        self.names = tuple(chosen)
        self.params: Params = tuple(self._prepare(p) for p in chosen.values())
        rest = dict(model.named_parameters()) | dict(model.named_buffers())
        self._fixed = {k: self._prepare(t) for k, t in rest.items() if k not in chosen}
        self.batches = [self._batch(b, i) for i, b in enumerate(_as_batches(batches))]
        if not self.batches:
            raise InputError("no batches: give at least one (inputs, target) pair")
        _refuse_randomness(model)
        total = sum(b.samples for b in self.batches)
        self.weights = [b.samples / total if reduction == "mean" else 1.0 for b in self.batches]

    @property
    def size(self) -> int:
        """Number of chosen parameters."""
        return sum(p.numel() for p in self.params)

    def output(self, params: Sequence[Tensor], batch: Batch, buffers: Mapping[str, Tensor] | None = None) -> Any:
        """The model's output on ``batch``, with other values for some buffers if given."""
        state = self._fixed | dict(buffers or {}) | dict(zip(self.names, params, strict=True))
        inputs = batch.inputs
        with deterministic(self.model):
            if isinstance(inputs, Mapping):
                return functional_call(self.model, state, (), dict(inputs))
            return functional_call(self.model, state, inputs if isinstance(inputs, tuple) else (inputs,))

    def loss(self, params: Sequence[Tensor], batch: Batch, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss on ``batch``, a scalar."""
        return self.loss_fn(self.output(params, batch, buffers), batch.target)

    def check(self) -> None:
        """Evaluate the first batch and refuse what has no Hessian.

        Raises:
            InputError: the loss is not a finite scalar, does not depend on the parameters, or by steps only.
        """
        batch = self.batches[0]
        params = [p.clone().requires_grad_() for p in self.params]
        try:
            with torch.enable_grad():
                loss = self.loss(params, batch)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            raise InputError(f"the model or the loss failed on the first batch: {first_line(error)}") from error
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.dim() > 0:
            what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError(f"loss_fn must return a scalar tensor, got {what}; reduce it, for example by .mean()")
        if not torch.isfinite(loss):
            raise InputError(f"the loss on the first batch is {loss.item()}: {self._first_not_finite(batch)}")
        if not loss.requires_grad:
            raise InputError("the loss does not depend on the chosen parameters (detached, or under no_grad?)")
        _refuse_steps(self, loss, params, batch)
        self._refuse_unused(loss, params)

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

    def _first_not_finite(self, batch: Batch) -> str:
        for name, p in zip(self.names, self.params, strict=True):
            if not torch.isfinite(p).all():
                return f"parameter {name} has NaN or infinite entries"
        if any(not torch.isfinite(t).all() for t in tree_leaves(batch.inputs) if _is_float(t)):
            return "the batch's inputs have NaN or infinite entries"
        found: list[str] = []

        def look(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                if any(not torch.isfinite(t).all() for t in tree_leaves(output) if _is_float(t)):
                    found.append(
                        f"module {name or 'model'} ({type(module).__name__}) is the first to return NaN or infinity"
                    )

            return hook

        handles = [m.register_forward_hook(look(n)) for n, m in self.model.named_modules()]
        try:
            with torch.no_grad():
                self.output(self.params, batch)
        finally:
            for handle in handles:
                handle.remove()
        return found[0] if found else "the model's output is finite, so loss_fn makes it"

    def _prepare(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return tensor.contiguous(memory_format=self._format(tensor))

    def _format(self, tensor: Tensor) -> torch.memory_format:
        return torch.channels_last if self._channels_last and tensor.dim() == 4 else torch.contiguous_format

    def _batch(self, pair: Any, index: int) -> Batch:
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise InputError(f"batch {index} must be a pair (inputs, target), got {type(pair).__name__}")

        def prepare(t: Tensor) -> Tensor:
            return self._prepare(t.to(self.device))

        inputs, target = (tree_map_only(Tensor, prepare, x) for x in pair)
        tensors = [t for t in tree_leaves(inputs) if isinstance(t, Tensor)]
        samples = tensors[0].shape[0] if tensors and tensors[0].dim() else 1
        if samples == 0:
            raise InputError(f"batch {index} is empty")
        return Batch(tuple(inputs) if isinstance(inputs, list) else inputs, target, samples)

    # --- flat vectors ---------------------------------------------------------------------------------------

    def split(self, vector: Tensor) -> Params:
        """A flat vector ``[P]``, or columns ``[k, P]``, as tensors of the parameters' shapes (and formats)."""
        lead = vector.shape[:-1]
        tensors = []
        for part, p in zip(vector.split([p.numel() for p in self.params], dim=-1), self.params, strict=True):
            tensor = part.reshape(*lead, *p.shape)
            if not lead and tensor.stride() != p.stride():
                # Recordings hold for one memory order, to the stride.
                tensor = torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device=p.device).copy_(tensor)
            tensors.append(tensor)
        return tuple(tensors)

    def join(self, tensors: Sequence[Tensor], lead: int = 0) -> Tensor:
        """The inverse of `split`; the first ``lead`` axes are kept."""
        return torch.cat([t.reshape(*t.shape[:lead], -1) for t in tensors], dim=-1)


def _as_batches(batches: Any) -> Iterator[Any]:
    if isinstance(batches, tuple) and len(batches) == 2 and isinstance(batches[0], Tensor):
        return iter([batches])
    try:
        return iter(batches)
    except TypeError:
        raise InputError(f"batches must be an iterable of (inputs, target), got {type(batches).__name__}") from None


def _refuse_randomness(model: nn.Module) -> None:
    for name, module in model.named_modules():
        random = (isinstance(module, _DropoutNd) and module.p > 0) or isinstance(module, nn.RReLU)
        if random and module.training:
            kind = type(module).__name__
            raise InputError(
                f"module {name} ({kind}) is random in train mode, so the loss has no Hessian; call .eval() on it"
            )


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
        f"{places[0] if places else 'loss_fn'} uses {_steps([loss])[0]}, which is constant between its steps: the "
        f"Hessian with respect to {names[0]} would be zero. Use a smooth function (ReLU is accepted: curvature 0 on "
        "either side of its kink)"
    )


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


@contextmanager
def deterministic(model: nn.Module) -> Iterator[None]:
    """Within: batch statistics without running updates, attention and embeddings in twice differentiable form."""
    updating = [m for m in model.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    for m in updating:
        m.track_running_stats = False
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), ConstantPadding():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for m in updating:
            m.track_running_stats = True


def _is_float(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch could not allocate (it has a class of its own for that only on GPUs)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def out_of_memory(batch: Batch) -> InputError:
    """The error for a batch too large for this machine."""
    return InputError(f"out of memory on a batch of {batch.samples} samples: give smaller batches, or microbatch=")


def available_bytes(device: torch.device) -> float:
    """Memory that can still be allocated on ``device``; infinity where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return math.inf
