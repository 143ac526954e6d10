"""What ids, columns and classes mean: whether they mean the same in held-out data as in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.samples import ENOUGH, MANY
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import evenly, is_mask
from nonsingular.objective import Batch

IDS = 512  # that are told apart: those of a larger vocabulary share their places
FEWEST = 8  # rows of counts, from where a division at random says something
DIVISIONS = 39
OTHER_IDS = "share of the token ids in another place of their distribution than in training, beyond chance"
ONE_CODE = "Make one vocabulary, or one encoder, from the training data, and use it for all splits."


def frequencies(x: Integer[Tensor, "sample *place"]) -> Float[Tensor, "id"]:
    """How often each token id occurs in a batch, by its remainder of ``IDS``."""
    return torch.bincount(x.detach().flatten().cpu() % IDS, minlength=IDS).float()


def other_ids(train: Float[Tensor, "row id"], test: Float[Tensor, "other id"]) -> float:
    """By how much ids are distributed otherwise than in training: total variation distance beyond that of chance.

    Chance is what the same rows show when they are divided at random. The most frequent id is left out: it may be
    padding, of which batches have more or less.

    Args:
        train: counts of ids, a row for each sample or batch.
        test: the same of an evaluation.

    Returns:
        0 to 1; NaN where there are too few rows.

    >>> counts = torch.eye(8).repeat(8, 1)
    >>> other_ids(counts, counts[:16])
    0.0
    >>> other_ids(counts[counts[:, :4].any(1)], counts[counts[:, 4:].any(1)]) > 0.4
    True
    """
    if len(train) < FEWEST or not len(test):
        return math.nan
    both = torch.cat([train, test]).double()
    both[:, int(both.sum(0).argmax())] = 0
    if float(both[: len(train)].sum()) <= 0 or float(both[len(train) :].sum()) <= 0:
        return math.nan
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(len(both)), *(torch.randperm(len(both), generator=generator) for _ in range(DIVISIONS))]
    own, *others = (_distance(both[order[: len(train)]].sum(0), both[order[len(train) :]].sum(0)) for order in orders)
    return max(0.0, own - max(others))


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a / a.sum().clamp_min(1) - b / b.sum().clamp_min(1)).abs().sum() / 2)


def held_out_ids(batches: Sequence[Batch], held_out: Sequence[Batch]) -> Statistic:
    """As ``other_ids``, of the samples of training and those of an evaluation."""
    train, test = ([c for b in part if (c := _by_sample(b)) is not None] for part in (batches, held_out))
    if not train or not test:
        return Statistic(math.nan, (), OTHER_IDS)
    return Statistic(other_ids(torch.cat(train), torch.cat(test)), (), OTHER_IDS, remedy=ONE_CODE)


def _by_sample(batch: Batch) -> Tensor | None:
    """Counts of token ids, a row for each sample; None where inputs are no tokens."""
    x = _tokens(batch)
    if x is None:
        return None
    flat = x.detach().flatten(1).cpu() % IDS
    return torch.zeros(len(flat), IDS).scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))


def _tokens(batch: Batch) -> Tensor | None:
    leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor) and t.ndim and len(t) == batch.samples]
    whole = [t for t in leaves if t.dtype == torch.long and t.ndim > 1 and t.numel()]
    return next((t for t in whole if not is_mask(t)), None)


COLUMNS, TARGETS = 512, 64  # of inputs and targets that are held against each other
KNOWN = 0.5  # cosine between what two parts of the training data say, from where they say something
SAME_MEANING = (
    "Use one encoder, one order of columns and one numbering of classes for all splits; where they are the same, "
    "held-out data are of another kind, and training needs such data too."
)
OTHER_MEANING = (
    "share that is lost, in held-out data, of what inputs say of targets in training: correlations of columns or ids"
)


def held_out_meaning(batches: Sequence[Batch], held_out: Sequence[Batch]) -> Statistic:
    """How much less correlations of inputs and targets in held-out data are those of training than training's own are.

    An id, a column or a class that means something else in held-out data is correlated with other things there.
    """
    unknown = Statistic(math.nan, (), OTHER_MEANING)
    sides = [_tables(part, batches) for part in (batches, held_out)]
    if any(side is None for side in sides):
        return unknown
    (x, y), (x_test, y_test) = sides  # type: ignore[misc]
    n = min(len(x_test), len(x) // 2)
    if n < ENOUGH or x.shape[1] != x_test.shape[1] or y.shape[1] != y_test.shape[1]:
        return unknown
    generator = torch.Generator().manual_seed(0)
    own, apart = [], []
    for _ in range(5):
        order, other = (torch.randperm(len(t), generator=generator) for t in (x, x_test))
        whole = _correlations(x[order[n:]], y[order[n:]])
        own.append(_cosine(whole, _correlations(x[order[:n]], y[order[:n]])))
        apart.append(_cosine(whole, _correlations(x_test[other[:n]], y_test[other[:n]])))
    usual, there = median(own), median(apart)
    if usual < KNOWN:
        return unknown
    evidence = (
        {"measure": "likeness (cosine) of the correlations of two parts of the training data", "value": usual},
        {"measure": "of training and held-out data", "value": there},
    )
    return Statistic(1 - there / usual, (), OTHER_MEANING, "", evidence, SAME_MEANING)


def _tables(part: Sequence[Batch], train: Sequence[Batch]) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets as two tables; ids and classes as columns of zeros and ones, or of counts."""
    found = [_table(batch, _classes(train)) for batch in part]
    if not found or any(f is None for f in found) or len({f[0].shape[1] for f in found if f is not None}) != 1:
        return None
    xs, ys = zip(*(f for f in found if f is not None), strict=True)
    return (torch.cat(xs), torch.cat(ys)) if len({y.shape[1] for y in ys}) == 1 else None


