"""How orthogonal a skip matrix is: its eigenvalues, and how correlated its eigenvectors and its rows are."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def eigenvalues(matrix: Float[Tensor, "*run unit unit"]) -> Complex[Tensor, "*run mode"]:
    """Eigenvalues of a skip matrix, computed in float64, ordered by their angle from -pi to pi."""
    values = torch.linalg.eigvals(matrix.double())
    return values.gather(-1, values.angle().argsort(-1))


def eigenvector_correlations(matrix: Float[Tensor, "*run unit unit"]) -> Float[Tensor, "*run mode"]:
    """Eigenvalues of the correlations ``V^H V`` of a matrix's unit eigenvectors, from the largest down.

    All 1 if they are orthogonal (a normal matrix); they sum to the number of units. Orhan2018 Note 6 sets them.
    """
    _, vectors = torch.linalg.eig(matrix.double())
    return torch.linalg.eigvalsh(vectors.mH @ vectors).flip(-1)


def row_correlations(matrix: Float[Tensor, "*run unit unit"]) -> Float[Tensor, "*run mode"]:
    """Eigenvalues of the correlations of a matrix's rows, the units' skip vectors, from the largest down.

    All 1 if the skip vectors are orthogonal; they sum to the number of units (orhan2018 §2.7).
    """
    rows = torch.nn.functional.normalize(matrix.double(), dim=-1)
    return torch.linalg.eigvalsh(rows @ rows.mT).flip(-1)
