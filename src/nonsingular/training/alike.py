"""Whether the code of one network stands for others, whose parameters and buffers alone differ.

A network's outputs depend on more than those: on a share of dropout, a switch, a function that it holds, a tensor that
is no buffer, hooks, parameters that are tied.
"""

from __future__ import annotations

import functools
import math
import types
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nonsingular.weights import aliases

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_HOOKS = tuple(name for name in _OF_EVERY_MODULE if name.endswith("_hooks"))


def structure(network: nn.Module) -> tuple[object, ...]:
    """What networks must share to be stacked: their modules, and shapes and types of parameters and buffers.

    >>> import nonsingular as ns
    >>> a, b = (ns.networks.FullyConnected(4, 2, depth=2, width=width) for width in (3, 5))
    >>> structure(a) == structure(a), structure(a) == structure(b)
    (True, False)
    """
    numbers = ((n, tuple(t.shape), t.dtype, t.requires_grad) for n, t in _numbers(network))
    return (repr(network), *numbers)


def settings(network: nn.Module) -> tuple[object, ...]:
    """The plain attributes of its modules, such as a share of dropout: networks with equal ones may share their code.

    >>> import nonsingular as ns
    >>> a, b = (ns.networks.FullyConnected(4, 2, depth=2, width=3, dropout=share) for share in (0.1, 0.5))
    >>> settings(a) == settings(a), settings(a) == settings(b)
    (True, False)
    """
    held = ((place, name, v) for place, m in network.named_modules() for name, v in sorted(_held(m).items()))
    return tuple((place, name, repr(v)) for place, name, v in held if type(v) in _PLAIN)


def one_code(networks: Sequence[nn.Module]) -> bool:
    """Whether networks of one structure differ in parameters and buffers alone, as far as that can be told.

    What is not understood counts as a difference: networks that are told apart cost time, others would cost the truth.

    >>> import nonsingular as ns
    >>> a, b = (ns.networks.FullyConnected(4, 2, depth=2, width=3, dropout=share) for share in (0.1, 0.5))
    >>> one_code([a, a]), one_code([a, b])
    (True, False)
    """
    return all(_Pair(networks[0], other).alike() for other in networks[1:])


def _numbers(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers, those that are tied by all their names."""
    return [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]


def _held(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}


class _Pair:
    """Two networks, and what of them was found equal already or is being compared."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        self.networks = a, b
        # Two numbers or modules that stand for each other: by the name of the first in its own network.
        self.own = [
            {id(x): name for name, x in reversed([*_numbers(n), *n.named_modules(remove_duplicate=False)])}
            for n in (a, b)
        ]
        self.seen: set[tuple[int, int]] = set()

    def alike(self) -> bool:
        """Whether they differ in parameters and buffers alone."""
        a, b = self.networks
        if a is b:
            return True
        try:
            places = [dict(n.named_modules(remove_duplicate=False)) for n in (a, b)]
            same = places[0].keys() == places[1].keys() and aliases(a) == aliases(b)
            return same and all(self._modules(m, places[1][name]) for name, m in places[0].items())
        except Exception:  # a user's object that does not like to be looked at
            return False

    def _modules(self, a: nn.Module, b: nn.Module) -> bool:
        # A parametrised module has a class of its own.
        kinds = [parametrize.type_before_parametrizations(m) for m in (a, b)]
        hooks = [[list(vars(m)[name].values()) for name in _HOOKS if vars(m).get(name)] for m in (a, b)]
        return kinds[0] is kinds[1] and self._equal(*hooks) and self._equal(_held(a), _held(b))

    def _equal(self, a: Any, b: Any) -> bool:
        if id(a) in self.own[0] or id(b) in self.own[1]:
            return self.own[0].get(id(a)) == self.own[1].get(id(b))
        if a is b or (id(a), id(b)) in self.seen:
            return True
        if type(a) is not type(b) and not isinstance(a, nn.Module):
            return False
        self.seen.add((id(a), id(b)))
        return self._same(a, b)

    def _same(self, a: Any, b: Any) -> bool:
        """Of two objects of one type."""
        if isinstance(a, Tensor):
            return a.shape == b.shape and a.dtype == b.dtype and a.layout == b.layout and torch.equal(a, b)
        if isinstance(a, np.ndarray):
            return bool(a.dtype != object and a.dtype == b.dtype and np.array_equal(a, b))
        if isinstance(a, float):
            return bool(a == b) or (math.isnan(a) and math.isnan(b))
        if isinstance(a, Mapping):
            return list(a) == list(b) and all(self._equal(a[key], b[key]) for key in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(self._equal, a, b))
        if isinstance(a, functools.partial):
            return self._equal((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
        if isinstance(a, types.FunctionType):
            return a.__code__ is b.__code__ and a.__globals__ is b.__globals__ and self._equal(_bound(a), _bound(b))
        if isinstance(a, types.MethodType):
            return a.__func__ is b.__func__ and self._equal(a.__self__, b.__self__)
        if isinstance(a, weakref.ref):
            return self._equal(a(), b())
        if isinstance(a, torch.Generator):
            return True  # streams of numbers may differ as numbers do
        if isinstance(a, nn.Module):  # one that is hidden from the network
            return repr(a) == repr(b) and self._equal(dict(_numbers(a)), dict(_numbers(b))) and one_code([a, b])
        if isinstance(getattr(a, "__dict__", None), dict) and not hasattr(type(a), "__slots__"):
            return self._equal(vars(a), vars(b))
        return (a == b) is True


def _bound(function: types.FunctionType) -> tuple[Any, ...]:
    """What a function holds besides its code."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return cells, function.__defaults__, function.__kwdefaults__, vars(function)