def _classes(batches: Sequence[Batch]) -> int:
    """One more than the largest class, at most ``TARGETS``."""
    wholes = [b.target for b in batches if isinstance(b.target, Tensor) and not b.target.is_floating_point()]
    return min(TARGETS, 1 + max((int(t.max()) for t in wholes if t.numel()), default=0))


def _table(batch: Batch, classes: int) -> tuple[Tensor, Tensor] | None:
    """Negative targets are left out: they stand for no class (padding that a loss ignores)."""
    y, ids = batch.target, _tokens(batch)
    if not isinstance(y, Tensor) or not y.ndim or len(y) != batch.samples or y.is_complex():
        return None
    y = y.detach().cpu()
    if ids is not None and y.shape == ids.shape and not y.is_floating_point():  # a token and what follows it
        kept = (y >= 0).nonzero(as_tuple=True)
        return _ones(ids.cpu()[kept][:MANY] % TARGETS, TARGETS), _ones(y[kept][:MANY] % TARGETS, TARGETS)
    x = _by_sample(batch) if ids is not None else _numbers(batch)
    if x is None:
        return None
    if y.is_floating_point():
        rows = y.flatten(1) if y.ndim > 1 else y[:, None]
        return x.double(), rows[:, :TARGETS].double()
    if y.numel() != len(y) or classes < 2:
        return None
    y = y.flatten()
    return x[y >= 0].double(), _ones(y[y >= 0].clamp(max=classes - 1), classes)


def _ones(classes: Integer[Tensor, " sample"], count: int) -> Float[Tensor, "sample class"]:
    return F.one_hot(classes.long(), count).double()


def _numbers(batch: Batch) -> Tensor | None:
    leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor)]
    if len(leaves) != 1 or not leaves[0].is_floating_point() or leaves[0].ndim < 2 or len(leaves[0]) != batch.samples:
        return None
    flat = leaves[0].detach().cpu().flatten(1)
    return flat[:, evenly(flat.shape[1], COLUMNS)]


def _correlations(x: Tensor, y: Tensor) -> Tensor:
    a, b = ((t - t.mean(0)) / t.std(0).clamp_min(1e-12) for t in (x, y))
    return a.T @ b / len(x)


def _cosine(a: Tensor, b: Tensor) -> float:
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 0 else 0.0
