"""Lanczos processes: one with all its vectors, or many side by side with none.

The first is reorthogonalised against everything before, which keeps rounding out, gives eigenvectors, and costs as much
as a product does after some hundred steps, more than that later. Without it, converged eigenvalues come back as copies
of themselves; their weights are shared among the copies, so that quadrature and its bounds stay right to rounding
(Greenbaum 1989), but a step that finds a copy finds nothing new. So where many vectors are wanted, what has converged
in a first process is projected away, and little is left that could come back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.curvature.algebra import Symmetric
from nonsingular.curvature.cuts import WHOLE, Whole, cuts_of, outside
from nonsingular.curvature.precision import require_precision
from nonsingular.curvature.tridiagonal import Tridiagonal
from nonsingular.errors import InputError

Array = np.ndarray
AT_ONCE = 16  # vectors that others are made orthogonal to


class SymmetricOperator(Protocol):
    """Anything symmetric that multiplies tensors: an operator of this package, or a dense tensor.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.spectrum(torch.eye(3)).positive.count  # a tensor is one
    3
    """

    @property
    def shape(self) -> Sequence[int]:
        """``(P, P)``."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""

    @property
    def device(self) -> torch.device:
        """Of the products."""

    def __matmul__(self, v: Tensor, /) -> Tensor:
        """The product with a vector."""


def times(H: SymmetricOperator | Tensor, V: Float[Tensor, "P k"]) -> Float[Tensor, "P k"]:
    """The product with a block: at once where the operator is known to take one, else column by column."""
    if isinstance(H, Tensor | Symmetric):
        return H @ V
    return torch.stack([H @ v for v in V.T], dim=1) if V.shape[1] else torch.zeros_like(V)


@checked
class Lanczos(Tridiagonal):
    """The Lanczos process with full reorthogonalisation; it can be continued.

    Args:
        H: the operator.
        start: its first vector, of any length but zero.
        against: orthonormal columns ``[P, c]`` that all vectors are kept orthogonal to: the process then sees the
            operator deflated by them.

    Over several processes (``Distributed``) each keeps some entries of every vector of the basis, of Ritz vectors and
    of ``against``: P is then the number of those, and only what is multiplied is whole.

    Raises:
        InputError: the products are in 16 bits.

    >>> import torch
    >>> import nonsingular as ns
    >>> process = ns.curvature.Lanczos(torch.diag(torch.tensor([3.0, 1.0, -2.0])), torch.ones(3))
    >>> process.extend(2)
    >>> torch.allclose(process.basis @ process.basis.T, torch.eye(2), atol=1e-5)
    True
    """

    def __init__(self, H: SymmetricOperator, start: Float[Tensor, " P"], against: Tensor | None = None) -> None:
        require_precision(H)
        self.H, self.against, self._cuts = H, against, cuts_of(H)
        w = deflated(start.to(H.device, H.dtype), against, self._cuts)
        super().__init__(float(w.double().square().sum()))
        self._basis = self._cuts.part(w).new_empty(0, len(self._cuts.part(w)))  # grows by doubling
        self._next = w / w.norm()

    @property
    def basis(self) -> Float[Tensor, "step P"]:
        """The orthonormal vectors, one a row; over several processes this one's entries of them."""
        return self._basis[: self.steps]

    def extend(self, steps: int) -> None:
        """Up to ``steps`` more products; fewer when the space that the start vector can reach is exhausted."""
        most = self.H.shape[0] - (0 if self.against is None else self.against.shape[1])
        for _ in range(min(steps, most - self.steps)):
            if self.exhausted:
                return
            self._step()
        self.exhausted = self.exhausted or self.steps == most

    def _step(self) -> None:
        k = self.steps
        self._reserve(k + 1)
        w = self._cuts.part(self.H @ self._next)
        v = self._basis[k].copy_(self._cuts.part(self._next))
        scale, alpha = self._norm(w), float(self._cuts.summed(v.double() @ w.double()))
        # The three terms first: the pass over all vectors, which reads them twice, then has only rounding to remove.
        w = w - alpha * v
        if k:
            w = w - self.beta[-1] * self._basis[k - 1]
        before = self._norm(w)
        w = self._orthogonalise(w, k + 1)
        # A second pass where the first cancelled most digits (Daniel et al. 1976).
        if self._norm(w) < 0.7 * before:
            w = self._orthogonalise(w, k + 1)
        norm = self._norm(w)
        if self.add(alpha, norm, scale, torch.finfo(self.H.dtype).eps):
            self._next = self._cuts.whole(w / norm)

    def _norm(self, w: Tensor) -> float:
        return math.sqrt(float(self._cuts.summed(torch.linalg.vector_norm(w).double().square())))

    def _orthogonalise(self, w: Tensor, rows: int) -> Tensor:
        V = self._basis[:rows]
        w = w.clone()[None]
        project_out(V, w, self._cuts)
        if self.against is not None:
            project_out(self.against.mT, w, self._cuts)
        return w[0]

    def _reserve(self, rows: int) -> None:
        if rows > len(self._basis):
            grown = self._basis.new_empty(max(32, 2 * len(self._basis), rows), self._basis.shape[1])
            grown[: len(self._basis)] = self._basis
            self._basis = grown

    def ritz_vectors(self, which: Array) -> Float[Tensor, "P c"]:
        """Ritz vectors of the given indices, orthonormal columns."""
        from scipy.linalg import eigh_tridiagonal  # which exact counts do without

        _, vectors = eigh_tridiagonal(self.alpha, self.beta[:-1])
        chosen = torch.as_tensor(vectors[:, which], dtype=self.H.dtype, device=self.H.device)
        rows = chosen.mT @ self.basis
        # Orthonormal but for rounding, so that the Cholesky factor of their products is as good as a QR and faster.
        lower = torch.linalg.cholesky(self._cuts.summed((rows @ rows.mT).double())).to(rows)
        return torch.linalg.solve_triangular(lower, rows, upper=False).mT


