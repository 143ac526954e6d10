"""A direction as one tensor for every weight of a model that moves, under the model's own names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nonsingular.errors import InputError
from nonsingular.weights import aliases, renamed, split

Direction = dict[str, Tensor]


def fitted(direction: Mapping[str, Tensor] | Tensor | np.ndarray, model: nn.Module, what: str) -> Direction:
    """The direction with one name for each tensor that it moves; what cannot move, integers, is left out.

    Args:
        direction: names of ``model.state_dict()`` (or those that ``DataParallel`` or ``torch.compile`` make of them) to
            tensors; or a flat vector as ``weights.split`` takes it. A tied weight may have any of its names, or all.
        model: it moves.
        what: it is called in messages.

    Raises:
        InputError: a name that the model lacks, another shape, a tied weight moved in two ways, zero everywhere, or not
            finite.
    """
    given = split(direction, model) if isinstance(direction, Tensor | np.ndarray) else renamed(direction, model)
    firsts = aliases(model)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found: Direction = {}
    named: dict[str, str] = {}
    for name, d in given.items():
        if name not in firsts:
            raise InputError(f"{what} moves {name}, which the model does not have")
        first = firsts[name]
        if d.shape != state[first].shape:
            raise InputError(f"{what} has shape {tuple(d.shape)} for {name}, the model {tuple(state[first].shape)}")
        if first in found and not torch.equal(found[first], d):
            raise InputError(f"{what} moves {named[first]} and {name} apart, which are one tied weight of the model")
        if not bool(torch.isfinite(d).all()):
            raise InputError(f"{what} is not finite in {name}")
        if state[first].is_floating_point():
            found[first], named[first] = d, name
    if not any(bool(d.any()) for d in found.values()):
        raise InputError(f"{what} is zero everywhere")
    return found


def precise(tensor: Tensor) -> Tensor:
    """In float32 where it has 16 bits, too few for differences: losses of such models are computed in float32 too."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def movement(directions: Mapping[str, Direction], parameters: Mapping[str, Tensor]) -> dict[str, object]:
    """What moves and what stays, for a result's attributes.

    Args:
        directions: of the axes, fitted to the model.
        parameters: of the model, at the centre.

    Returns:
        ``moved_weights`` and ``still_weights``: numbers of entries of parameters; ``moved_from_zero``: names of the
        matrices that are all zero at the centre and move.
    """
    moving = {name for d in directions.values() for name, t in d.items() if bool(t.any())}
    zero = [n for n, p in parameters.items() if n in moving and p.dim() > 1 and not bool(p.any())]
    count = sum(p.numel() for name, p in parameters.items() if name in moving)
    return {
        "moved_weights": count,
        "still_weights": sum(p.numel() for p in parameters.values()) - count,
        "moved_from_zero": ", ".join(zero),
    }
