"""Mixup: training on convex combinations of pairs of samples (Zhang et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and labels of one network's batch -> their mean loss."""


@dataclass(frozen=True)
class Targets:
    """Labels; of mixed samples those of both, and the share of the first."""

    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None

    def of(self, run: int) -> Targets:
        """One run's."""
        if self.others is None or self.share is None:
            return Targets(self.labels[run])
        return Targets(self.labels[run], self.others[run], self.share[run])

    def loss(self, loss: Loss, outputs: Tensor) -> Tensor:
        """``loss``, of mixed samples the mean of both labels' losses by their shares."""
        first = loss(outputs, self.labels)
        if self.others is None or self.share is None:
            return first
        return self.share * first + (1 - self.share) * loss(outputs, self.others)


def partners(
    samples: int, alpha: float, keys: Sequence[np.random.SeedSequence]
) -> tuple[Int64[Tensor, "run sample"], Float[Tensor, " run"]]:
    """Each sample's partner in its batch, and the share that the sample keeps, Beta(alpha, alpha), one for a batch.

    Args:
        samples: of a batch.
        alpha: strength; near 0 samples stay nearly whole, 1 mixes uniformly.
        keys: what each run's numbers follow from.
    """
    drawn = [np.random.default_rng(key) for key in keys]
    share = torch.tensor([rng.beta(alpha, alpha) for rng in drawn], dtype=torch.float32)
    return torch.stack([torch.from_numpy(rng.permutation(samples)) for rng in drawn]), share


def mix(
    inputs: Float[Tensor, "run sample ..."], partner: Int64[Tensor, "run sample"], share: Float[Tensor, " run"]
) -> Float[Tensor, "run sample ..."]:
    """``share`` of each sample plus the rest of its partner."""
    share = share.to(inputs).view(-1, *[1] * (inputs.ndim - 1))
    return share * inputs + (1 - share) * torch.stack([x[p] for x, p in zip(inputs, partner, strict=True)])
