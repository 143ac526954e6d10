"""Counts of eigenvalues below, inside and above a window, without the eigenvalues."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import checks
from nonsingular.checks import checked


@checked
def inertia(A: Float[Tensor, "n n"]) -> tuple[int, int, int]:
    """Numbers of negative, zero and positive eigenvalues of a symmetric matrix.

    Sylvester's law of inertia: A and the block-diagonal D of its factorisation P A P^T = L D L^T (Bunch and Kaufman
    1977) have equally many of each sign. That takes a quarter of the arithmetic of the eigenvalues, and runs in blocks.

    Args:
        A: symmetric; the factorisation is in float64.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.curvature.inertia(torch.diag(torch.tensor([3.0, 1.0, 0.0, -2.0])))
    (1, 1, 2)
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


LARGE = 6000  # rows from which counts by a subspace are tried before a factorisation
BLOCK = 128  # columns added to the subspace at a time
MOST_BLOCKS = 8


@checked
def window_counts(A: Float[Tensor, "n n"], window: float) -> tuple[int, int, int]:
    """Numbers of eigenvalues below ``-window``, in ``[-window, window]`` and above ``window``.

    Large matrices are counted from a subspace where that is proven to be enough (`subspace_counts`), all others by
    factorisation at both edges.

    Args:
        A: symmetric.
        window: half the window's width, at least 0.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.curvature.window_counts(torch.diag(torch.tensor([3.0, 1.0, 0.05, -2.0])), window=0.1)
    (1, 1, 2)
    """
    checks.positive(window=window)
    used = A.abs().amax(dim=1) > 0  # parameters of dead units have empty rows: eigenvalue 0 without computation
    B = (A if bool(used.all()) else A[used][:, used]).double()
    found = subspace_counts(B, window, BLOCK) if len(B) >= LARGE else None
    if found is None:
        shift = torch.full((B.shape[0],), window, dtype=B.dtype, device=B.device)
        found = inertia(B + torch.diag(shift))[0], inertia(B - torch.diag(shift))[2]
    below, above = found
    return below, A.shape[0] - below - above, above


def subspace_counts(A: Float[Tensor, "n n"], window: float, block: int) -> tuple[int, int] | None:
    r"""Numbers of eigenvalues below ``-window`` and above ``window`` with a proof, or None where there is none.

    Q has orthonormal columns (a block Krylov space), T = Q^T A Q, and E E^T = Q^T A^2 Q - T^2 is what A maps out of
    the subspace. On the complement A's norm is at most :math:`\beta = (\|A\|_F^2 - 2 \|A Q\|_F^2 + \|T\|_F^2)^{1/2}`.
    Where :math:`\beta < w`, the complement has no eigenvalue outside the window, and by the inertia of the Schur
    complement A has as many eigenvalues above w as some matrix between T and :math:`T + E E^T / (w - \beta)`
    (Haynsworth 1968). If both have equally many, that is the number. A few matrix products, where a nearly degenerate
    matrix would have taken two factorisations of n^3 / 3 multiply-adds.

    Args:
        A: symmetric, float64.
        window: half the window's width, positive.
        block: columns by which the subspace grows.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(A), block, generator=generator, dtype=A.dtype).to(A.device)
    new = torch.linalg.qr(A @ start).Q
    Q = Z = A.new_empty(len(A), 0)
    total, last = float(torch.linalg.vector_norm(A)) ** 2, math.inf
    for left in reversed(range(min(MOST_BLOCKS, len(A) // (2 * block)))):
        Q, Z = torch.cat([Q, new], 1), torch.cat([Z, A @ new], 1)
        T = Q.mT @ Z
        T = (T + T.mT) / 2
        squared = total - 2 * float(torch.linalg.vector_norm(Z)) ** 2 + float(torch.linalg.vector_norm(T)) ** 2
        beta = math.sqrt(max(squared, 0.0) + 1e-13 * total)  # rounding included
        if beta < window:
            spill = (Z.mT @ Z - T @ T) / (window - beta)
            least = [int((torch.linalg.eigvalsh(sign * T) > window).sum()) for sign in (-1, 1)]
            most = [int((torch.linalg.eigvalsh(sign * T + spill) > window).sum()) for sign in (-1, 1)]
            if least == most:
                return least[0], least[1]
        elif beta * min(1.0, beta / last) ** left > window:  # at this rate it will not be
            return None
        last = beta
        new = Z[:, -block:]
        for _ in range(2):
            new = torch.linalg.qr(new - Q @ (Q.mT @ new)).Q
    return None
