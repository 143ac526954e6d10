"""Mixup: training on convex combinations of pairs of samples (Zhang et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor


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
