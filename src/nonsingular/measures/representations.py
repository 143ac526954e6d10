"""Linear dependence and conditioning of the hidden representations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def linear_dependence(activations: Float[Tensor, "*run sample unit"], top: int = 3) -> Float[Tensor, "*run"]:
    """Share of the variance in the ``top`` eigenmodes of the units' covariance, in (0, 1] (orhan2018 figure 4e).

    1 where nothing varies: no direction is left outside the top modes. NaN for activations that are not finite.
    """
    spectrum = _covariance_eigenvalues(activations)
    total = spectrum.sum(-1)
    return torch.where(total == 0, 1.0, spectrum.flip(-1)[..., :top].sum(-1) / total)


def effective_rank(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Exponential of the entropy of the normalised covariance eigenvalues, from 1 to the number of units.

    0 where nothing varies, NaN for activations that are not finite. Roy and Vetterli 2007, there with singular values
    instead of eigenvalues.
    """
    spectrum = _covariance_eigenvalues(activations)
    total = spectrum.sum(-1, keepdim=True)
    entropy = torch.special.entr(spectrum / total).sum(-1)
    return torch.where(total[..., 0] == 0, 0.0, entropy.exp())


def condition_number(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Largest over smallest singular value of the representation, in float64 (oyedotun2021).

    Infinite where the rank is deficient: where the smallest singular value is below the largest times the longer
    side times the machine epsilon of float64, the usual numerical rank. NaN for activations that are not finite.
    """
    matrix = activations.double()
    finite = torch.isfinite(matrix).flatten(-2).all(-1)
    # LAPACK raises on NaN and would take the healthy runs with it.
    values = torch.linalg.svdvals(torch.where(finite[..., None, None], matrix, 0.0))
    tolerance = values[..., 0] * max(matrix.shape[-2:]) * torch.finfo(torch.float64).eps
    ratio = torch.where(values[..., -1] > tolerance, values[..., 0] / values[..., -1], torch.inf)
    return torch.where(finite, ratio, torch.nan)


def _covariance_eigenvalues(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run mode"]:
    """Ascending, clipped at zero; NaN for a run whose activations are not finite."""
    # In float64, in whose range squares of any float32 lie; relative to the first sample, so that what does not vary
    # is exactly zero.
    matrix = activations.double()
    moved = matrix - matrix[..., :1, :]
    centred = moved - moved.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / activations.shape[-2]
    finite = torch.isfinite(covariance).flatten(-2).all(-1)
    values = torch.linalg.eigvalsh(torch.where(finite[..., None, None], covariance, 0.0)).clamp_min(0)
    return torch.where(finite[..., None], values, torch.nan)
