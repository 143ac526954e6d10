"""What a user's model is: unwrapped, copied, and evaluated as a function that leaves no trace."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedParameter
from torch.utils import checkpoint

from nonsingular.errors import InputError
from nonsingular.objective.differentiable import TwiceDifferentiable


def unwrap(model: nn.Module) -> tuple[nn.Module, str]:
    """The module inside ``torch.compile`` and data-parallel wrappers, and what they put before its names."""
    prefix = ""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model, prefix = inner, prefix + "_orig_mod."
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model, prefix = model.module, prefix + "module."
        else:
            return model, prefix


def is_lightning(model: nn.Module) -> bool:
    """Whether ``model`` is a LightningModule with a training step of its own (without importing Lightning)."""
    return any(c.__name__ == "LightningModule" for c in type(model).__mro__) and hasattr(model, "training_step")


def own_copies(model: nn.Module, loss: Any) -> tuple[nn.Module, Any]:
    """Copies of model and loss that training goes on without; what they share they still share.

    Functions are not copied: one that closes over the model reaches the original, which `reach` finds. A model that
    cannot be copied is used itself; its weights are replaced in every evaluation.
    """
    memo = not_copied(model)
    bound = getattr(loss, "__self__", None)
    if not isinstance(loss, nn.Module) and not isinstance(bound, nn.Module):
        memo[id(loss)] = loss
    try:
        return copy.deepcopy((model, loss), memo)
    except Exception:  # locks, files, generators: any class may refuse in its own way
        return model, loss


def not_copied(model: nn.Module) -> dict[int, Any]:
    """What a deep copy shares with the model: tensors that are no leaves cannot be copied.

    Hooks such as weight_norm's make them anew before they are read; others were computed from parameters once.
    """
    return {id(t): t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor) and not t.is_leaf}


def refuse_unusable(model: nn.Module) -> None:
    """Refuse models that have no numbers to compute with.

    Raises:
        InputError: no module; parameters on the meta device, on several devices, or without a shape yet.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    refuse_without_values(model)
    devices = sorted({str(t.device) for t in model.parameters()})
    if len(devices) > 1:
        raise InputError(f"the model's parameters are on {' and '.join(devices)}; move it to one device")


def refuse_without_values(model: nn.Module) -> None:
    """Refuse models with parameters or buffers that hold no numbers, on whatever device.

    Raises:
        InputError: one is on the meta device, or has no shape yet.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in state.items():
        if isinstance(tensor, UninitializedParameter | nn.parameter.UninitializedBuffer):
            raise InputError(f"parameter {name} has no shape yet: run the model once on a batch before")
        if tensor.device.type == "meta":
            raise InputError(
                f"{name} is on the meta device and has no values: load weights first (model.to_empty, ...)"
            )


def precision(model: nn.Module) -> torch.dtype:
    """In which precision a model is computed: the widest of its parameters', and no less than float32."""
    found = torch.float32
    for p in model.parameters():
        if p.is_floating_point() and p.element_size() > 1:
            found = torch.promote_types(found, p.dtype)
    return found


def taken_by(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """How a model takes a tensor: on its device, and in its precision where none of its parameters is in the tensor's.

    Whoever copies a model computes in `precision`; this is for the user's own.

    >>> import torch
    >>> import nonsingular as ns
    >>> take = ns.objective.taken_by(torch.nn.Linear(3, 2).double())
    >>> take(torch.zeros(4, 3)).dtype
    torch.float64
    """
    parameters = [p for p in model.parameters() if p.is_floating_point() and p.element_size() > 1]
    if not parameters:
        return lambda t: t.detach()
    device, known = parameters[0].device, {p.dtype for p in parameters}
    widest = functools.reduce(torch.promote_types, known)

    def taken(tensor: Tensor) -> Tensor:
        keep = not tensor.is_floating_point() or tensor.dtype in known
        return tensor.detach().to(device, tensor.dtype if keep else widest)

    return taken


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within: nothing but the numbers that the model gives, in forms that can be differentiated twice.

    Batch normalisation takes the batch's statistics without updating the running ones, attention its mathematical
    form, compiled code runs as it was written, and checkpoints keep their activations: reentrant ones drop gradients of
    layers before which nothing requires one, and all compute again when replaced weights are back in their places.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Linear(3, 2)
    >>> with ns.objective.evaluating(model):
    ...     output = model(torch.zeros(4, 3))
    >>> output.shape
    torch.Size([4, 2])
    """
    updating = [m for m in model.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    fastpath, checkpoints = torch.backends.mha.get_fastpath_enabled(), [getattr(checkpoint, n) for n in _CHECKPOINTS]
    for m in updating:
        m.track_running_stats = False
    torch.backends.mha.set_fastpath_enabled(False)
    for name, plain in _CHECKPOINTS.items():
        setattr(checkpoint, name, plain)
    try:
        with ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(TwiceDifferentiable())
            if "torch._dynamo" in sys.modules:  # importing it takes seconds, and without it nothing is compiled
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for name, own in zip(_CHECKPOINTS, checkpoints, strict=True):
            setattr(checkpoint, name, own)
        for m in updating:
            m.track_running_stats = True


class _Plainly:
    """What stands for ``CheckpointFunction``: the call itself."""

    @staticmethod
    def apply(function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        return function(*args)


def _before_and_after(*args: Any, **kwargs: Any) -> Iterator[None]:
    """What stands for the generator around a checkpoint that is not reentrant: nothing before or after the call."""
    yield


_CHECKPOINTS: dict[str, Any] = {
    "CheckpointFunction": _Plainly,
    "_checkpoint_without_reentrant_generator": _before_and_after,
}
