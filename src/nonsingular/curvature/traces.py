r"""Traces, with intervals that hold for any spectrum.

The part of the matrix that a subspace Q sees is summed exactly, the rest R is estimated from Gaussian vectors z in the
complement (Hutch++: Meyer, Musco, Musco and Woodruff 2021). The mean of q forms :math:`z^\top R z` is off by
:math:`\sum_i \lambda_i (\chi^2_q / q - 1)`, with one independent chi-squared variable for each eigenvalue. For a given
Frobenius norm its tails are heaviest where a single eigenvalue has all of it, and the same forms of :math:`R^2`, the
squared lengths of R z, bound that norm: of all positive sums of chi-squared variables of one mean, a single one is
small most often (Székely and Bakirov 2003; Roosta-Khorasani and others 2015). So no spectrum is covered less often than
promised, at the price of intervals that are wider than most need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.curvature.cuts import WHOLE, Whole, outside
from nonsingular.curvature.exchangeable import half_width, left_out
from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.precision import require_finite, require_precision
from nonsingular.curvature.room import fitting, gaussian, require
from nonsingular.errors import InputError
from nonsingular.words import counted

Array = np.ndarray
METHODS = ("hutch++", "hutchinson", "xtrace")
NORM_TAIL, MEAN_TAIL = 0.01, 0.02  # chances of missing: of the norm's bound, and of the mean on either side


@dataclass(frozen=True)
class Estimate:
    """A number, and where it lies.

    Attributes:
        value: the estimate; the number itself where the interval is one point.
        interval: 95 %, (low, high).
        products: products with the operator that it took.
        how: in a sentence, how it was got.
        proved: whether the interval holds for any matrix; else it is estimated from the spread of the samples.

    >>> import torch
    >>> import nonsingular as ns
    >>> found = ns.curvature.trace(torch.eye(5))
    >>> low, high = found.interval
    >>> low <= 5 <= high
    True
    """

    value: float
    interval: tuple[float, float]
    products: int
    how: str
    proved: bool = True


@dataclass(frozen=True)
class Forms:
    """What random vectors in a subspace say of a matrix there.

    Attributes:
        values: ``z^T R z`` of each vector ``[q]``.
        squares: ``|R z|^2`` of each ``[q]``.
        exact: whether the vectors are an orthonormal basis of the subspace instead: their sum is the trace.
    """

    values: Float[Array, " q"]
    squares: Float[Array, " q"]
    exact: bool = False

    @property
    def trace(self) -> tuple[float, float]:
        """The trace of R and half the width of its 95 % interval."""
        if self.exact:
            return float(self.values.sum()), 0.0
        q = len(self.values)
        from scipy.special import chdtri  # which takes a quarter of a second to load

        norm = np.sqrt(self.squares.mean() * q / chdtri(q, 1 - NORM_TAIL))
        return float(self.values.mean()), float(norm * (chdtri(q, MEAN_TAIL) / q - 1))


@checked
def trace(H: SymmetricOperator | Tensor, *, products: int = 96, method: str = "hutch++", seed: int = 0) -> Estimate:
    """The sum of the eigenvalues, with a 95 % interval.

    Args:
        H: any symmetric operator, or a symmetric matrix.
        products: with the operator. Where there are no more eigenvalues than that, the trace is exact.
        method: ``hutch++`` sums what a third of the products sees exactly; ``hutchinson`` sees nothing (best for flat
            spectra); both have intervals that hold for any spectrum. ``xtrace`` (Epperly, Tropp and Webber 2024) is the
            most precise for the same products, but its interval is estimated from the samples' spread.
        seed: of the random vectors.

    Raises:
        InputError: fewer than three products (four for ``xtrace``), an unknown method, products in 16 bits or not
            finite, vectors that do not fit into memory.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import trace
        >>> trace(torch.eye(5)).interval
        (5.0, 5.0)
        >>> found = trace(torch.diag(0.5 ** torch.arange(200)), products=60, method="xtrace")
        >>> round(found.value, 4), found.proved
        (2.0, False)
    """
    require_precision(H)
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    least = 4 if method == "xtrace" else 3
    if products < least:
        raise InputError(f"a trace needs at least {least} products, got {products}")
    generator = torch.Generator().manual_seed(seed)
    if method == "xtrace" and H.shape[0] > products:
        return _xtrace(H, products // 2, generator)
    return _hutchinson(H, products, products // 3 if method == "hutch++" else 0, generator)


def _hutchinson(H: SymmetricOperator | Tensor, products: int, seen: int, generator: torch.Generator) -> Estimate:
    """What a space of ``seen`` dimensions holds, and an estimate of the rest; all of it where the products suffice."""
    n = H.shape[0]
    Q, inside, rounding = torch.empty(n, 0, dtype=H.dtype, device=H.device), 0.0, 0.0
    if n <= products:
        seen = 0
    elif seen:
        require(H, 4 * seen, "a trace", "give fewer products")
        Q = torch.linalg.qr(times(H, gaussian(H, seen, generator))).Q
        HQ = times(H, Q)
        inside = float((Q * HQ).sum(dtype=torch.float64))
        rounding = 4 * torch.finfo(H.dtype).eps * float(torch.linalg.vector_norm(HQ))  # of what Q and HQ are off by
    forms = complement_forms(H, Q, products - 2 * seen, generator)
    require_finite(torch.as_tensor(forms.values))
    rest, half = forms.trace
    half += rounding
    number = len(forms.values)
    if forms.exact and not seen:
        how = "all diagonal entries"
    else:
        how = counted(number, "random vector")
        how = f"Hutch++: {counted(seen, 'direction')} exactly, the rest from {how}" if seen else f"Hutchinson: {how}"
    return Estimate(inside + rest, (inside + rest - half, inside + rest + half), 2 * seen + number, how)


def _xtrace(H: SymmetricOperator | Tensor, vectors: int, generator: torch.Generator) -> Estimate:
    found = left_out(H, gaussian(H, vectors, generator), "a trace")
    samples = found.traces().double().cpu().numpy()
    value, half = float(samples.mean()), half_width(float(samples.std(ddof=1)), vectors) + found.rounding
    how = f"XTrace: each of {counted(vectors, 'random vector')} on what the others have not seen"
    return Estimate(value, (value - half, value + half), 2 * vectors, how, proved=False)


@checked
def frobenius(H: SymmetricOperator | Tensor, *, products: int = 96, seed: int = 0) -> Estimate:
    r"""The Frobenius norm, the square root of the sum of the squared eigenvalues, with a 95 % interval.

    For Gaussian z the mean of :math:`|A z|^2` is the squared norm. Its tails are heaviest where one eigenvalue has all
    of it (see the module's docstring), which bounds how far off it may be for any spectrum.

    Args:
        H: any symmetric operator, or a symmetric matrix.
        products: with the operator. Where there are no more eigenvalues than that, the norm is exact.
        seed: of the random vectors.

    Raises:
        InputError: fewer than two products, products in 16 bits or not finite.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import frobenius
        >>> frobenius(torch.diag(torch.tensor([3.0, -4.0]))).value
        5.0
    """
    require_precision(H)
    if products < 2:
        raise InputError(f"a norm needs at least 2 products, got {products}")
    none = torch.empty(H.shape[0], 0, dtype=H.dtype, device=H.device)
    forms = complement_forms(H, none, products, torch.Generator().manual_seed(seed))
    require_finite(torch.as_tensor(forms.squares))
    q = len(forms.squares)
    if forms.exact:
        value = float(np.sqrt(forms.squares.sum()))
        return Estimate(value, (value, value), q, "all columns")
    value = float(np.sqrt(forms.squares.mean()))
    from scipy.special import chdtri

    low, high = (value * float(np.sqrt(q / chdtri(q, tail))) for tail in (0.025, 0.975))
    return Estimate(value, (low, high), q, f"squared lengths of the products with {counted(q, 'random vector')}")


def complement_forms(
    H: SymmetricOperator | Tensor, Q: Float[Tensor, "P c"], count: int, generator: torch.Generator, cuts: Whole = WHOLE
) -> Forms:
    """Forms of H in the complement of Q from ``count`` vectors; exact where it has no more dimensions than that.

    Args:
        H: the operator.
        Q: orthonormal columns, this process's part of them.
        count: Gaussian vectors, and products.
        generator: of them.
        cuts: how Q is cut.
    """
    dimensions = H.shape[0] - Q.shape[1]
    exact, count = dimensions <= count, min(count, dimensions)
    width = max(1, count if exact else min(count, fitting(H) // 6))
    values, squares = np.empty(count), np.empty(count)
    for start in range(0, count, width):
        columns = slice(start, min(start + width, count))
        if exact and not Q.shape[1]:
            z = torch.eye(H.shape[0], dtype=H.dtype, device=H.device)
        else:
            z = gaussian(H, columns.stop - start, generator)
            for _ in range(2):
                z = outside(z, Q, cuts)
                z = torch.linalg.qr(z).Q if exact else z
        product = times(H, z)
        values[columns] = (z * product).sum(0, dtype=torch.float64).cpu().numpy()
        product = outside(product, Q, cuts)
        squares[columns] = product.square().sum(0, dtype=torch.float64).cpu().numpy()
    return Forms(values, squares, exact)
