"""Fixed skip matrices. Row ``i`` is the skip vector of unit ``i``: what that unit adds of the layer before."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError

SMALLEST_EIGENVALUE = 1e-6
"""Of S in ``equalised``, and of the covariances in ``turned`` relative to the largest. Its root is the conditioning of
the eigenvectors, which magnifies the rounding of the matrix to float32 in its eigenvalues: below, they leave the unit
circle by more than about 1e-4."""


@checked
def orthogonal(n: int, generator: Generator | None = None) -> Float[Tensor, "n n"]:
    """A dense random orthogonal matrix, uniform (Haar) over the orthogonal group.

    >>> import torch
    >>> import nonsingular as ns
    >>> Q = ns.networks.orthogonal(8, torch.Generator().manual_seed(0))
    >>> torch.allclose(Q @ Q.T, torch.eye(8), atol=1e-5)
    True
    """
    checks.at_least(1, n=n)
    return _haar(n, generator).float()


def _haar(n: int, generator: Generator | None) -> Float[Tensor, "n n"]:
    """Uniform over the orthogonal group, in float64.

    The QR factor of a Gaussian matrix is uniform once its signs are fixed by the diagonal of R (Mezzadri 2007).
    """
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


@checked
def copied(n: int, vectors: int, generator: Generator | None = None) -> Float[Tensor, "n n"]:
    """``n / vectors`` copies of a set of orthonormal skip vectors (orhan2018 §2.7, Note 2).

    Args:
        n: units in a layer.
        vectors: distinct vectors; ``n`` gives a dense orthogonal matrix, 1 the same vector for every unit.
        generator: source of randomness.

    Raises:
        InputError: ``vectors`` does not divide ``n``.

    >>> import torch
    >>> import nonsingular as ns
    >>> int(torch.linalg.matrix_rank(ns.networks.copied(8, 2, torch.Generator().manual_seed(0))))
    2
    """
    checks.at_least(1, n=n)
    if vectors < 1 or n % vectors:
        raise InputError(f"skip vectors must divide the width {n}, got {vectors}")
    return orthogonal(n, generator)[:vectors].repeat(n // vectors, 1)


@checked
def turned(n: int, tau: float, generator: Generator | None = None) -> Float[Tensor, "n n"]:
    r"""A matrix with eigenvalues on the unit circle whose skip vectors have correlations set by tau (orhan2018 §2.7).

    :math:`\Sigma = P\,\mathrm{diag}(B_1, \dots)\,P^T` with P random orthogonal and :math:`B_i = [[0, s_i],
    [-1/s_i, 0]]`, quarter turns of an ellipse: its eigenvalues are :math:`\pm i`, and those of
    :math:`\Sigma\Sigma^T`, the skip vectors' covariances, are all :math:`s_i^2` and :math:`s_i^{-2}`, which
    :math:`s_i^2 = e^{\tau (n + 1 - 2i) / 2}` makes proportional to the :math:`e^{-\tau (j-1)}` of the text, j from 1 to
    n. (Equal to them they cannot be: the determinant of a matrix with eigenvalues on the unit circle is 1 in modulus.)
    Computed in float64.

    Args:
        n: units in a layer, an even number.
        tau: 0 gives an orthogonal matrix, larger values less orthogonal ones.
        generator: source of randomness.

    Raises:
        InputError: n is odd, or ``tau`` negative or so large that the matrix is singular to the rounding of float32.

    >>> import torch
    >>> import nonsingular as ns
    >>> S = ns.networks.turned(8, 0.01, torch.Generator().manual_seed(0))
    >>> torch.allclose(ns.measures.skip_eigenvalues(S).abs(), torch.ones(8, dtype=torch.float64), atol=1e-4)
    True
    """
    checks.at_least(1, n=n)
    largest = -math.log(SMALLEST_EIGENVALUE) / max(n - 1, 1)
    if n % 2:
        raise InputError(f"quarter turns need an even number of units, got {n}")
    if not 0 <= tau <= largest:
        raise InputError(f"tau must lie between 0 and {largest:.3g} for {n} units, got {tau}")
    P = _haar(n, generator)
    s = torch.exp(tau * (n + 1 - 2 * torch.arange(1, n // 2 + 1, dtype=torch.float64)) / 4)
    first, second = P[:, : n // 2], P[:, n // 2 :]
    return ((first * s) @ second.mT - (second / s) @ first.mT).float()


@checked
def equalised(n: int, tau: float, generator: Generator | None = None) -> Float[Tensor, "n n"]:
    r"""A matrix with eigenvalues on the unit circle whose eigenvectors are correlated (orhan2018 Note 6).

    :math:`S = Q\,\mathrm{diag}(e^{-\tau (i-1)})\,Q^T`, its correlation matrix :math:`R = T T^T` (Cholesky), and
    :math:`\Sigma = T O T^{-1}` with Q and O random orthogonal. Computed in float64.

    Args:
        n: units in a layer.
        tau: 0 gives an orthogonal matrix, larger values less orthogonal ones.
        generator: source of randomness.

    Raises:
        InputError: ``tau`` is negative, or so large that S is singular to the rounding of float32.

    >>> import torch
    >>> import nonsingular as ns
    >>> S = ns.networks.equalised(8, 0.01, torch.Generator().manual_seed(0))
    >>> torch.allclose(ns.measures.skip_eigenvalues(S).abs(), torch.ones(8, dtype=torch.float64), atol=1e-4)
    True
    """
    checks.at_least(1, n=n)
    largest = -math.log(SMALLEST_EIGENVALUE) / max(n - 1, 1)
    if not 0 <= tau <= largest:
        raise InputError(f"tau must lie between 0 and {largest:.3g} for {n} units, got {tau}")
    Q, O = _haar(n, generator), _haar(n, generator)  # noqa: E741
    S = Q * torch.exp(-tau * torch.arange(n, dtype=torch.float64)) @ Q.T
    scale = S.diagonal().rsqrt()
    T = torch.linalg.cholesky(scale[:, None] * S * scale)
    return torch.linalg.solve_triangular(T, T @ O, upper=False, left=False).float()
