"""Weights that a loss reaches by itself, past the ones that it is evaluated with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nonsingular.dispatch import Dispatch

_OF_A_SHAPE = {
    getattr(torch.ops.aten, name).default
    for name in ("zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty", "new_full")
}
"""Calls that take nothing of a tensor but its shape and type."""


class Reached(Dispatch):
    """Notes every call that reads memory of a model's own parameters and buffers.

    A loss is evaluated with copies of them, so whoever reads the originals (a penalty over captured parameters, a
    closure over the model, another model that shares its weights) would miss every change of the copies.
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__()
        self.found: str | None = None
        self._owners: dict[int, str] = {}
        for model in models:
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                if tensor.numel() and tensor.layout == torch.strided:
                    self._owners.setdefault(tensor.untyped_storage().data_ptr(), name)

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run it, and note whose memory it reads."""
        if self.found is None and func not in _OF_A_SHAPE and not _only_views(func):
            for x in tree_leaves((args, kwargs)):
                if isinstance(x, Tensor) and (name := self._owner(x)) is not None:
                    self.found = name
        return func(*args, **kwargs)

    def look_behind(self, loss: Any) -> None:
        """Note parameters that ``loss`` has a gradient for: what was computed from them before is no constant."""
        nodes = [loss.grad_fn] if isinstance(loss, Tensor) and loss.grad_fn is not None else []
        seen = set(nodes)
        for node in nodes:
            variable = getattr(node, "variable", None)
            if self.found is None and isinstance(variable, Tensor):
                self.found = self._owner(variable)
            following = [n for n, _ in node.next_functions if n is not None and n not in seen]
            seen.update(following)
            nodes += following

    def _owner(self, tensor: Tensor) -> str | None:
        try:
            return self._owners.get(tensor.untyped_storage().data_ptr())
        except RuntimeError:  # sparse, or a wrapper without memory of its own
            return None


def _only_views(func: Any) -> bool:
    """Whether a call gives another view of its argument, and reads nothing."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
