"""Spectral measures by the Lanczos process, with bounds on what it has not resolved.

A process of m steps from a vector z gives Gauss quadrature for the measure that z sees: the eigenvalues, weighted by
z's squared components along the eigenvectors. Two errors stand between that and a count of eigenvalues beyond an edge:

*Resolution.* With a node placed on the edge (Gauss-Radau), the weights strictly beyond the edge and those at or beyond
it bound z's true share there (Chebyshev, Markov and Stieltjes; Golub and Meurant 2010, chapter 6). More steps narrow
it. The estimate is the bounds' geometric mean: densities fall by orders of magnitude across the edge, so that the
weight on the edge belongs to either side in the logarithm. It is within 5 % of the limit long before the bounds are,
and long before the weights of plain Gauss quadrature beyond the edge are, which jump as nodes pass it
(benchmarks/test_spectra.py).

*Chance.* For a Gaussian vector in n dimensions of which k belong to eigenvalues beyond the edge, the share is Beta(k/2,
(n-k)/2) distributed, whatever the eigenvalues are; pooled over q vectors, Beta(qk/2, q(n-k)/2). More vectors narrow it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal, solve_banded
from scipy.optimize import brentq
from scipy.special import betaincc
from torch import Tensor

Array = np.ndarray


class SymmetricOperator(Protocol):
    """Anything symmetric that multiplies tensors: an operator of this package, or a dense tensor."""

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


@dataclass(frozen=True)
class Shares:
    """What part of a measure lies below and above a window, each as (lower bound, upper bound)."""

    below: tuple[float, float]
    above: tuple[float, float]

    @property
    def doubt(self) -> float:
        """How far the bounds are apart, both edges together."""
        return self.below[1] - self.below[0] + self.above[1] - self.above[0]

    @property
    def outside(self) -> float:
        """Estimate of what is not inside."""
        return estimate(*self.below) + estimate(*self.above)


def estimate(low: float, high: float) -> float:
    """The bounds' geometric mean; their middle where the lower one is zero. See the module's docstring."""
    return math.sqrt(low * high) if low > 0 else (low + high) / 2


class Lanczos:
    """The Lanczos process with full reorthogonalisation; it can be continued.

    Args:
        H: the operator.
        start: its first vector, of any length but zero.
        against: orthonormal columns ``[P, c]`` that all vectors are kept orthogonal to: the process then sees the
            operator deflated by them.
    """

    def __init__(self, H: SymmetricOperator, start: Float[Tensor, " P"], against: Tensor | None = None) -> None:
        self.H, self.against = H, against
        w = start.to(H.device, H.dtype)
        if against is not None:
            for _ in range(2):
                w = w - against @ (against.mT @ w)
        self.squared_norm = float(w.double().square().sum())
        self._basis = torch.empty(0, H.shape[0], dtype=H.dtype, device=H.device)  # grows by doubling
        self._next = w / w.norm()
        self.alpha: list[float] = []
        self.beta: list[float] = []  # beta[i] couples vectors i and i + 1; the last leads out of the basis
        self.exhausted = False

    @property
    def steps(self) -> int:
        """Products so far."""
        return len(self.alpha)

    @property
    def basis(self) -> Float[Tensor, "step P"]:
        """The orthonormal vectors, one a row."""
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
        v = self._basis[k].copy_(self._next)
        w = self.H @ v
        scale = float(w.norm())
        self.alpha.append(float(v.double() @ w.double()))
        # The three terms first: the pass over all vectors, which reads them twice, then has only rounding to remove.
        w = w - self.alpha[-1] * v
        if k:
            w = w - self.beta[-1] * self._basis[k - 1]
        before = float(w.norm())
        w = self._orthogonalise(w)
        # A second pass where the first cancelled most digits (Daniel et al. 1976).
        if float(w.norm()) < 0.7 * before:
            w = self._orthogonalise(w)
        norm = float(w.norm())
        largest = max(map(abs, self.alpha)) + max(self.beta, default=0.0)
        if norm <= 10 * torch.finfo(self.H.dtype).eps * max(largest, scale):
            self.exhausted, norm = True, 0.0
        self.beta.append(norm)
        self._next = w / norm if norm else w

    def _orthogonalise(self, w: Tensor) -> Tensor:
        V = self._basis[: self.steps]
        w = w - V.mT @ (V @ w)
        if self.against is not None:
            w = w - self.against @ (self.against.mT @ w)
        return w

    def _reserve(self, rows: int) -> None:
        if rows > len(self._basis):
            grown = self._basis.new_empty(max(32, 2 * len(self._basis), rows), self.H.shape[0])
            grown[: len(self._basis)] = self._basis
            self._basis = grown

    def ritz(self) -> tuple[Array, Array, Array]:
        """Ritz values, the start vector's weights on them, and bounds on their residuals (norms of H y - theta y)."""
        if self.steps == 1:
            return np.array(self.alpha), np.ones(1), np.array(self.beta)
        values, vectors = eigh_tridiagonal(self.alpha, self.beta[:-1])
        return values, vectors[0] ** 2, self.beta[-1] * np.abs(vectors[-1])

    def ritz_vectors(self, which: Array) -> Float[Tensor, "P c"]:
        """Ritz vectors of the given indices, orthonormal columns."""
        _, vectors = eigh_tridiagonal(self.alpha, self.beta[:-1])
        chosen = torch.as_tensor(vectors[:, which], dtype=self.H.dtype, device=self.H.device)
        return torch.linalg.qr(self.basis.mT @ chosen).Q

    def shares(self, window: float) -> Shares:
        """Bounds on the parts of the measure below ``-window`` and above ``window``."""
        values, weights = self._radau(-window)
        below = float(weights[values < -window].sum())
        below_at = below + float(weights[values == -window].sum())
        values, weights = self._radau(window)
        above = float(weights[values > window].sum())
        above_at = above + float(weights[values == window].sum())
        return Shares((below, min(1.0, below_at)), (above, min(1.0, above_at)))

    def _radau(self, edge: float) -> tuple[Array, Array]:
        """Gauss-Radau nodes and weights with a node on the edge (Golub 1973); Gauss where nothing is unresolved."""
        if self.exhausted or self.beta[-1] == 0:
            values, weights, _ = self.ritz()
            return values, weights
        m = self.steps
        banded = np.zeros((3, m))
        banded[1] = np.array(self.alpha) - edge
        banded[0, 1:] = banded[2, :-1] = self.beta[:-1]
        right = np.zeros(m)
        right[-1] = self.beta[-1] ** 2
        last = edge + solve_banded((1, 1), banded, right)[-1]
        values, vectors = eigh_tridiagonal([*self.alpha, last], self.beta)
        weights = vectors[0] ** 2
        values[np.argmin(np.abs(values - edge))] = edge  # exactly, not to rounding
        return values, weights