@checked
class Lockstep:
    """Lanczos processes side by side, from a block of start vectors, in the memory of three blocks.

    Nothing is reorthogonalised but against what is projected away; see the module's docstring.

    Args:
        H: the operator.
        starts: a start vector in each column.
        against: as for `Lanczos`.

    Attributes:
        processes: the coefficients of each.

    >>> import torch
    >>> import nonsingular as ns
    >>> processes = ns.curvature.Lockstep(torch.diag(torch.tensor([3.0, 1.0, -2.0])), torch.eye(3)[:, :2] + 0.1)
    >>> processes.extend(2)
    >>> processes.steps
    2
    """

    def __init__(
        self, H: SymmetricOperator, starts: Float[Tensor, "P processes"], against: Tensor | None = None
    ) -> None:
        require_precision(H)
        self.H, self._cuts = H, cuts_of(H)
        w = deflated(starts.to(H.device, H.dtype), against, self._cuts).T.contiguous()  # a process a row
        self._against = w[:0] if against is None else against.mT.contiguous()
        norms = w.norm(dim=1)
        self.processes = [Tridiagonal(float(s)) for s in w.double().square().sum(1)]
        self._live = list(self.processes)  # those with a next vector, in the order of the rows
        self._vectors, self._before = w.div_(norms[:, None]), torch.zeros_like(w)

    @property
    def steps(self) -> int:
        """Of the longest process."""
        return max(p.steps for p in self.processes)

    @property
    def exhausted(self) -> bool:
        """Whether all of them are."""
        return not self._live

    def extend(self, steps: int) -> None:
        """Up to ``steps`` more steps of every process."""
        most = self.H.shape[0] - len(self._against)
        for _ in range(min(steps, most - self.steps)):
            if self.exhausted:
                return
            self._step()
        if self.steps == most:
            for process in self._live:
                process.exhausted = True
            self._live = []

    def _step(self) -> None:
        V = self._vectors
        W = times(self.H, V.T).T.contiguous()
        scales, alphas = W.norm(dim=1), (V * W).sum(1, dtype=torch.float64)
        betas = torch.tensor([p.beta[-1] if p.beta else 0.0 for p in self._live]).to(W)
        W.addcmul_(V, -alphas.to(W)[:, None]).addcmul_(self._before, -betas[:, None])
        if len(self._against):
            mine = self._cuts.part(W.T).T.contiguous()
            project_out(self._against, mine, self._cuts)
            W = self._cuts.whole(mine.T).T.contiguous()
        norms, eps = W.norm(dim=1), torch.finfo(self.H.dtype).eps
        numbers = zip(self._live, alphas.tolist(), norms.tolist(), scales.tolist(), strict=True)
        going = torch.tensor([p.add(a, b, s, eps) for p, a, b, s in numbers], device=W.device)
        self._live = [p for p in self._live if not p.exhausted]
        W.div_(norms[:, None])
        self._before, self._vectors = (V, W) if bool(going.all()) else (V[going], W[going])


def project_out(rows: Float[Tensor, "c P"], W: Float[Tensor, "k P"], cuts: Whole = WHOLE) -> None:
    """Take the components along orthonormal rows out of W, in place.

    A few rows after another: they are read from the cache the second time, and what one part leaves the next one sees
    (block modified Gram-Schmidt). Rows of whole vectors: six times as fast as columns, for a few vectors against 200.
    """
    for few in rows.split(AT_ONCE) if len(rows) > AT_ONCE else (rows,):
        W.addmm_(cuts.summed(W @ few.mT), few, alpha=-1)


def deflated(
    w: Float[Tensor, "P *columns"], against: Tensor | None, cuts: Whole = WHOLE
) -> Float[Tensor, "P *columns"]:
    """What is left of vectors outside of a space of orthonormal columns."""
    if against is not None:
        size = len(cuts.part(w))
        if against.dim() != 2 or len(against) != size:
            raise InputError(f"against must be [{size}, columns], got shape {list(against.shape)}")
        for _ in range(2):
            w = outside(w, against, cuts)
    return w
