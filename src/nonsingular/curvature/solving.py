"""Linear systems with curvature operators, by products, and the residual that is reached."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.curvature.eigenpairs import eigenpairs
from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.precision import require_precision
from nonsingular.curvature.room import gaussian, require
from nonsingular.curvature.vectors import Vector, layout_of
from nonsingular.errors import InputError
from nonsingular.places import warn
from nonsingular.words import counted

Preconditioner = str | SymmetricOperator | Callable[[Tensor], Tensor] | None
NAMES = {"cg": "conjugate gradients", "minres": "MINRES", "lsmr": "LSMR", "neumann": "the Neumann series"}
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

    >>> import torch
    >>> import nonsingular as ns
    >>> found = ns.curvature.solve(torch.diag(torch.tensor([4.0, 2.0])), torch.tensor([4.0, 4.0]))
    >>> found.converged, found.x.round(decimals=4)
    (True, tensor([1., 2.]))
    """

    x: Any
    residual: float
    products: int
    converged: bool


@dataclass(frozen=True)
class _System:
    """``(H + damping) x = b``, and how it is to be solved."""

    H: SymmetricOperator | Tensor
    b: Tensor
    damping: float
    preconditioner: Preconditioner
    tolerance: float
    max_products: int
    seed: int

    def times(self, x: Tensor) -> Tensor:
        """The damped product."""
        return self.H @ x + self.damping * x

    def inverse(self, preconditioner: Preconditioner) -> tuple[Callable[[Tensor], Tensor], int]:
        """An approximate inverse, and the products that it took."""
        return _preconditioner(self.H, self.damping, preconditioner, self.seed)


@checked
def solve(
    H: SymmetricOperator | Tensor,
    v: Vector,
    damping: float = 0.0,
    preconditioner: Preconditioner = "sketch",
    *,
    method: str = "cg",
    tolerance: float | None = None,
    max_products: int = 1000,
    seed: int = 0,
) -> Solution:
    """``x`` with ``(A + damping) x = v``, by preconditioned conjugate gradients (Hestenes and Stiefel 1952) or others.

    Args:
        H: any symmetric operator, or a symmetric matrix; positive definite once damped, or with ``minres`` and ``lsmr``
            any.
        v: flat ``[P]``, or as tensors of the parameters' shapes by name or in order.
        damping: added to the diagonal, at least 0.
        preconditioner: ``"sketch"`` takes the largest eigenvalues out, by their approximations from 32 products
            (in the manner of Frangella, Tropp and Udell 2023); ``"diagonal"`` divides by the diagonal
            (`nonsingular.curvature.diagonal`); an operator that is an approximate inverse (`KFAC.inverse`), or a
            function that multiplies a flat vector by one; or None. It must be positive definite.
        method: ``cg``; ``minres`` (Paige and Saunders 1975, by SciPy), which takes negative curvature too; ``lsmr``
            (Fong and Saunders 2011, by SciPy), which also takes singular systems, of which it gives the shortest of
            the best solutions, for two products a step; or ``neumann``, the series that stops after ``max_products``
            terms (as Lorraine, Vicol and Duvenaud 2020 do), whose scale is found first. Beside ``cg``, ``sketch`` and
            ``diagonal`` mean no preconditioner, and ``lsmr`` takes none.
        tolerance: of the relative residual; 1e-8 in float64, 1e-4 in float32.
        max_products: give up after this many, with a warning and the residual reached.
        seed: of the sketch.

    Raises:
        InputError: negative curvature with ``cg`` or ``neumann``, v of another shape, a sketch that does not fit into
            memory.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import solve
        >>> solve(torch.diag(torch.tensor([3.0, 1.0])), torch.ones(2), damping=1.0).x
        tensor([0.2500, 0.5000])
    """
    if tolerance is not None:
        checks.positive(tolerance=tolerance)
    if max_products is not None:
        checks.at_least(1, max_products=max_products)
    require_precision(H)
    if method not in NAMES:
        raise InputError(f"method must be one of {', '.join(NAMES)}, got {method!r}")
    if not damping >= 0:
        raise InputError(f"damping must be at least 0, got {damping}")
    layout = layout_of(H)
    flat = v if isinstance(v, Tensor) or layout is None else layout.flatten(v)
    b = torch.as_tensor(flat, dtype=H.dtype, device=H.device)
    if tuple(b.shape) != (H.shape[0],):
        raise InputError(f"expected a vector [{H.shape[0]}], got {list(b.shape)}")
    tolerance = TOLERANCE[H.dtype] if tolerance is None else tolerance
    search = {"cg": _conjugate_gradients, "neumann": _neumann}.get(method)
    if search is None:
        search = functools.partial(_by_scipy, method)
    system = _System(H, b, damping, preconditioner, tolerance, max_products, seed)
    x, products = search(system)
    residual = float((b - system.times(x)).norm() / b.norm().clamp_min(torch.finfo(b.dtype).tiny))
    converged = residual <= tolerance
    if not converged:
        warn(
            f"{NAMES[method]} reached a relative residual of {residual:.1e} instead of {tolerance:.0e} in "
            f"{counted(products + 1, 'product')}: raise max_products, the damping, or the precision"
        )
    form = x if layout is None else layout.like(x, v)
    return Solution(form, residual, products + 1, converged)


