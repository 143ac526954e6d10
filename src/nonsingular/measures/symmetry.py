"""How alike the features of a layer are: weight correlations, unique features, and what breaks their symmetry."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nonsingular import checks
from nonsingular.checks import checked


@checked
def forward_correlation(
    weight: Float[Tensor, "*run output input *kernel"], centred: bool = False, stacked: bool = False
) -> Float[Tensor, "*run"]:
    """Mean over pairs of output channels of the correlation of the weights that make them (blumenfeld2020 eq. 5).

    1 if all features are identical, 0 if they are orthogonal. A pair with a filter that has no direction counts as 1,
    as the paper counts the zero start. NaN for a single channel and for weights that are not finite.

    Args:
        weight: of a linear or convolutional layer.
        centred: subtract each filter's mean first, Pearson's correlation. The text defines the uncentred form (cosine);
            the figures show the centred one. They differ where the weights of a filter have a mean.
        stacked: whether a ``run`` axis leads.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.forward_correlation(torch.ones(3, 4)), ns.measures.forward_correlation(torch.eye(3))
    (tensor(1., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    checks.axes(3 if stacked else 2, weight=weight)
    return _mean_correlation(weight.flatten(2 if stacked else 1), centred)


@checked
def backward_correlation(
    weight: Float[Tensor, "*run output input *kernel"], centred: bool = False, stacked: bool = False
) -> Float[Tensor, "*run"]:
    """The same over pairs of input channels and the weights that read them (blumenfeld2020 eq. 6).

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.backward_correlation(torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    tensor(1.0000, dtype=torch.float64)
    """
    checks.axes(3 if stacked else 2, weight=weight)
    output = 1 if stacked else 0
    return forward_correlation(weight.transpose(output, output + 1), centred, stacked)


def _mean_correlation(rows: Float[Tensor, "*run row weight"], centred: bool) -> Float[Tensor, "*run"]:
    rows = rows.double()
    size = rows.norm(dim=-1, keepdim=True)
    if centred:
        rows = rows - rows.mean(-1, keepdim=True)
    norm = rows.norm(dim=-1, keepdim=True)
    # Centring equal float32 weights leaves rounding, not zero. Negated, so that NaN stays.
    defined = ~(norm <= 1e3 * torch.finfo(torch.float64).eps * size)
    unit = torch.where(defined, rows / norm, 0.0)
    count = rows.shape[-2]
    pairs = count * (count - 1)
    directed = defined.sum((-2, -1))
    # The sum over pairs of products is the square of the sum, less the diagonal.
    total = unit.sum(-2).square().sum(-1) - directed + (pairs - directed * (directed - 1))
    return total / pairs if pairs else torch.full_like(total, torch.nan)


@checked
def unique_features(weight: Float[Tensor, "*run output input *kernel"], stacked: bool = False) -> Int64[Tensor, "*run"]:
    """Number of output channels whose weights differ, to the bit, from those of all the others before them.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.unique_features(torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 3.0]]))
    tensor(2)
    """
    checks.axes(3 if stacked else 2, weight=weight)
    if stacked:
        return torch.stack([unique_features(w) for w in weight])
    return torch.tensor(len(weight.flatten(1).unique(dim=0)), device=weight.device)


@checked
def symmetry_breaking(responses: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Size of the part of features, or of gradients by them, that differs between units, over their whole size.

    The norm of the projection on the complement of the all-ones direction, divided by the norm: 0 if all units respond
    alike, at most 1 (blumenfeld2020 appendix G, figures 9 and 10). NaN where there is no response at all.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.symmetry_breaking(torch.ones(5, 3)), ns.measures.symmetry_breaking(torch.tensor([[1.0, -1.0]]))
    (tensor(0., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    responses = responses.double()
    # Relative to the first unit, so that responses which are equal leave nothing, not even rounding.
    apart = responses - responses[..., :1]
    broken = (apart - apart.mean(-1, keepdim=True)).flatten(-2).norm(dim=-1)
    return broken / responses.flatten(-2).norm(dim=-1)
