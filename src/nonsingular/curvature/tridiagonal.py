"""What the tridiagonal matrix of a Lanczos process says of the measure that its start vector sees.

A process of m steps from a vector z gives Gauss quadrature for the measure that z sees: the eigenvalues, weighted by
z's squared components along the eigenvectors. With a node placed on an edge (Gauss-Radau), the weights strictly beyond
the edge and those at or beyond it bound z's true share there (Chebyshev, Markov and Stieltjes; Golub and Meurant 2010,
chapter 6). More steps narrow it. The estimate is the bounds' geometric mean: densities fall by orders of magnitude
across the edge, so that the weight on the edge belongs to either side in the logarithm. It is within 5 % of the limit
long before the bounds are, and long before the weights of plain Gauss quadrature beyond the edge are, which jump as
nodes pass it (benchmarks/test_exact_counts.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


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


def _bounds(low: float, high: float) -> tuple[float, float]:
    """Both within [0, 1], which rounding may have left."""
    low = min(max(float(low), 0.0), 1.0)
    return low, min(max(float(high), low), 1.0)


class Tridiagonal:
    """The coefficients of a Lanczos process.

    Attributes:
        alpha: the diagonal, one number a step.
        beta: ``beta[i]`` couples steps i and i + 1; the last leads out of the space.
        squared_norm: of the start vector.
        exhausted: whether the space that the start vector reaches is complete.
        eps: precision of the products.
    """

    def __init__(self, squared_norm: float) -> None:
        self.squared_norm = squared_norm
        self.alpha: list[float] = []
        self.beta: list[float] = []
        self.exhausted = False
        self.eps = 0.0

    @property
    def steps(self) -> int:
        """Products so far."""
        return len(self.alpha)

    def add(self, alpha: float, beta: float, scale: float, eps: float) -> bool:
        """One step; whether there is a next one.

        Args:
            alpha: the diagonal's entry.
            beta: the length of what is left of the product.
            scale: the length of the product.
            eps: the precision of the product, relative to it.
        """
        self.alpha.append(alpha)
        self.eps = eps
        largest = max(map(abs, self.alpha)) + max(self.beta, default=0.0)
        self.exhausted = self.exhausted or not beta > 10 * eps * max(largest, scale)
        self.beta.append(0.0 if self.exhausted else beta)
        return not self.exhausted

    def ritz(self) -> tuple[Array, Array, Array]:
        """Ritz values, the start vector's weights on them, and bounds on their residuals (norms of H y - theta y)."""
        if self.steps == 1:
            return np.array(self.alpha), np.ones(1), np.array(self.beta)
        from scipy.linalg import eigh_tridiagonal  # which exact counts do without

        values, vectors = eigh_tridiagonal(self.alpha, self.beta[:-1])
        return values, vectors[0] ** 2, self.beta[-1] * np.abs(vectors[-1])

    def shares(self, window: float) -> Shares:
        """Bounds on the parts of the measure below ``-window`` and above ``window``."""
        values, weights = self._radau(-window)
        near = self.rounding(values)  # who is that near to the edge may be on either side
        below = _bounds(weights[values < -window - near].sum(), weights[values <= -window + near].sum())
        values, weights = self._radau(window)
        above = _bounds(weights[values > window + near].sum(), weights[values >= window - near].sum())
        return Shares(below, above)

    def rounding(self, values: Array) -> float:
        """How far rounding may have moved the given Ritz values."""
        return 10 * self.eps * float(np.abs(values).max())

    def _radau(self, edge: float) -> tuple[Array, Array]:
        """Gauss-Radau nodes and weights with a node on the edge (Golub 1973); Gauss where nothing is unresolved."""
        if self.exhausted or self.beta[-1] == 0:
            values, weights, _ = self.ritz()
            return values, weights
        from scipy.linalg import eigh_tridiagonal, solve_banded

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
