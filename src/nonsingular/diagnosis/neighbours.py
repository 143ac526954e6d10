"""Do inputs say anything of targets? Asked of the data alone: are the targets of nearest neighbours alike?"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.objective import Batch

SAMPLES = 512
NEIGHBOURS = 5
PERMUTATIONS = 199


def chance_of_neighbours(batch: Batch) -> float:
    """p-value of a permutation test: how often neighbours in permuted targets are as much alike as in these.

    Neighbours are nearest by Euclidean distance of standardised inputs; alike are equal classes, or near numbers.

    Args:
        batch: samples with one tensor of inputs and one of targets.

    Returns:
        1/200 to 1, small where neighbours have like targets; NaN where inputs are no numbers (see ``tokens``), where
        targets are not a row a sample, or where there are fewer than 32 samples.
    """
    x, y = _only(batch.inputs), _only(batch.target)
    if x is None or y is None or not x.is_floating_point() or not y.ndim or len(x) != len(y) or len(x) < 32:
        return math.nan
    x, y = x[:SAMPLES].detach().flatten(1).double(), y[:SAMPLES].detach().reshape(min(len(y), SAMPLES), -1)
    deviation = x.std(0)
    x = (x - x.mean(0))[:, deviation > 0] / deviation[deviation > 0]
    if not x.shape[1]:
        return math.nan
    rows = F.one_hot(y.long()).flatten(1).double() if not y.is_floating_point() else y.double()
    rows = (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-12)
    near = torch.cdist(x, x).fill_diagonal_(math.inf).topk(min(NEIGHBOURS, len(x) - 1), largest=False).indices
    generator = torch.Generator().manual_seed(0)
    own = _likeness(rows, near)
    others = [_likeness(rows[torch.randperm(len(rows), generator=generator)], near) for _ in range(PERMUTATIONS)]
    return (1 + sum(other >= own for other in others)) / (1 + PERMUTATIONS)


def _likeness(rows: Tensor, near: Tensor) -> float:
    return float((rows[:, None] * rows[near]).sum(-1).mean())


def _only(x: Any) -> Tensor | None:
    leaves = [t for t in tree_leaves(x) if isinstance(t, Tensor)]
    return leaves[0] if len(leaves) == 1 else None
