"""The diagonal: exact where the matrix fits, else from random signs, with an error for every entry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.curvature.algebra import Symmetric
from nonsingular.curvature.exchangeable import half_width, left_out
from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.precision import require_precision
from nonsingular.curvature.room import fitting
from nonsingular.curvature.vectors import Layout, layout_of
from nonsingular.errors import InputError

EXACT = 2048  # eigenvalues up to which all entries are computed by default
PRODUCTS = 256
AT_ONCE = 64
METHODS = ("signs", "xdiag")
LEAST = {"signs": 8, "xdiag": 16}
"""Products of which entries' errors are told: of fewer, samples that are alike by chance would have none."""


@dataclass(frozen=True)
class Diagonal:
    """The diagonal's entries, and how well they are known.

    Attributes:
        values: entries ``[P]``.
        error: half the width of each entry's 95 % interval ``[P]``; zero where exact.
        products: products with the operator that it took.
        layout: of the entries, where the operator is over parameters.

    >>> import torch
    >>> import nonsingular as ns
    >>> found = ns.curvature.diagonal(torch.diag(torch.tensor([3.0, 1.0, 0.0])))
    >>> found.values, float(found.error.max())
    (tensor([3., 1., 0.]), 0.0)
    """

    values: Float[Tensor, " P"]
    error: Float[Tensor, " P"]
    products: int
    layout: Layout | None = None

    @property
    def named(self) -> dict[str, Tensor]:
        """The entries as tensors of the parameters' shapes, by name.

        Raises:
            InputError: the operator is not over parameters.
        """
        if self.layout is None:
            raise InputError("the operator is not over parameters: its diagonal has no names")
        return self.layout.named(self.values)


@checked
def diagonal(
    H: SymmetricOperator | Tensor, *, products: int | None = None, method: str = "signs", seed: int = 0
) -> Diagonal:
    r"""The diagonal's entries.

    For signs z, :math:`z_i (A z)_i = A_{ii} + \sum_{j \ne i} A_{ij} z_i z_j`, whose mean is the entry (Bekas and others
    2007). An entry's error is as large as the rest of its row: a hundred products give a tenth of its norm.

    Args:
        H: any symmetric operator, or a symmetric matrix.
        products: with the operator. Where there are no more entries than that, they are exact; by default up to
            2 048 entries are, and larger operators get 256 products.
        method: ``signs``; or ``xdiag`` (Epperly, Tropp and Webber 2024), which takes out what the other vectors have
            seen: far better where few eigenvalues are large, in the memory of three vectors a product.
        seed: of the signs.

    Raises:
        InputError: fewer than 8 products (16 for ``xdiag``), of which errors cannot be told; an unknown method;
            products in 16 bits; vectors that do not fit into memory.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.curvature.diagonal(torch.diag(torch.tensor([3.0, 1.0, 0.0]))).values
    tensor([3., 1., 0.])
    """
    require_precision(H)
    n, layout = H.shape[0], layout_of(H)
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if n <= (EXACT if products is None else products):
        values = H.dense().diagonal().clone() if isinstance(H, Symmetric) else _by_columns(H)
        return Diagonal(values, torch.zeros_like(values), n, layout)
    products = PRODUCTS if products is None else products
    if products < LEAST[method]:
        raise InputError(f"a diagonal needs at least {LEAST[method]} products, got {products}")
    generator = torch.Generator().manual_seed(seed)
    if method == "xdiag":
        found = left_out(H, _signs(H, products // 2, generator), "a diagonal")
        samples = found.diagonals().double()
        mean, error = samples.mean(1), half_width(samples.std(1), products // 2) + found.rounding
        products = products // 2 * 2
    else:
        from scipy.special import stdtrit  # which takes a quarter of a second to load

        mean, deviation = _moments(H, products, generator)
        error = float(stdtrit(products - 1, 0.975)) * deviation / math.sqrt(products)
    return Diagonal(mean.to(H.dtype), error.to(H.dtype), products, layout)


def _moments(H: SymmetricOperator | Tensor, products: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of ``z * (A z)`` over signs z."""
    mean = torch.zeros(H.shape[0], dtype=torch.float64, device=H.device)
    squares = torch.zeros_like(mean)
    width = max(1, min(AT_ONCE, fitting(H) // 6))
    for start in range(0, products, width):
        signs = _signs(H, min(width, products - start), generator)
        for seen, sample in enumerate((signs * times(H, signs)).double().T, start + 1):
            off = sample - mean  # Welford's update: no digits cancel
            mean += off / seen
            squares += off * (sample - mean)
    return mean, (squares / (products - 1)).sqrt()


def _signs(H: SymmetricOperator | Tensor, count: int, generator: torch.Generator) -> Float[Tensor, "P count"]:
    return (torch.randint(2, (H.shape[0], count), generator=generator) * 2 - 1).to(H.device, H.dtype)


def _by_columns(H: SymmetricOperator | Tensor) -> Tensor:
    if isinstance(H, Tensor):
        return H.diagonal().clone()
    return times(H, torch.eye(H.shape[0], dtype=H.dtype, device=H.device)).diagonal().clone()