def count_interval(share: tuple[float, float], n: int, probes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the number of eigenvalues beyond an edge, from Gaussian probes' pooled share there.

    Args:
        share: lower and upper bound of the pooled share.
        n: dimensions that the probes are drawn in.
        probes: how many were pooled.
        confidence: probability that the interval covers the number.
    """
    tail = (1 - confidence) / 2

    def chance_of_more(k: float, s: float) -> float:
        if k <= 0 or k >= n:
            return float(k >= n)
        return float(betaincc(probes * k / 2, probes * (n - k) / 2, s))

    low, high = share
    least, most = 0.0, float(n)
    if low > 0:  # the smallest count for which so large a share is not too unlikely
        least = _root(lambda k: chance_of_more(k, low) - tail, n)
    if high < 1:
        most = _root(lambda k: chance_of_more(k, high) - (1 - tail), n)
    return math.floor(least), math.ceil(most)


def _root(f, n: int) -> float:  # type: ignore[no-untyped-def]
    tiny = 1e-9
    if f(tiny) >= 0:
        return 0.0
    if f(n - tiny) <= 0:
        return float(n)
    return float(brentq(f, tiny, n - tiny, xtol=1e-6 * n, rtol=1e-9))


@dataclass(frozen=True)
class LanczosCounts:
    """Counts of eigenvalues below and above a window, how they were got, and what was seen on the way.

    Attributes:
        below: (estimate, low, high).
        above: likewise.
        outside: likewise, of both together.
        exact: how many of them are converged Ritz pairs.
        probes: random vectors behind the rest.
        products: products with the operator in all.
        nodes: of a quadrature of the spectral density, with the weights beside.
        weights: of the nodes; they sum to 1.
        extremes: smallest and largest Ritz value.
        trace: (estimate, low, high).
    """

    below: tuple[float, float, float]
    above: tuple[float, float, float]
    outside: tuple[float, float, float]
    exact: int
    probes: int
    products: int
    nodes: Array
    weights: Array
    extremes: tuple[float, float]
    trace: tuple[float, float, float]


CONVERGED = 0.01  # of the window: the largest residual of a Ritz pair that is counted as an eigenvalue


def lanczos_counts(
    H: SymmetricOperator,
    window: float,
    *,
    tolerance: float = 0.05,
    max_steps: int = 1000,
    max_probes: int = 16,
    seed: int = 0,
) -> LanczosCounts:
    """Count the eigenvalues outside a window until the interval is as narrow as asked.

    A first process runs until its bounds are close. Where chance then still leaves too wide an interval (few
    eigenvalues outside), the Ritz pairs that converged outside the window are counted one by one and projected away,
    and fresh probes estimate the rest in the complement. They are independent of what was projected away, so the
    intervals hold.

    Args:
        H: the operator.
        window: half the window's width, positive.
        tolerance: half the width of the 95 % interval of the number outside, relative to it.
        max_steps: products per process.
        max_probes: processes after the first; none: the answer is the first one's, however wide its interval.
        seed: of the random vectors.
    """
    n = H.shape[0]
    generator = torch.Generator().manual_seed(seed)

    def probe() -> Tensor:
        return torch.randn(n, generator=generator, dtype=torch.float64)

    first = Lanczos(H, probe())
    shares = _run(first, window, n, 0, tolerance, max_steps)
    found = _Pool(n, window)
    found.add(first, shares)
    products = first.steps
    if max_probes and found.relative_error() > tolerance:
        deflated = _converged(first, window)
        found = _Pool(n, window, first, deflated)
        while found.probes < max_probes and (found.probes == 0 or found.relative_error() > tolerance):
            process = Lanczos(H, probe(), against=found.vectors)
            found.add(process, _run(process, window, found.dimensions, found.counted, tolerance, max_steps))
            products += process.steps
    return found.result(products)


def _run(process: Lanczos, window: float, n: int, counted: int, tolerance: float, max_steps: int) -> Shares:
    """Extend the process until its bounds leave less doubt than half the tolerance."""
    step = 20
    while True:
        process.extend(min(step, max_steps - process.steps))
        shares = process.shares(window)
        resolved = n * shares.doubt / 2 <= tolerance / 2 * (counted + n * shares.outside)
        if process.exhausted or process.steps >= max_steps or resolved:
            return shares
        step = max(20, process.steps // 4)


def _converged(process: Lanczos, window: float) -> Array:
    values, _, residuals = process.ritz()
    return np.flatnonzero((residuals <= CONVERGED * window) & (np.abs(values) - window > residuals))


class _Pool:
    """Probes pooled, beside eigenvalues counted one by one."""

    def __init__(self, n: int, window: float, deflated: Lanczos | None = None, which: Array | None = None) -> None:
        self.n, self.window = n, window
        self.vectors: Tensor | None = None
        self.values = np.empty(0)
        if deflated is not None and which is not None and len(which):
            self.values = deflated.ritz()[0][which]
            self.vectors = deflated.ritz_vectors(which)
        self.lengths: list[float] = []
        self.shares: list[Shares] = []
        self.nodes: list[Array] = []
        self.weights: list[Array] = []

    @property
    def counted(self) -> int:
        return len(self.values)

    @property
    def dimensions(self) -> int:
        return self.n - self.counted

    @property
    def probes(self) -> int:
        return len(self.shares)

    def add(self, process: Lanczos, shares: Shares) -> None:
        """One finished process."""
        values, weights, _ = process.ritz()
        self.lengths.append(process.squared_norm)
        self.shares.append(shares)
        self.nodes.append(values)
        self.weights.append(weights)

    def _pooled(self, shares: list[tuple[float, float]]) -> tuple[float, float]:
        # Weighted by the squared lengths, as the pooled shares of unnormalised probes are: then Beta is exact.
        low, high = np.average(shares, axis=0, weights=self.lengths)
        return float(low), float(min(1.0, high))

    def _count(self, counted: int, shares: list[tuple[float, float]]) -> tuple[float, float, float]:
        if self.dimensions == 0:
            return counted, counted, counted
        low, high = self._pooled(shares)
        least, most = count_interval((low, high), self.dimensions, self.probes)
        return counted + self.dimensions * estimate(low, high), counted + least, counted + most

    def below(self) -> tuple[float, float, float]:
        return self._count(int((self.values < 0).sum()), [s.below for s in self.shares])

    def above(self) -> tuple[float, float, float]:
        return self._count(int((self.values > 0).sum()), [s.above for s in self.shares])

    def outside(self) -> tuple[float, float, float]:
        both = [(s.below[0] + s.above[0], min(1.0, s.below[1] + s.above[1])) for s in self.shares]
        _, low, high = self._count(self.counted, both)
        return self.below()[0] + self.above()[0], low, high

    def relative_error(self) -> float:
        count, low, high = self.outside()
        return (high - low) / 2 / max(count, 1.0)

    def result(self, products: int) -> LanczosCounts:
        rest = self.dimensions / self.n / self.probes
        nodes = np.concatenate([self.values, *self.nodes])
        weights = np.concatenate([np.full(self.counted, 1 / self.n), *(rest * w for w in self.weights)])
        trace = self.n * float(nodes @ weights)
        # A Gaussian probe's z^T H z has variance 2 |H|_F^2; what was counted one by one has none.
        free = np.concatenate(self.nodes), np.concatenate(self.weights) / self.probes
        spread = 1.96 * math.sqrt(2 * self.dimensions * float(free[0] ** 2 @ free[1]) / self.probes)
        extremes = float(nodes.min()), float(nodes.max())
        return LanczosCounts(
            self.below(), self.above(), self.outside(), self.counted, self.probes, products, nodes, weights, extremes,
            (trace, trace - spread, trace + spread),
        )  # fmt: skip
