"""A random subset of the data, the same at every point of a surface, and what leaving out the rest costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from nonsingular.objective import Batch


def subset(batches: Sequence[Batch], count: int, seed: int) -> list[Batch]:
    """``count`` samples drawn from all batches without replacement, in their order."""
    total = sum(b.samples for b in batches)
    if count == total:
        return list(batches)
    chosen = np.sort(np.random.default_rng(seed).permutation(total)[:count])
    ends = np.cumsum([b.samples for b in batches])
    found = []
    for batch, end in zip(batches, ends, strict=True):
        rows = torch.as_tensor(chosen[(chosen >= end - batch.samples) & (chosen < end)] - (end - batch.samples))
        if len(rows):
            found.append(batch.take(rows, len(rows)))
    return found


def estimate(
    losses: Float[np.ndarray, " piece"], samples: Sequence[float], total: int, reduction: str = "mean"
) -> tuple[float, float]:
    """The loss over all samples from that of pieces of a random subset, and its standard error.

    The error is relative to all samples given, which are finitely many: 0 where all were used, NaN where one piece
    shows no spread.

    Args:
        losses: of the pieces.
        samples: in each piece, or what it weighs in all of them together.
        total: samples given in all.
        reduction: of a piece's loss over its samples: ``mean`` or ``sum``.
    """
    n = np.array(samples, float)
    means = losses / n if reduction == "sum" else losses
    mean = float(n @ means / n.sum())
    scale = total if reduction == "sum" else 1.0
    if math.isclose(n.sum(), total):
        return scale * mean, 0.0
    if len(n) < 2:
        return scale * mean, math.nan
    variance = float(n**2 @ (means - mean) ** 2) / n.sum() ** 2 * len(n) / (len(n) - 1)
    return scale * mean, scale * math.sqrt((1 - n.sum() / total) * variance)
