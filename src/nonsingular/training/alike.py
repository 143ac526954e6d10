"""What networks must share to be computed together, with the code of one of them and the numbers of each.

Numbers are parameters and buffers. All else that a module holds is taken from one network for all: a dropout share, a
list of switches, a function, a tensor that is no buffer. Networks that differ there are not alike.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def structure(network: nn.Module) -> tuple[object, ...]:
    """A key that is equal for networks that can be stacked: modules, what they hold, shapes of all numbers.

    >>> import torch
    >>> import nonsingular as ns
    >>> a, b, c = (ns.networks.FullyConnected(4, 2, depth=2, width=3, dropout=share) for share in (0.1, 0.1, 0.5))
    >>> structure(a) == structure(b), structure(a) == structure(c)
    (True, False)
    """
    shapes = ((name, tuple(t.shape)) for name, t in network.state_dict().items())
    return (repr(network), *shapes, *_settings(network))


def difference(networks: Sequence[nn.Module]) -> str:
    """What networks that look alike differ in, as the end of a sentence: an attribute of theirs, or nothing."""
    first, *others = (dict(_settings(n)) for n in networks)
    found = (name for other in others for name in sorted({*first, *other}) if first.get(name) != other.get(name))
    name = next(found, "")
    return f"; they differ in {name} (each may have its own parameters and buffers)" if name else ""


def _settings(network: nn.Module) -> Iterator[tuple[str, object]]:
    """Name and value of every attribute of its modules that is no parameter, buffer or module."""
    for place, module in network.named_modules():
        yield place or "their class", type(module)
        for name, value in vars(module).items():
            if name not in _OF_EVERY_MODULE:
                yield ".".join(filter(None, (place, name))), _comparable(value)


def _comparable(value: Any, depth: int = 4) -> object:
    """Something hashable that is equal for equal values; of unknown objects their type and what they hold."""
    if isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu().contiguous().view(-1) if isinstance(value, Tensor) else np.ascontiguousarray(value)
        content = bytes(array.view(torch.uint8).numpy()) if isinstance(array, Tensor) else array.tobytes()
        return type(value), tuple(value.shape), str(value.dtype), content
    if isinstance(value, (float, complex)):
        return type(value), repr(value)  # of NaN, too
    if isinstance(value, (int, str, bytes, type, type(None), torch.dtype, torch.device)):
        return type(value), value
    if depth == 0:
        return type(value)
    inner = functools.partial(_comparable, depth=depth - 1)
    if isinstance(value, Mapping):
        return type(value), tuple((inner(k), inner(v)) for k, v in value.items())
    if isinstance(value, Set):
        return type(value), frozenset(map(inner, value))
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(inner, value))
    if isinstance(value, functools.partial):
        return type(value), inner(value.func), inner(value.args), inner(value.keywords)
    if isinstance(value, types.FunctionType):
        cells = tuple(inner(cell.cell_contents) for cell in value.__closure__ or () if _filled(cell))
        return value.__code__, cells, inner(value.__defaults__ or ())
    if isinstance(value, (nn.Module, torch.Generator)):  # of another network, or a stream of numbers
        return type(value)
    return type(value), inner(getattr(value, "__dict__", {}))


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
