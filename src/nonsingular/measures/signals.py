"""How signals and gradients grow or vanish through depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.checks import checked


@checked
def activation_norm(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Mean over samples of the Euclidean norm of a layer's activation.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.activation_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor(3.)
    """
    return _mean_norm(activations)


@checked
def gradient_norm(gradients: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Mean over samples of the norm of the gradient of that sample's loss by a layer's activation (orhan2018 fig. 6a).

    Args:
        gradients: of each sample's own loss (multiply by the number of samples if the loss was their mean).

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.gradient_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor(3.)
    """
    return _mean_norm(gradients)


ADAM_EPSILON = 1e-8
"""What Adam adds to the root of a gradient's second moment (Kingma and Ba 2015): smaller gradients are damped."""


@checked
def below_epsilon(gradients: Float[Tensor, "*run unit input"], epsilon: float = ADAM_EPSILON) -> Float[Tensor, "*run"]:
    """Share of weights whose gradient is smaller than Adam's epsilon, so that Adam no longer rescales its step.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.below_epsilon(torch.tensor([[1e-3, 1e-9], [0.0, 1e-2]]))
    tensor(0.5000)
    """
    # A run that broke down is not one without gradients, so NaN stays NaN.
    small = torch.where(gradients.isnan(), torch.nan, (gradients.abs() < epsilon).to(gradients.dtype))
    return small.mean((-2, -1))


@checked
def root_mean_square(gradients: Float[Tensor, "*run unit input"]) -> Float[Tensor, "*run"]:
    """Root of the mean squared gradient of a layer's weights.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.root_mean_square(torch.tensor([[3.0, -3.0], [3.0, 3.0]]))
    tensor(3.)
    """
    return gradients.double().square().mean((-2, -1)).sqrt().to(gradients.dtype)


def _mean_norm(x: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    # In float64: the squares of a vanishing gradient leave the range of float32 long before the gradient itself does.
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).mean(-1).to(x.dtype)
