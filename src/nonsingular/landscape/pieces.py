"""What of the data is passed through the model at every point, cut into pieces where that changes nothing."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from nonsingular.errors import InputError
from nonsingular.landscape.subset import subset
from nonsingular.objective import FAILURES, Batch, Metric, NotAlike, Objective, merge

PIECES = 16
"""Pieces that a random subset is cut into at least, so that their spread gives a standard error."""


@dataclass(frozen=True)
class Pieces:
    """Data in pieces.

    Attributes:
        batches: the pieces.
        weights: of each in the mean (or sum).
        whole: the batches that were cut, or the subset of them.
    """

    batches: list[Batch]
    weights: list[float]
    whole: list[Batch]

    @classmethod
    def of(
        cls,
        objective: Objective,
        metrics: Mapping[str, Metric],
        *,
        size: int,
        asked: bool,
        samples: int,
        seed: int,
    ) -> Pieces:
        """The pieces of an objective's data.

        Args:
            objective: its data.
            metrics: measured beside the loss.
            size: samples of a piece at most.
            asked: whether the user named the size: then a loss that cannot be cut is refused.
            samples: in a random subset, or all there are.
            seed: of the subset.

        Raises:
            InputError: a subset, or a size that was asked for, that changes the loss or a metric.
        """
        total = sum(b.samples for b in objective.batches)
        if samples < total:
            objective = _part(objective, samples, seed)
            size = size if asked else min(size, max(1, samples // PIECES))
        found = objective.cut(size)
        mixing = [n for n, m in metrics.items() if found is not None and not _additive(objective, m, *found)]
        if asked and (found is None or mixing):
            what = f"the metric {mixing[0]}" if mixing else "the loss"
            raise InputError(f"microbatch changes {what}: it is not a mean over independent samples; leave it out")
        if found is None or mixing:
            found = list(objective.batches), list(objective.weights)
        return cls(*found, list(objective.batches))


def _part(objective: Objective, samples: int, seed: int) -> Objective:
    """A random subset of the data, where samples can be told apart and the loss is a mean over them."""
    third = -(-max(b.samples for b in objective.batches) // 3)
    rule = objective.rule
    used = subset(objective.batches, samples, seed) if objective.cut(third) is not None else []
    weights = [1.0 if objective.reduction == "sum" else rule(b) if rule else None for b in used]
    known = [w for w in weights if w is not None]
    if not used or len(known) < len(used):
        raise InputError("a subset of the samples needs a loss that is a mean over samples; leave samples out")
    return objective.on(used, known)


def _additive(objective: Objective, metric: Metric, pieces: Sequence[Batch], weights: Sequence[float]) -> bool:
    """Whether a metric of each batch is the mean of its pieces', at the weights and away from them."""
    for batch in objective.batches:
        parts = [(p, w) for p, w in zip(pieces, weights, strict=True) if p.index == batch.index]
        if len(parts) > 1:
            shares = [p.samples if objective.reduction == "sum" else w for p, w in parts]
            for away in (0, 1):
                state = objective.off_centre(away)
                try:
                    whole, each = _measured(objective, metric, state, batch, [p for p, _ in parts])
                except (NotAlike, *FAILURES):
                    return False
                mean = sum(s * v for s, v in zip(shares, each, strict=True)) / sum(shares)
                if not math.isclose(mean, whole, rel_tol=1e-4, abs_tol=1e-6):
                    return False
    return True


def _measured(
    objective: Objective, metric: Metric, state: Mapping[str, torch.Tensor], batch: Batch, parts: Sequence[Batch]
) -> tuple[float, list[float]]:
    """A metric of a batch and of its parts, of the same outputs: a step would jump by how they are rounded."""
    if objective.form not in ("output", "own"):
        whole, *each = (float(objective.measured(state, b, [metric])[1]) for b in (batch, *parts))
        return whole, each
    outputs = [objective.output(state, p) for p in parts]
    together = functools.reduce(merge, outputs)
    return float(metric(together, batch.target)), [
        float(metric(o, p.target)) for o, p in zip(outputs, parts, strict=True)
    ]
