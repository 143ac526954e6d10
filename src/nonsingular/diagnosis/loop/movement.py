"""What a step did to the weights, measured on the weights themselves, whatever the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, count_nonzero, nn
from torch.linalg import vector_norm
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from nonsingular.diagnosis.loop.records import Movement

TOLD = 64  # entries of a parameter that tell it from what it was before
DECOUPLED = ("AdamW", "NAdamW", "Lion")  # decay apart from the gradient
ADAPTIVE = ("Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop")


@torch.no_grad()
def movements(
    parameters: Iterable[nn.Parameter], before: Mapping[int, Tensor], gradients: Mapping[int, Tensor] | None = None
) -> dict[int, Movement]:
    """Of each parameter, by id.

    Args:
        parameters: after the step.
        before: id -> value before it.
        gradients: id -> gradient that it was made of; by default ``.grad`` as it is now.
    """
    rows: dict[int, list[Tensor]] = {}
    for p in parameters:
        old = before[id(p)].float().reshape(-1)
        change = p.detach().float().reshape(-1) - old
        g = _dense(gradients[id(p)] if gradients is not None else p.grad, p).reshape(-1)
        rows[id(p)] = [
            vector_norm(old), vector_norm(change), vector_norm(g), g.dot(change), old.dot(change), old.dot(g),
            count_nonzero(g).float(), count_nonzero((g != 0) & (change == 0)).float(),
        ]  # fmt: skip
    return {i: _movement(before[i].numel(), *values) for i, values in _fetch(rows).items()}


def _movement(
    entries: int, weight: float, moved: float, gradient: float, uphill: float, grown: float, along: float,
    wanted: float, still: float,
) -> Movement:  # fmt: skip
    """From the three norms, the products of gradient, weights and change, and the numbers of entries."""
    zeros = 1 - wanted / entries if entries else math.nan
    return Movement(weight, moved, gradient, uphill, -grown, still / max(wanted, 1), zeros, -along)


@torch.no_grad()
def norms(tensors: Mapping[int, Tensor | None]) -> dict[int, float]:
    """Euclidean norm of each."""
    rows = {i: [vector_norm(_values(t).float())] for i, t in tensors.items() if t is not None}
    return {i: values[0] for i, values in _fetch(rows).items()}


@torch.no_grad()
def not_zero(parameters: Iterable[nn.Parameter]) -> set[int]:
    """Ids of those with a gradient that is not zero everywhere."""
    rows = {id(p): [_values(p.grad).ne(0).any().float()] for p in parameters if p.grad is not None}
    return {i for i, values in _fetch(rows).items() if values[0]}


@torch.no_grad()
def decay_share(optimiser: Optimizer) -> float:
    """Norm of weight decay's part over that of the gradient's part, in what this step adds up; 0 without decay."""
    decay, gradient = 0.0, 0.0
    for group in optimiser.param_groups:
        factor = float(group.get("weight_decay") or 0.0)
        own = [p for p in group["params"] if p.grad is not None]
        if not own:
            continue
        size = sum(n * n for n in norms({id(p): p for p in own}).values())
        if _decoupled(optimiser, group):
            # An adaptive step is about one learning rate an entry, whatever the gradient's size.
            gradient += sum(p.numel() for p in own)
        else:
            gradient += sum(n * n for n in norms({id(p): p.grad for p in own}).values())
        decay += factor * factor * size
    if not decay:
        return 0.0
    return math.sqrt(decay / gradient) if gradient else math.inf


def coupled(optimiser: Optimizer) -> dict[int, float]:
    """Id of each parameter to whose gradient decay is added -> its factor."""
    return {
        id(p): factor
        for group in optimiser.param_groups
        if (factor := float(group.get("weight_decay") or 0.0)) and not _decoupled(optimiser, group)
        for p in group["params"]
    }


def _decoupled(optimiser: Optimizer, group: Mapping[str, Any]) -> bool:
    return type(optimiser).__name__ in DECOUPLED or bool(group.get("decoupled_weight_decay"))


def some(p: Tensor, most: int = 4096) -> Tensor:
    """A copy of some entries, spread evenly."""
    flat = p.detach().reshape(-1)
    return flat[:: max(1, -(-len(flat) // most))].clone()


def running_statistics(module: nn.Module) -> dict[int, tuple[Tensor, Tensor]]:
    """Copies of the running mean and variance of each normalisation that has them, by its id."""
    return {
        id(m): (m.running_mean.clone(), m.running_var.clone())
        for m in module.modules()
        if isinstance(m, _NormBase) and m.running_mean is not None and m.running_var is not None
    }


@torch.no_grad()
def still_there(before: Sequence[Tensor], after: Sequence[Tensor], now: Sequence[Tensor]) -> float:
    """Part of the way from ``before`` to ``after`` that is left ``now``, along that way; NaN where nothing moved."""
    ways = [(b.float() - a.float(), c.float() - a.float()) for a, b, c in zip(before, after, now, strict=True)]
    moved = sum(float((w * w).sum()) for w, _ in ways)
    return sum(float((w * v).sum()) for w, v in ways) / moved if moved else math.nan


def factor(root: Tensor) -> float:
    """By which number a loss was multiplied last; 1 where it was not."""
    node, found = root.grad_fn, 1.0
    while node is not None and node.name() in ("MulBackward0", "DivBackward0", "NegBackward0"):
        if node.name() == "NegBackward0":
            node, found = node.next_functions[0][0], -found
            continue
        number = getattr(node, "_saved_other", None)
        befores = [before for before, _ in node.next_functions if before is not None]
        if number is None or number.numel() != 1 or len(befores) != 1 or not float(number):
            break
        found = found * float(number) if node.name() == "MulBackward0" else found / float(number)
        node = befores[0]
    return found


def shrinkage(optimiser: Optimizer) -> float:
    """Part of itself that weight decay takes from a weight in this step, in the group where it is most."""
    return max(
        (float(g.get("lr", 0.0)) * float(g.get("weight_decay") or 0.0) for g in optimiser.param_groups), default=0.0
    )


def total(norms: Iterable[float]) -> float:
    """The norm of several tensors together, by theirs."""
    return math.sqrt(sum(n * n for n in norms))


def _dense(gradient: Tensor | None, p: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(p, dtype=torch.float32)
    return (gradient.to_dense() if gradient.is_sparse else gradient).detach().float()


def _values(t: Tensor) -> Tensor:
    return t.coalesce().values() if t.is_sparse else t.detach()


def _fetch(rows: Mapping[int, list[Tensor]]) -> dict[int, list[float]]:
    """All numbers in one transfer a device."""
    found: dict[int, list[float]] = {}
    for device in {r[0].device for r in rows.values()}:
        ids = [i for i, r in rows.items() if r[0].device == device]
        if ids:
            table = torch.stack([torch.stack(rows[i]) for i in ids]).tolist()
            found |= dict(zip(ids, table, strict=True))
    return found
