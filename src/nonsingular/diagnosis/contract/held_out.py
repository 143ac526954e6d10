"""Held-out data against those of training: the same samples, or inputs of another size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.samples import MANY, rows
from nonsingular.diagnosis.records import Statistic
from nonsingular.objective import Batch

UNLIKE = "decades of the inputs' size, or half deviations of their mean, by which test data are unlike training data"
SCALED = (
    "Give test data what training data are given: the same normalisation, with the training set's mean and deviation."
)


def unlike(train: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]) -> float:
    """By how much more than one batch from another test inputs differ from those of training; 0 where they do not.

    Args:
        train: mean and standard deviation of batches of training, at least two.
        test: of batches of an evaluation.

    >>> unlike([(0.0, 1.0), (0.02, 1.01)], [(0.1, 0.25)]) > 0.6
    True
    >>> unlike([(0.0, 1.0), (0.4, 1.3)], [(0.3, 1.2)])
    0.0
    """
    mean, deviation = (median(level[i] for level in train) for i in (0, 1))
    if not deviation > 0:
        return math.nan

    def away(level: tuple[float, float]) -> tuple[float, float]:
        scale = max(level[1], 1e-12 * deviation) / deviation
        return abs(level[0] - mean) / (2 * deviation), abs(math.log10(scale))

    there = away((median(m for m, _ in test), median(s for _, s in test)))
    usual = [max(way) for way in zip(*map(away, train), strict=True)]
    return max((t for t, u in zip(there, usual, strict=True) if t > 3 * u), default=0.0)


def level(x: Tensor) -> tuple[float, float] | None:
    """Mean and standard deviation of numbers; None of tokens."""
    if not x.is_floating_point() or x.numel() < 2:
        return None
    flat = x.detach().flatten()
    flat = flat[:: max(1, len(flat) // MANY)].double()
    return float(flat.mean()), float(flat.std())


def held_out_scale(batches: Sequence[Batch], held_out: Sequence[Batch]) -> Statistic:
    """As ``unlike``, of the batches of training and those of an evaluation."""
    found = []
    for part in (batches, held_out):
        leaves = [[t for t in tree_leaves(b.inputs) if isinstance(t, Tensor)] for b in part]
        alone = [found[0] for found in leaves if len(found) == 1]
        # Where there is one batch, its halves tell how much batches differ.
        pieces = [piece for x in alone if x.ndim and len(x) > 3 for piece in x.chunk(2)]
        found.append([known for x in pieces if (known := level(x)) is not None])
    train, test = found
    if len(train) < 2 or not test:
        return Statistic(math.nan, (), UNLIKE)
    return Statistic(unlike(train, test), (), UNLIKE, "", levels_as_evidence(train, test), SCALED)


def levels_as_evidence(
    train: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]
) -> tuple[dict[str, float | str], ...]:
    """Usual means and deviations, as evidence."""
    return tuple(
        {"measure": f"{what} of the inputs of {where}", "value": median(level[i] for level in levels)}
        for where, levels in (("training", train), ("testing", test))
        for i, what in enumerate(("mean", "standard deviation"))
    )


def leakage(batches: Sequence[Batch], held_out: Sequence[Batch]) -> Statistic:
    """Share of held-out samples whose inputs are also in training.

    Args:
        batches: of training.
        held_out: of the evaluation.
    """
    words = "share of held-out samples that are also in training"
    train, test = rows(batches), rows(held_out)
    if not train or not test:
        return Statistic(math.nan, (), words)
    known = set(train)
    share = sum(row in known for row in test) / len(test)
    evidence = (
        {"measure": "held-out samples", "value": len(test)},
        {"measure": "also in training", "value": round(share * len(test))},
    )
    remedy = "Split before anything is drawn, repeated or augmented, and by what belongs together."
    return Statistic(share, (), words, "", evidence, remedy)
