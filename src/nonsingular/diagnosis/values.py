"""A tensor's values: which of many are looked at, and whether they are yes or no, or a mask."""

from __future__ import annotations

import torch
from torch import Tensor


def evenly(count: int, most: int) -> Tensor:
    """Indices of at most ``most`` of so many entries, spread evenly.

    >>> evenly(3, 5).tolist(), evenly(100, 4).tolist()
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return torch.arange(count) if count <= most else torch.linspace(0, count - 1, most).round().long()


def is_binary(x: Tensor) -> bool:
    """Whether all numbers are zeros and ones, of whatever type, as those of a mask or of a yes and no are.

    >>> is_binary(torch.tensor([0.0, 1.0])), is_binary(torch.tensor([0, 2])), is_binary(torch.ones(3, dtype=torch.bool))
    (True, False, True)
    """
    return x.dtype == torch.bool or bool(((x == 0) | (x == 1)).all())


def is_mask(x: Tensor) -> bool:
    """Whether numbers say where things are, not which: zeros and ones, or whole numbers of which none is above 1.

    Such are signs, and masks that are added; ids beside which padding is -100 are none.

    >>> is_mask(torch.tensor([-1, 0, 1])), is_mask(torch.tensor([0, -10_000])), is_mask(torch.tensor([5, 1, -100]))
    (True, True, False)
    """
    return is_binary(x) or (not x.is_floating_point() and not x.is_complex() and int(x.max()) <= 1)
