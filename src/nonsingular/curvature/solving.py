"""Linear systems with curvature operators: conjugate gradients with a preconditioner, and the residual reached."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.precision import require_precision
from nonsingular.curvature.room import gaussian, require
from nonsingular.curvature.vectors import Vector, layout_of
from nonsingular.errors import InputError

Preconditioner = str | Callable[[Tensor], Tensor] | None
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
RANK = 16


@dataclass(frozen=True)
class Solution:
    """A solution of ``(A + damping) x = v``, and how well it solves it.

    Attributes:
        x: in the form that v was given in.
        residual: ``|v - (A + damping) x| / |v|``, by a product of its own.
        products: products with the operator, in all.
        converged: whether the residual is within the tolerance.
    """

    x: Any
    residual: float
    products: int
    converged: bool


def solve(
    H: SymmetricOperator | Tensor,
    v: Vector,
    damping: float = 0.0,
    preconditioner: Preconditioner = "sketch",
    *,
    tolerance: float | None = None,
    max_products: int = 1000,
    seed: int = 0,
) -> Solution:
    """``x`` with ``(A + damping) x = v`` by preconditioned conjugate gradients (Hestenes and Stiefel 1952).

    Args:
        H: any symmetric operator, or a symmetric matrix; positive definite once damped.
        v: flat ``[P]``, or as tensors of the parameters' shapes by name or in order.
        damping: added to the diagonal, at least 0.
        preconditioner: ``"sketch"`` takes the largest eigenvalues out, by their approximations from 32 products
            (in the manner of Frangella, Tropp and Udell 2023); ``"diagonal"`` divides by the diagonal
            (`nonsingular.curvature.diagonal`); a function that multiplies a flat vector by an approximate inverse; or
            None.
        tolerance: of the relative residual; 1e-8 in float64, 1e-4 in float32.
        max_products: give up after this many, with a warning and the residual reached.
        seed: of the sketch.

    Raises:
        InputError: the damped matrix has negative curvature, or v is of another shape.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import solve
        >>> solve(torch.diag(torch.tensor([3.0, 1.0])), torch.ones(2), damping=1.0).x
        tensor([0.2500, 0.5000])
    """
    require_precision(H)
    if not damping >= 0:
        raise InputError(f"damping must be at least 0, got {damping}")
    layout = layout_of(H)
    flat = v if isinstance(v, Tensor) or layout is None else layout.flatten(v)
    b = torch.as_tensor(flat, dtype=H.dtype, device=H.device)
    if tuple(b.shape) != (H.shape[0],):
        raise InputError(f"expected a vector [{H.shape[0]}], got {list(b.shape)}")
    tolerance = TOLERANCE[H.dtype] if tolerance is None else tolerance
    apply, products = _preconditioner(H, damping, preconditioner, seed)

    x, r = torch.zeros_like(b), b.clone()
    z = apply(r)
    p, rz = z, r @ z
    goal = tolerance * float(b.norm())
    while float(r.norm()) > 0.5 * goal and products < max_products:
        Ap = H @ p + damping * p
        products += 1
        curvature = float(p.double() @ Ap.double())
        if not curvature > 0:
            raise InputError(
                f"A + {damping:g} is not positive definite: its curvature along a direction is "
                f"{curvature / float(p.double() @ p.double()):.3g}; give more damping, or a GaussNewton operator"
            )
        step = rz / (p @ Ap)
        x = x + step * p
        r = r - step * Ap
        z = apply(r)
        rz, before = r @ z, rz
        p = z + (rz / before) * p
    residual = float((b - H @ x - damping * x).norm() / b.norm().clamp_min(torch.finfo(b.dtype).tiny))
    converged = residual <= tolerance
    if not converged:
        warnings.warn(
            f"conjugate gradients reached a relative residual of {residual:.1e} instead of {tolerance:.0e} in "
            f"{products + 1} products: raise max_products, the damping, or the precision",
            stacklevel=2,
        )
    form = x if layout is None else layout.like(x, v)
    return Solution(form, residual, products + 1, converged)


def _preconditioner(
    H: SymmetricOperator | Tensor, damping: float, kind: Preconditioner, seed: int
) -> tuple[Callable[[Tensor], Tensor], int]:
    """The approximate inverse, and the products that it took."""
    if kind is None:
        return (lambda r: r), 0
    if callable(kind):
        return kind, 0
    if kind == "diagonal":
        from nonsingular.curvature.diagonals import diagonal

        found = diagonal(H, seed=seed)
        scale = (found.values + damping).clamp_min(1e-3 * float((found.values + damping).abs().mean()))
        return (lambda r: r / scale), found.products
    if kind == "sketch":
        return _sketch(H, damping, seed)
    raise InputError(f"preconditioner must be 'sketch', 'diagonal', a function or None, got {kind!r}")


def _sketch(H: SymmetricOperator | Tensor, damping: float, seed: int) -> tuple[Callable[[Tensor], Tensor], int]:
    rank = min(RANK, H.shape[0])
    require(H, 4 * rank, "the sketch", "give preconditioner=None")
    start = gaussian(H, rank, torch.Generator().manual_seed(seed))
    Q = torch.linalg.qr(times(H, start)).Q
    T = (Q.mT @ times(H, Q)).double()
    values, vectors = torch.linalg.eigh((T + T.mT) / 2)
    values = values + damping
    useful = values > 1e-6 * values.abs().max()
    U = Q @ vectors[:, useful].to(Q)
    if not U.shape[1]:
        return (lambda r: r), 2 * rank
    factors = (1 - values[useful].min() / values[useful]).to(U)
    return (lambda r: r - U @ (factors * (U.mT @ r))), 2 * rank
