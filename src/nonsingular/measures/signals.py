"""How signals and gradients grow or vanish through depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def activation_norm(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Mean over samples of the Euclidean norm of a layer's activation."""
    return _mean_norm(activations)


def gradient_norm(gradients: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Mean over samples of the norm of the gradient of that sample's loss by a layer's activation (orhan2018 fig. 6a).

    Args:
        gradients: of each sample's own loss (multiply by the number of samples if the loss was their mean).
    """
    return _mean_norm(gradients)


def _mean_norm(x: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    # In float64: the squares of a vanishing gradient leave the range of float32 long before the gradient itself does.
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).mean(-1).to(x.dtype)
