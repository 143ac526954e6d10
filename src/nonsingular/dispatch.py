"""Seeing the operations that PyTorch runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Dispatch(TorchDispatchMode):
    """Within: every operation below autograd and the function transforms is handed to ``dispatched``.

    PyTorch keeps a mode's methods from its compiler, for which it loads all of that: a second, where most of those who
    look at a small network compile nothing. Here that happens only where the compiler is loaded already.
    """

    def dispatched(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run the operation ``func(*args, **kwargs)``, and give what it is taken to return."""
        raise NotImplementedError


_not_compiled: dict[type[Dispatch], Callable[..., Any]] = {}


def _handed(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    kind = type(mode)
    call = kind.dispatched
    if "torch._dynamo" in sys.modules:
        if kind not in _not_compiled:
            _not_compiled[kind] = torch.compiler.disable(call)
        call = _not_compiled[kind]
    return call(mode, func, args, kwargs or {})


Dispatch.__torch_dispatch__ = _handed  # type: ignore[method-assign]  # what stands in the class body would be wrapped
