"""Tensors wherever a user's batch holds them: nested containers, mappings of any class, objects with attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class NotAlike(ValueError):
    """Two trees that cannot be put together.

    >>> import torch
    >>> import nonsingular as ns
    >>> try:
    ...     ns.objective.merge(torch.zeros(2, 3), torch.zeros(4, 5))
    ... except ns.objective.NotAlike as error:
    ...     print("no axis to join along")
    no axis to join along
    """


def tree_map(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """``tree`` with ``function`` of each of its tensors; containers and objects are copied, classes are kept.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.objective.tree_map(lambda x: x + 1, {"a": torch.zeros(2), "b": "kept"})
    {'a': tensor([1., 1.]), 'b': 'kept'}
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple):
        parts = [tree_map(function, x) for x in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [tree_map(function, x) for x in tree]
    if isinstance(tree, Mapping):
        return _like(tree, {k: tree_map(function, x) for k, x in tree.items()})
    if not holds_tensors(tree):
        return tree
    new = copy.copy(tree)
    if callable(getattr(new, "apply", None)):  # a torch_geometric graph
        return new.apply(function)
    for name, value in vars(tree).items():
        object.__setattr__(new, name, tree_map(function, value))
    return new


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of ``tree``, in its order.

    >>> import torch
    >>> import nonsingular as ns
    >>> len(ns.objective.tensors({"a": torch.zeros(2), "b": [torch.ones(3), "no tensor"]}))
    2
    """
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    tree_map(keep, tree)
    return found


def parts(tensor: Tensor) -> list[Tensor]:
    """The tensors that one is stored in: itself, the numbers and places of a sparse one, the pieces of a nested one."""
    if tensor.is_nested:
        return list(tensor.unbind())
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        return [tensor.indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor]


def holds_tensors(x: Any) -> bool:
    """Whether ``x`` is an object with tensors among its attributes, such as a graph or a data class."""
    if isinstance(x, nn.Module | type) or not hasattr(x, "__dict__"):
        return False
    return any(isinstance(v, Tensor) or _stores(v) for v in vars(x).values())


def _stores(x: Any) -> bool:
    """Whether ``x`` is where an object keeps its tensors: a mapping, or an object of the same kind (one level)."""
    values = x.values() if isinstance(x, Mapping) else vars(x).values() if hasattr(x, "__dict__") else ()
    inner = [v for v in values if isinstance(v, Mapping)]
    return any(isinstance(v, Tensor) for m in (dict(enumerate(values)), *inner) for v in m.values())


def _like(mapping: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """A mapping of the class of ``mapping`` with other values; a dictionary where that class cannot be written to."""
    if type(mapping) is dict:
        return values
    try:
        new: Any = copy.copy(mapping)
        for key, value in values.items():
            new[key] = value
    except Exception:  # a read-only mapping says so in any way it likes
        return values
    return new


def merge(first: Any, second: Any) -> Any:
    """Two trees of one structure as one: tensors joined along the axis in which they differ, the first if in none.

    Raises:
        NotAlike: they differ in anything else.

    >>> import torch
    >>> import nonsingular as ns
    >>> merged = ns.objective.merge({"x": torch.zeros(2, 3)}, {"x": torch.ones(4, 3)})
    >>> merged["x"].shape
    torch.Size([6, 3])
    """
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _joined(first, second)
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.keys() == second.keys():
        return _like(first, {k: merge(first[k], second[k]) for k in first})
    if isinstance(first, tuple | list) and type(first) is type(second) and len(first) == len(second):
        parts = [merge(a, b) for a, b in zip(first, second, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if first is second or (not holds_tensors(first) and type(first) is type(second) and first == second):
        return first
    raise NotAlike


def _joined(first: Tensor, second: Tensor) -> Tensor:
    if first.dim() != second.dim() or first.dtype != second.dtype:
        raise NotAlike
    if first.dim() == 0:
        if not torch.equal(first, second):
            raise NotAlike
        return first
    differ = [axis for axis, sizes in enumerate(zip(first.shape, second.shape, strict=True)) if len(set(sizes)) > 1]
    if len(differ) > 1:
        raise NotAlike
    return torch.cat([first, second], differ[0] if differ else 0)


def fresh(tensor: Tensor) -> Tensor:
    """A copy for a model or a loss that writes into its data."""
    own = tensor.detach().clone()
    return own.requires_grad_() if tensor.requires_grad else own
