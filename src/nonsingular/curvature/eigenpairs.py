"""Extreme eigenvalues and their eigenvectors, with residuals, in the memory of a few vectors.

A block Krylov space grows by the residuals of the wanted Ritz pairs; when it is full it is restarted from the best of
them (thick restart: Wu and Simon 2000; the block form is Stathopoulos and Saad's 1998 without preconditioner). A
space of b start vectors sees at most b copies of a repeated eigenvalue, so where as many have been found, fresh random
vectors look for more before the result is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.precision import require_finite, require_precision
from nonsingular.curvature.room import fitting, gaussian, require
from nonsingular.curvature.vectors import Layout, layout_of
from nonsingular.errors import InputError
from nonsingular.places import warn
from nonsingular.spelling import spelled
from nonsingular.words import counted

WHICH = ("magnitude", "largest", "smallest")
RELATIVE = ("largest", "own")
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
BLOCK = 4
SHOWN = 10  # pairs that are printed
SMALL = 1024  # eigenvalues up to which the space may become the whole one: never more products than those
LOOKS = 6  # expansions from fresh random vectors before a repeated eigenvalue is believed to have no more copies


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues and eigenvectors, and how well they are known; printed, a line a pair without its vector.

    Attributes:
        values: eigenvalues, in the order asked for, float64 ``[k]``.
        vectors: eigenvectors, orthonormal columns ``[P, k]``.
        residuals: norms of ``A x - value x`` ``[k]``: some eigenvalue of A is no further from each value.
        products: products with the operator that it took.
        converged: whether all residuals are within the tolerance.
        layout: of the vectors' entries, where the operator is over parameters.

    >>> import torch
    >>> import nonsingular as ns
    >>> found = ns.curvature.eigenpairs(torch.diag(torch.tensor([3.0, 1.0, 0.0, -2.0])), 2)
    >>> found.converged, found.values.round(decimals=4)
    (True, tensor([ 3., -2.], dtype=torch.float64))
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "P k"]
    residuals: Float[Tensor, " k"]
    products: int
    converged: bool
    layout: Layout | None = None

    def __repr__(self) -> str:
        """Values and residuals of the first pairs, and what they took."""
        pairs = list(zip(self.values.tolist(), self.residuals.tolist(), strict=True))
        reached = "converged" if self.converged else "not converged"
        lines = [
            f"Eigenpairs: {len(pairs)} of {self.vectors.shape[0]:,}, {reached} in {counted(self.products, 'product')}"
        ]
        lines += [f"  {value:<12.6g} residual {residual:.1e}" for value, residual in pairs[:SHOWN]]
        return "\n".join(lines + [f"  and {len(pairs) - SHOWN} more"] * (len(pairs) > SHOWN))

    @property
    def directions(self) -> list[dict[str, Tensor]]:
        """Each eigenvector as tensors of the parameters' shapes, by name.

        Raises:
            InputError: the operator is not over parameters.
        """
        if self.layout is None:
            raise InputError("the operator is not over parameters: its eigenvectors have no names")
        return [self.layout.named(v) for v in self.vectors.T]


@checked
@spelled
def eigenpairs(
    H: SymmetricOperator | Tensor,
    k: int = 1,
    which: str = "magnitude",
    *,
    tolerance: float | None = None,
    relative: str = "largest",
    max_products: int | None = None,
    seed: int = 0,
) -> Eigenpairs:
    """The k extreme eigenvalues with eigenvectors, iterated until their residuals are small.

    Args:
        H: any symmetric operator, or a symmetric matrix.
        k: pairs, 1 to P.
        which: ``"magnitude"`` (largest absolute values), ``"largest"`` or ``"smallest"``; in that order.
        tolerance: of the residuals; 1e-8 in float64, 1e-4 in float32.
        relative: what the tolerance is a share of: the ``largest`` absolute eigenvalue, or each pair's ``own``.
        max_products: give up after this many, with a warning and the residuals reached; 100 k, at least 1 000.
        seed: of the start vectors.

    Raises:
        InputError: k, ``which`` or ``relative`` out of range, products in 16 bits or not finite.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import eigenpairs
        >>> found = eigenpairs(torch.diag(torch.tensor([3.0, -4.0, 1.0, 1.0])), k=2)
        >>> found.values.round().tolist()
        [-4.0, 3.0]
    """
    if tolerance is not None:
        checks.positive(tolerance=tolerance)
    if max_products is not None:
        checks.at_least(1, max_products=max_products)
    n = H.shape[0]
    if which not in WHICH:
        raise InputError(f"which must be one of {', '.join(WHICH)}, got {which!r}")
    if relative not in RELATIVE:
        raise InputError(f"relative must be one of {', '.join(RELATIVE)}, got {relative!r}")
    if not 1 <= k <= n:
        raise InputError(f"k must be 1 to {n}, the number of eigenvalues, got {k}")
    require_precision(H)
    tolerance = TOLERANCE[H.dtype] if tolerance is None else tolerance
    limit = max(1000, 100 * k) if max_products is None else max_products
    block = min(BLOCK, n)
    if 3 * _few(k, block) > fitting(H):
        block = 1
        require(H, 3 * _few(k, block), "the search for eigenpairs", "ask for fewer pairs, choose fewer parameters")
    search = _Search(H, k, which, block, seed)
    looks = 0  # expansions since the wanted pairs converged; counted where there may be more copies of them
    converged = False
    while True:
        residuals = search.residuals()
        scale = max(float(search.ritz.abs().max()), float(residuals.norm(dim=0).max()), 1e-300)
        norms = residuals.norm(dim=0)
        sizes = search.ritz[: len(norms)].abs().to(norms) if relative == "own" else torch.full_like(norms, scale)
        open_ = norms > tolerance * sizes
        converged = len(norms) >= k and not bool(open_[:k].any())
        if search.complete or search.products >= limit:
            break
        if not converged:
            looks = 0
        elif not search.repeated(tolerance * scale) or looks >= LOOKS:
            break
        search.expand(residuals[:, open_], fresh=converged and looks == 0)
        looks += converged
    found = search.result(residuals, converged, layout_of(H))
    if not converged:
        worst = float((norms / sizes)[:k].max())
        warn(
            f"not converged in {counted(found.products, 'product')}: {counted(k, 'eigenpair')}, with relative "
            f"residuals up to {worst:.1e} "
            f"instead of {tolerance:.0e}; raise max_products"
        )
    return found


def _few(k: int, block: int) -> int:
    """Columns of the space at which it is restarted; it takes them thrice, with their products and a restart."""
    return 2 * k + 6 * block


class _Search:
    """A space V, what the operator makes of it, and the Ritz pairs in it, wanted first."""

    def __init__(self, H: SymmetricOperator | Tensor, k: int, which: str, block: int, seed: int) -> None:
        self.H, self.k, self.which, self.block = H, k, which, block
        self.generator = torch.Generator().manual_seed(seed)
        self.products = 0
        self.V = self.W = torch.empty(H.shape[0], 0, dtype=H.dtype, device=H.device)
        self._add(self._random(block))

    @property
    def complete(self) -> bool:
        """Whether the space is the whole one."""
        return self.V.shape[1] == self.V.shape[0]

    @property
    def room(self) -> int:
        """Columns that the space may have."""
        few = _few(self.k, self.block)
        return max(few, len(self.V)) if len(self.V) <= SMALL else few

    def residuals(self) -> Float[Tensor, "P pair"]:
        """Of the wanted Ritz pairs and of a block of those after them."""
        Y = self.coordinates[:, : self.k + self.block]
        return self.W @ Y - (self.V @ Y) * self.ritz[: Y.shape[1]].to(self.V)

    def repeated(self, tolerance: float) -> bool:
        """Whether a wanted value occurs as often as the start block could see, and more copies of it are wanted."""
        if self.k <= self.block:
            return False
        values = self.ritz[: self.k]
        alike = (values[:, None] - values[None, :]).abs() <= 10 * tolerance
        return int(alike.sum(1).max()) >= self.block

    def expand(self, residuals: Tensor, fresh: bool) -> None:
        """Add a block: residuals of pairs that have not converged, wanted ones first; random vectors for the rest."""
        more = min(self.block, self.V.shape[0] - self.V.shape[1])
        if self.V.shape[1] + more > self.room:
            kept = self.coordinates[:, : self.k + 2 * self.block].to(self.V)
            self.V, self.W = self.V @ kept, self.W @ kept
            more = self.block
        chosen = residuals[:, : 0 if fresh else self.block]
        chosen = chosen / chosen.norm(dim=0)
        self._add(torch.cat([chosen, self._random(self.block - chosen.shape[1])], 1)[:, :more])

    def result(self, residuals: Tensor, converged: bool, layout: Layout | None) -> Eigenpairs:
        vectors = torch.linalg.qr(self.V @ self.coordinates[:, : self.k]).Q
        signs = (vectors * (self.V @ self.coordinates[:, : self.k])).sum(0).sign()
        return Eigenpairs(
            self.ritz[: self.k], vectors * signs, residuals[:, : self.k].norm(dim=0), self.products, converged, layout
        )

    def _random(self, columns: int) -> Tensor:
        return gaussian(self.H, columns, self.generator)

    def _add(self, block: Tensor) -> None:
        for again in (True, True, False):
            block = block - self.V @ (self.V.mT @ block)
            block, R = torch.linalg.qr(block)
            lost = R.diagonal().abs() <= 1e-3
            if again and bool(lost.any()):  # columns that lay in the space already are rounding
                block[:, lost] = self._random(int(lost.sum()))
        product = times(self.H, block)
        require_finite(product)
        self.products += block.shape[1]
        self.V, self.W = torch.cat([self.V, block], 1), torch.cat([self.W, product], 1)
        T = (self.V.mT @ self.W).double()
        values, vectors = torch.linalg.eigh((T + T.mT) / 2)
        keys = {"magnitude": values.abs(), "largest": values, "smallest": -values}[self.which]
        order = keys.argsort(descending=True)
        self.ritz, self.coordinates = values[order], vectors[:, order].to(self.V)
