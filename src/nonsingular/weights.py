"""Weights as people keep them: in a module, a state dictionary, a checkpoint file, or one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonsingular.errors import InputError, MissingExtra

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
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise MissingExtra("a safetensors checkpoint", "checkpoints") from None
        read: Callable[[], Any] = lambda: load_file(path)  # noqa: E731
    else:
        read = lambda: torch.load(path, map_location="cpu", weights_only=True)  # noqa: E731
    try:
        state = read()
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is not a readable checkpoint of tensors: {first}") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not (isinstance(state, dict) and all(isinstance(t, Tensor) for t in state.values())):
        raise InputError(f"{path} does not hold a dictionary of tensors, as model.state_dict() gives it")
    return state
