"""Counts of eigenvalues below, inside and above a window, without the eigenvalues."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def inertia(A: Float[Tensor, "n n"]) -> tuple[int, int, int]:
    """Numbers of negative, zero and positive eigenvalues of a symmetric matrix.

    Sylvester's law of inertia: A and the block-diagonal D of its factorisation P A P^T = L D L^T (Bunch and Kaufman
    1977) have equally many of each sign. That takes a quarter of the arithmetic of the eigenvalues, and runs in blocks.

    Args:
        A: symmetric; the factorisation is in float64.
    """
    if A.shape[0] == 0:
        return 0, 0, 0
    factor, pivots, _ = torch.linalg.ldl_factor_ex(A.double())
    diagonal, below = factor.diagonal(), factor.diagonal(-1)
    # LAPACK marks the two rows of a 2 x 2 block by equal negative pivots.
    paired = pivots < 0
    single = diagonal[~paired]
    first = paired.nonzero().flatten()[::2]
    determinant = diagonal[first] * diagonal[first + 1] - below[first] ** 2
    trace = diagonal[first] + diagonal[first + 1]
    mixed = int((determinant < 0).sum())
    alike = determinant > 0
    negative = int((single < 0).sum()) + mixed + 2 * int((alike & (trace < 0)).sum())
    positive = int((single > 0).sum()) + mixed + 2 * int((alike & (trace > 0)).sum())
    flat = determinant == 0  # a singular block: one zero, or two
    negative += int((flat & (trace < 0)).sum())
    positive += int((flat & (trace > 0)).sum())
    return negative, A.shape[0] - negative - positive, positive


def window_counts(A: Float[Tensor, "n n"], window: float) -> tuple[int, int, int]:
    """Numbers of eigenvalues below ``-window``, in ``[-window, window]`` and above ``window``.

    Args:
        A: symmetric.
        window: half the window's width, at least 0.
    """
    used = A.abs().amax(dim=1) > 0  # parameters of dead units have empty rows: eigenvalue 0 without computation
    B = (A if bool(used.all()) else A[used][:, used]).double()
    shift = torch.full((B.shape[0],), window, dtype=B.dtype, device=B.device)
    below = inertia(B + torch.diag(shift))[0]
    above = inertia(B - torch.diag(shift))[2]
    return below, A.shape[0] - below - above, above