def _conjugate_gradients(system: _System) -> tuple[Tensor, int]:
    """The solution, and the products that it took."""
    b = system.b
    apply, products = system.inverse(system.preconditioner)
    x, r = torch.zeros_like(b), b.clone()
    z = apply(r)
    p, rz = z, r @ z
    goal = system.tolerance * float(b.norm())
    while float(r.norm()) > 0.5 * goal and products < system.max_products:
        Ap = system.times(p)
        products += 1
        curvature = float(p.double() @ Ap.double())
        if not curvature > 0:
            raise InputError(
                f"A + {system.damping:g} is not positive definite: its curvature along a direction is "
                f"{curvature / float(p.double() @ p.double()):.3g}; give more damping, a GaussNewton operator, or "
                "method='minres'"
            )
        step = rz / (p @ Ap)
        x = x + step * p
        r = r - step * Ap
        z = apply(r)
        rz, before = r @ z, rz
        p = z + (rz / before) * p
    return x, products


def _neumann(system: _System) -> tuple[Tensor, int]:
    """``x = M sum_k (1 - A M)^k b``, with M the preconditioner, or one over the largest eigenvalue."""
    b, preconditioner = system.b, system.preconditioner
    scaled = preconditioner is None or isinstance(preconditioner, str)
    products = 0
    if scaled:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few digits will do, and what they lack is added
            top = eigenpairs(system.H, 1, tolerance=1e-2, max_products=64, seed=system.seed)
        scale, products = abs(float(top.values[0])) + float(top.residuals[0]) + system.damping, top.products
        preconditioner = functools.partial(torch.mul, other=1 / scale) if scale else None
    apply, _ = system.inverse(preconditioner)
    x, r = torch.zeros_like(b), b
    size = before = float(b.norm())
    while before > 0.5 * system.tolerance * size and products < system.max_products:
        x = x + apply(r)
        r = b - system.times(x)
        products += 1
        now = float(r.norm())
        if not now <= (1.001 * before if scaled else 1000 * size):
            raise InputError(
                f"the Neumann series diverges: A + {system.damping:g} has negative curvature, or the preconditioner is "
                "no approximate inverse; give more damping, a GaussNewton operator, or method='minres'"
            )
        before = now
    return x, products


def _by_scipy(method: str, system: _System) -> tuple[Tensor, int]:
    from scipy.sparse.linalg import LinearOperator, lsmr, minres

    b, tolerance, preconditioner = system.b, system.tolerance, system.preconditioner
    products = 0

    def tensor(v: np.ndarray) -> Tensor:
        return torch.as_tensor(v.ravel()).to(b)

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return system.times(tensor(v)).double().cpu().numpy()

    inverse = None
    if preconditioner is not None and not isinstance(preconditioner, str):
        if method == "lsmr":
            raise InputError("lsmr takes no preconditioner: leave it out, or choose method='minres' or 'cg'")
        apply, _ = system.inverse(preconditioner)
        inverse = LinearOperator(
            system.H.shape, matvec=lambda v: apply(tensor(v)).double().cpu().numpy(), dtype=np.float64
        )
    A = LinearOperator(system.H.shape, matvec=product, rmatvec=product, dtype=np.float64)
    right = b.double().cpu().numpy()

    def found(rest: np.ndarray, steps: int) -> np.ndarray:
        if method == "minres":
            return minres(A, rest, rtol=0.1 * tolerance, maxiter=steps, M=inverse)[0]
        return lsmr(A, rest, atol=0.1 * tolerance, btol=0.1 * tolerance, conlim=0, maxiter=max(1, steps // 2))[0]

    # Their criteria are relative to |A| |x|, or in the preconditioner's norm: what is left is solved again.
    x, rest, size = np.zeros_like(right), right, np.linalg.norm(right)
    while np.linalg.norm(rest) > 0.5 * tolerance * size and products < system.max_products:
        step = found(rest, system.max_products - products)
        left = right - product(x + step)
        if not np.linalg.norm(left) < 0.9 * np.linalg.norm(rest):
            better = np.linalg.norm(left) < np.linalg.norm(rest)
            return tensor(x + step if better else x), products  # no more to be had: singular, or rounding
        x, rest = x + step, left
    return tensor(x), products


def _preconditioner(
    H: SymmetricOperator | Tensor, damping: float, kind: Preconditioner, seed: int
) -> tuple[Callable[[Tensor], Tensor], int]:
    """The approximate inverse, and the products that it took."""
    if kind is None:
        return (lambda r: r), 0
    if hasattr(kind, "__matmul__"):
        return (lambda r: kind @ r), 0
    if callable(kind):
        return kind, 0
    if kind == "diagonal":
        from nonsingular.curvature.diagonals import diagonal

        found = diagonal(H, seed=seed)
        scale = (found.values + damping).clamp_min(1e-3 * float((found.values + damping).abs().mean()))
        return (lambda r: r / scale), found.products
    if kind == "sketch":
        return _sketch(H, damping, seed)
    raise InputError(f"preconditioner must be 'sketch', 'diagonal', an operator, a function or None, got {kind!r}")


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
