"""How orthogonal a skip matrix is: its eigenvalues, and how correlated its eigenvectors and its rows are."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from nonsingular.checks import checked


@checked
def eigenvalues(matrix: Float[Tensor, "*run unit unit"]) -> Complex[Tensor, "*run mode"]:
    """Eigenvalues of a skip matrix, computed in float64, ordered by their angle from -pi to pi.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.skip_eigenvalues(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).real.sort().values
    tensor([2., 3.], dtype=torch.float64)
    """
    values = torch.linalg.eigvals(matrix.double())
    return values.gather(-1, values.angle().argsort(-1))


@checked
def eigenvector_correlations(matrix: Float[Tensor, "*run unit unit"]) -> Float[Tensor, "*run mode"]:
    """Eigenvalues of the correlations ``V^H V`` of a matrix's unit eigenvectors, from the largest down.

    All 1 if they are orthogonal (a normal matrix); they sum to the number of units. Orhan2018 Note 6 sets them.

    >>> import torch
    >>> import nonsingular as ns
    >>> Q = ns.networks.orthogonal(4, torch.Generator().manual_seed(0))  # its eigenvectors are uncorrelated
    >>> ns.measures.eigenvector_correlations(Q).round(decimals=4)
    tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    _, vectors = torch.linalg.eig(matrix.double())
    return torch.linalg.eigvalsh(vectors.mH @ vectors).flip(-1)


@checked
def row_correlations(matrix: Float[Tensor, "*run unit unit"]) -> Float[Tensor, "*run mode"]:
    """Eigenvalues of the correlations of a matrix's rows, the units' skip vectors, from the largest down.

    All 1 if the skip vectors are orthogonal; they sum to the number of units (orhan2018 §2.7).

    >>> import torch
    >>> import nonsingular as ns
    >>> S = ns.networks.copied(4, 2, torch.Generator().manual_seed(0))  # two vectors, two copies of each
    >>> ns.measures.row_correlations(S).round(decimals=4).abs()
    tensor([2., 2., 0., 0.], dtype=torch.float64)
    """
    rows = torch.nn.functional.normalize(matrix.double(), dim=-1)
    return torch.linalg.eigvalsh(rows @ rows.mT).flip(-1)
