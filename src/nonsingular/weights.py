"""Weights as people keep them: in a module, a state dictionary, a checkpoint file, or one flat vector."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonsingular.errors import InputError, MissingExtra, a_kind, first_line

Weights = nn.Module | Mapping[str, Tensor] | str | Path | Tensor | np.ndarray
"""A module, its state dictionary, a checkpoint file, or a flat vector in the order of ``model.parameters()``."""

WRAPPERS = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put in front of every name."""


def state_of(weights: Weights, model: nn.Module | None = None) -> dict[str, Tensor]:
    """The state dictionary of weights, whichever way they are kept.

    Args:
        weights: a module, a state dictionary, a checkpoint file (as ``read_weights`` takes them), or a flat vector of
            all parameters (``torch.nn.utils.parameters_to_vector``), or of those that require a gradient (the order
            of ``curvature.Hessian``); what a vector does not hold is the model's.
        model: whose they are. It gives the shapes of a flat vector; names that ``DataParallel`` or ``torch.compile``
            lengthened are cut to the model's.

    Raises:
        InputError: a file that cannot be read, a flat vector of another length or without a model, anything else.

    Example:
        >>> from torch import nn
        >>> from nonsingular.weights import state_of
        >>> net = nn.Linear(2, 1, bias=False)
        >>> state_of(torch.tensor([1.0, 2.0]), net)
        {'weight': tensor([[1., 2.]])}
    """
    if isinstance(weights, nn.Module):
        found: Mapping[str, Any] = weights.state_dict()
    elif isinstance(weights, str | Path):
        found = read_weights(Path(weights))
    elif isinstance(weights, Tensor | np.ndarray):
        return unflatten(weights, model)
    elif isinstance(weights, Mapping):
        found = weights
    else:
        raise InputError(
            "weights must be a module, a state dictionary, a checkpoint file or a flat vector, "
            f"got {type(weights).__name__}"
        )
    state = {name: t.detach() for name, t in found.items() if isinstance(t, Tensor)}
    return state if model is None else renamed(state, model)


def renamed(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state under the model's names, where only what wrappers put in front of them differs."""
    known = set(model.state_dict())
    for front in 2 * WRAPPERS:
        while state and not known & set(state) and all(name.startswith(front) for name in state):
            state = {name.removeprefix(front): t for name, t in state.items()}
    return dict(state)


def unflatten(vector: Tensor | np.ndarray, model: nn.Module | None) -> dict[str, Tensor]:
    """The model's state with the values of a flat vector, each of the parameter's shape, type and device.

    Raises:
        InputError: no model, not a vector, or one whose length is not the number of weights.
    """
    if model is None:
        raise InputError("a flat vector has no names or shapes: give the model too")
    state = {name: t.detach() for name, t in model.state_dict().items()} | split(vector, model)
    return {name: state[first] for name, first in aliases(model).items() if name in state}


def aliases(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer -> the first name of the same tensor: tied weights have several."""
    firsts: dict[int, str] = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: firsts.setdefault(id(t), name) for name, t in named}


def split(vector: Tensor | np.ndarray, model: nn.Module) -> dict[str, Tensor]:
    """A flat vector as one tensor a parameter: of all parameters, or of those that require a gradient.

    Raises:
        InputError: not a vector, or one whose length is not the number of weights.
    """
    flat = torch.as_tensor(vector).detach()
    parameters = dict(model.named_parameters())
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    sizes = [sum(p.numel() for p in chosen.values()) for chosen in (parameters, trainable)]
    if flat.dim() != 1 or len(flat) not in sizes:
        also = f" (or the {sizes[1]} that require a gradient)" if 0 < sizes[1] < sizes[0] else ""
        raise InputError(
            f"a flat vector must have one entry for each of the model's {sizes[0]} weights{also}, "
            f"got shape {tuple(flat.shape)}"
        )
    chosen = parameters if len(flat) == sizes[0] else trainable
    parts = flat.split([p.numel() for p in chosen.values()])
    return {n: v.view(p.shape).to(p.device, p.dtype) for (n, p), v in zip(chosen.items(), parts, strict=True)}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dictionary in a checkpoint: safetensors, or a file of ``torch.load(weights_only=True)``.

    Raises:
        InputError: no such file, or one that is not a readable checkpoint of tensors.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    state = read_tensors(path, "a readable checkpoint of tensors")
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not (isinstance(state, dict) and all(isinstance(t, Tensor) for t in state.values())):
        raise InputError(
            f"{path} does not hold a dictionary of tensors, as model.state_dict() gives it, but {described(state)}"
        )
    return state


def read_tensors(path: Path, what: str) -> Any:
    """What a file of tensors holds: safetensors, or ``torch.load(weights_only=True)``; no code of the file is run.

    Args:
        path: of the file.
        what: it should be, for the message.

    Raises:
        InputError: it is something else.
    """
    try:
        if path.suffix == ".safetensors":
            return _safetensors()(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except MissingExtra:
        raise
    except Exception as error:
        if not isinstance(error, pickle.UnpicklingError | KeyError):  # what reading a file of anything else may end in
            why = first_line(error)
        elif zipfile.is_zipfile(path):
            why = "it holds other objects, which may run code when read; save tensors (torch.as_tensor of arrays)"
        else:
            why = "it is a file of something else"
        raise InputError(f"{path} is not {what}: {why}") from error


def _safetensors() -> Callable[[Path], Any]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtra("a safetensors checkpoint", "checkpoints") from None
    return load_file


def described(value: Any) -> str:
    """What was given instead, in words.

    >>> described({"weight": torch.zeros(1, 2), "bias": torch.zeros(1)})
    'a dictionary of weight (tensor [1, 2]), bias (tensor [1])'
    """
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, Mapping):
        named = [f"{k} ({described(v).removeprefix('a ')})" for k, v in list(value.items())[:FEW]]
        return f"a dictionary of {few(named, len(value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}" + (f", the first {described(value[0])}" if value else "")
    return a_kind(value)


FEW = 3


def few(names: Sequence[str], count: int | None = None) -> str:
    """The first few names, and how many more there are."""
    rest = (len(names) if count is None else count) - FEW
    return ", ".join(names[:FEW]) + (f" and {rest} more" if rest > 0 else "")


def load(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Give a model other weights.

    Args:
        model: is changed.
        state: a state dictionary.
        what: it is, for the message: ``weights.pt does``, say.

    Raises:
        InputError: it does not fit; the message says what it lacks, what it has beyond, and what has another shape.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, IndexError) as error:
        own = model.state_dict()
        shapes = [
            f"{n} is {list(t.shape)} there and {list(own[n].shape)} in the model"
            for n, t in state.items()
            if n in own and t.shape != own[n].shape
        ]
        lacks, beyond = [n for n in own if n not in state], [n for n in state if n not in own]
        why = [f"it lacks {few(lacks)}"] if lacks else []
        why += [f"it has {few(beyond)}, which the model has not"] if beyond else []
        why += [few(shapes)] if shapes else []
        said = "; ".join(why) or " ".join(str(error).split())
        raise InputError(f"{what} not fit the model ({type(model).__name__}): {said}") from error
