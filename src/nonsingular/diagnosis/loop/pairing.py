"""Whether inputs and targets of a step are those of the batch, row by row, and whether data stay what they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

FEWEST = 4  # rows of a batch, from where an order says something
PART = 0.1  # of the rows whose target is another's
TOLD = 4096  # entries of a data set that tell it from what it was before


def order_of_rows(x: Tensor, batch: list[Tensor]) -> Tensor | None:
    """Which row of the batch each row of the inputs is; None where they are not the same rows."""
    for drawn in batch:
        if drawn.dtype != x.dtype or drawn.device != x.device or len(drawn.shape) != x.ndim or x.ndim < 2:
            continue
        if len(drawn) != len(x) or len(x) < FEWEST or drawn.shape[2:] != x.shape[2:]:
            continue
        length = min(drawn.shape[1], x.shape[1])  # a batch may be cut to its longest sample
        ours, theirs = _keys(x[:, :length]), _keys(drawn[:, :length])
        (one, first), (two, second) = ours.sort(), theirs.sort()
        if torch.equal(one, two) and len(one.unique()) == len(one):
            order = torch.empty_like(first)
            order[first] = second
            return order
    return None


def rows_apart(target: Tensor, batch: list[Tensor], order: Tensor | None) -> bool | None:
    """Whether the targets of a loss are the batch's in another order than its inputs; None where that is not known."""
    if order is None or not target.ndim or len(target) != len(order):
        return None
    for drawn in batch:
        if drawn.dtype != target.dtype or drawn.shape != target.shape or drawn.device != target.device:
            continue
        ours, theirs, wanted = (t.reshape(len(order), -1) for t in (target, drawn, drawn[order]))
        if torch.equal(ours, wanted):
            return False
        apart = (ours != wanted).any(1).double().mean()
        if float(apart) > PART and torch.equal(_keys(ours).sort().values, _keys(theirs).sort().values):
            return True
    return None


def _keys(rows: Tensor) -> Tensor:
    """A number for each row that tells it from others."""
    flat = rows.detach().reshape(len(rows), -1).double()
    return flat @ by_place(flat.shape[1], flat.device)


@lru_cache(maxsize=16)
def by_place(entries: int, device: torch.device) -> Tensor:
    """Weights in a sum that tells entries in one order from the same ones in another."""
    return (1.7 * torch.arange(1, entries + 1, device=device, dtype=torch.float64)).cos()


def numbers_of(data: Any) -> tuple[float, ...] | None:
    """Sums over entries of the tables of numbers that a data set holds; None where it holds none."""
    for _ in range(4):  # subsets of subsets
        inner = getattr(data, "dataset", None)
        if inner is None:
            break
        data = inner
    try:
        held = [*vars(data).values(), *getattr(data, "tensors", ())]
        tables = [torch.as_tensor(t) for t in held if isinstance(t, Tensor) or type(t).__module__ == "numpy"]
    except (TypeError, ValueError, RuntimeError):
        return None
    tables = [t for t in tables if t.is_floating_point() and t.numel() > 1]
    return tuple(float(t.flatten()[:: max(1, t.numel() // TOLD)].double().sum()) for t in tables) or None
