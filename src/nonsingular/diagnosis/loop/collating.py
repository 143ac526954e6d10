"""Whether what a collate function puts together keeps each sample's target beside its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import default_collate

from nonsingular.diagnosis.loop.inputs import dense
from nonsingular.diagnosis.loop.pairing import FEWEST, PART
from nonsingular.places import Place

LOOKED_AT = 8  # batches of a pass through a loader

Column = list[Tensor]


def collated_apart(samples: Sequence[Any], batch: Any) -> bool | None:
    """Whether a batch has the samples' inputs in one order and their targets in another; None where that is not known.

    Nor is it where the batch has the order too, by which outputs may be put back.

    Args:
        samples: as the data set gives them.
        batch: that was made of them.

    >>> samples = [(torch.randn(n), n % 2) for n in (3, 5, 4, 6)]
    >>> longest = sorted((x for x, _ in samples), key=len, reverse=True)
    >>> collated_apart(samples, (torch.nn.utils.rnn.pad_sequence(longest, True), torch.tensor([1, 1, 0, 0])))
    True
    """
    n = len(samples)
    rows = [t.detach().cpu() for t in dense(batch) if t.ndim]
    if n < FEWEST or not rows:
        return None
    columns = _columns(samples)
    wide = [orders for c in columns if c[0].ndim and (orders := [o for t in rows if (o := _order(c, t)) is not None])]
    same = torch.arange(n)
    if not wide or any(torch.equal(o, same) for o in wide[0]) or _told(wide[0], rows):
        return None if not wide else False
    if any(not any(torch.equal(a, b) for a in wide[0] for b in other) for other in wide[1:]):
        return True
    for values in (torch.stack(c).double() for c in columns if not c[0].ndim):
        held = [t.flatten().double() for t in rows if t.numel() == n]
        together = any(torch.equal(t, values[o]) for t in held for o in wide[0])
        differ = all(float((values != values[o]).double().mean()) > PART for o in wide[0])
        if not together and differ and any(torch.equal(t, values) for t in held):
            return True
    return False


def listened_to(iterator: Any, told: Callable[[bool, Place | None], None]) -> None:
    """Have ``told`` called with what the collate function of a pass in this process does to its first batches."""
    fetcher = getattr(iterator, "_dataset_fetcher", None)
    function = getattr(fetcher, "collate_fn", None)
    code = getattr(function, "__code__", None)
    if fetcher is None or function is None or function is default_collate:
        return
    place = Place(code.co_filename, code.co_firstlineno) if code is not None else None
    seen = 0

    def collate(samples: Any) -> Any:
        nonlocal seen
        before = list(samples) if isinstance(samples, list) and seen < LOOKED_AT else []
        batch = function(samples)
        seen += 1
        apart = collated_apart(before, batch)
        if apart is not None:
            told(apart, place)
        return batch

    fetcher.collate_fn = collate


def _columns(samples: Sequence[Any]) -> list[Column]:
    """What each sample has, as tensors; none where samples are unlike each other."""
    each = [tree_leaves(s) for s in samples]
    if len({len(leaves) for leaves in each}) != 1:
        return []
    found = []
    for column in zip(*each, strict=True):
        try:
            tensors = [torch.as_tensor(x).detach().cpu() for x in column]
        except (TypeError, ValueError, RuntimeError):  # words, objects
            continue
        if len({t.shape[1:] for t in tensors}) == len({t.ndim for t in tensors}) == 1:
            found.append(tensors)
    return found


def _order(column: Column, rows: Tensor) -> Tensor | None:
    """Which sample each row is, by what all have before their padding; None where they are not the same."""
    n, shape = len(column), column[0].shape[1:]
    if rows.ndim != column[0].ndim + 1 or rows.shape[2:] != shape:
        return None
    rows = rows if len(rows) == n else rows.transpose(0, 1)
    length = min(len(t) for t in column)
    if len(rows) != n or not 0 < length <= rows.shape[1]:
        return None
    drawn = torch.stack([t[:length] for t in column]).to(rows.dtype)
    codes = torch.cat([rows[:, :length], drawn]).flatten(1).unique(dim=0, return_inverse=True)[1]
    (one, first), (two, second) = codes[:n].sort(), codes[n:].sort()
    if not torch.equal(one, two) or len(one.unique()) < n:
        return None
    order = torch.empty_like(first)
    order[first] = second
    return order


def _told(orders: Sequence[Tensor], rows: Sequence[Tensor]) -> bool:
    """Whether the batch has an order, or its inverse."""
    given = [t.flatten() for t in rows if not t.is_floating_point() and t.numel() == len(orders[0])]
    return any(torch.equal(t.long(), p) for t in given for o in orders for p in (o, o.argsort()))
