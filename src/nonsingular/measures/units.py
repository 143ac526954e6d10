"""Distance of units from the elimination and overlap singularities (orhan2018 §2.1, figure 4)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nonsingular import checks
from nonsingular.checks import checked


@checked
def incoming(weight: Float[Tensor, "*run unit *shape"], stacked: bool = False) -> Float[Tensor, "*run unit input"]:
    """Incoming weights, one row a unit: linear weights as they are, convolution kernels flattened.

    Args:
        weight: of a linear or convolutional layer; the unit of a convolution is the output channel.
        stacked: whether a ``run`` axis leads.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.incoming(torch.nn.Conv2d(3, 8, 5).weight).shape
    torch.Size([8, 75])
    """
    checks.axes(3 if stacked else 2, weight=weight)
    return weight.flatten(2 if stacked else 1)


@checked
def responses(activation: Float[Tensor, "*run sample unit *place"], stacked: bool = False) -> Tensor:
    """Responses as ``[*run, sample, unit]``: a convolution's places count as further samples of its channels.

    Args:
        activation: output of a linear or convolutional layer.
        stacked: whether a ``run`` axis leads.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.responses(torch.zeros(10, 8, 4, 4)).shape  # sample, channel and 4 x 4 places
    torch.Size([160, 8])
    """
    checks.axes(3 if stacked else 2, activation=activation)
    unit = 2 if stacked else 1
    return activation.movedim(unit, -1).flatten(unit - 1, -2) if activation.ndim > unit + 1 else activation


@checked
def incoming_norm(weights: Float[Tensor, "*run unit input"]) -> Float[Tensor, "*run unit"]:
    """Euclidean norm of each unit's incoming weights; 0 is an elimination singularity (figure 4c).

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.incoming_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([5., 0.])
    """
    return weights.norm(dim=-1)


@checked
def mean_overlap(weights: Float[Tensor, "*run unit input"]) -> Float[Tensor, "*run"]:
    """Mean over pairs of units of the correlation of their incoming weights, in [-1, 1] (figure 4d).

    Pairs with a unit whose weights are all equal have no correlation and are left out; NaN if no pair remains, or for
    weights that are not finite.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.mean_overlap(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    tensor(1.)
    """
    correlation, valid = _pair_correlations(weights)
    pairs = valid.sum((-2, -1))
    return torch.where(valid, correlation, 0.0).sum((-2, -1)) / pairs


@checked
def maximum_overlap(weights: Float[Tensor, "*run unit input"]) -> Float[Tensor, "*run"]:
    """Largest correlation of the incoming weights of two units; 1 is an overlap singularity.

    NaN if no pair of units has a correlation, or for weights that are not finite.

    >>> import torch
    >>> import nonsingular as ns
    >>> weights = torch.tensor([[1.0, 0.0, 2.0], [2.0, 0.0, 4.0], [0.0, 1.0, 0.0]])  # the first two point alike
    >>> ns.measures.maximum_overlap(weights).round(decimals=4)
    tensor(1.)
    """
    correlation, valid = _pair_correlations(weights)
    largest = torch.where(valid, correlation, -torch.inf).amax((-2, -1))
    return torch.where(valid.any(-1).any(-1), largest, torch.nan)


def _pair_correlations(
    weights: Float[Tensor, "*run unit input"],
) -> tuple[Float[Tensor, "*run unit unit"], Bool[Tensor, "*run unit unit"]]:
    """Pearson correlations, and which entries are pairs of two different units that both vary."""
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))  # half precision would swamp small spreads
    centred = weights - weights.mean(-1, keepdim=True)
    norm = centred.norm(dim=-1, keepdim=True)
    # Centring equal weights leaves rounding, not zero: below this a unit has no direction. Negated, so that NaN stays.
    varies = ~(norm <= 1e3 * torch.finfo(weights.dtype).eps * weights.norm(dim=-1, keepdim=True))
    unit = torch.where(varies, centred / norm, 0.0)
    correlation = unit @ unit.mT
    valid = (varies & varies.mT).tril(-1)
    return correlation, valid


@checked
def zero_response(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Probability that a unit's response to a sample is exactly zero (figure 7b); NaN if a response is NaN.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.zero_response(torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]))
    tensor(0.5000)
    """
    return _zeros(activations).mean((-2, -1))


@checked
def dead_units(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Share of units that respond with zero to every sample; NaN if a response is NaN.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.dead_units(torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 0.0]]))
    tensor(0.5000)
    """
    return _zeros(activations).amin(-2).mean(-1)


def _zeros(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run sample unit"]:
    """1 where a response is zero, 0 elsewhere; a run that broke down must not look alive, so NaN stays NaN."""
    return torch.where(activations.isnan(), torch.nan, (activations == 0).to(torch.float32))
