"""How signals and gradients grow or vanish through depth."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def activation_norm(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Mean over samples of the Euclidean norm of a layer's activation."""
    return activations.norm(dim=-1).mean(-1)


def gradient_norm(gradients: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Mean over samples of the norm of the gradient of that sample's loss by a layer's activation (orhan2018 fig. 6a).

    Args:
        gradients: of each sample's own loss (multiply by the number of samples if the loss was their mean).
    """
    return gradients.norm(dim=-1).mean(-1)
