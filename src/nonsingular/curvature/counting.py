"""Counts of eigenvalues outside a window by Lanczos processes, with intervals that cover.

Two errors stand between what random vectors see and a count of eigenvalues beyond an edge. *Resolution*: a process of
some steps bounds its vector's share there (`tridiagonal`). *Chance*: for a Gaussian vector in n dimensions of which k
belong to eigenvalues beyond the edge, the share is Beta(k/2, (n-k)/2) distributed, whatever the eigenvalues are; pooled
over q vectors, Beta(qk/2, q(n-k)/2). More steps narrow the one, more vectors the other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nonsingular import progress
from nonsingular.curvature.algebra import PRODUCTS
from nonsingular.curvature.cuts import Whole, cuts_of
from nonsingular.curvature.lanczos import Lanczos, Lockstep, SymmetricOperator
from nonsingular.curvature.room import fitting, gaussian, require
from nonsingular.curvature.traces import Forms, complement_forms
from nonsingular.curvature.tridiagonal import Shares, Tridiagonal, estimate
from nonsingular.words import counted, percentage

Array = np.ndarray


def count_interval(share: tuple[float, float], n: int, probes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the number of eigenvalues beyond an edge, from Gaussian probes' pooled share there.

    Args:
        share: lower and upper bound of the pooled share.
        n: dimensions that the probes are drawn in.
        probes: how many were pooled.
        confidence: probability that the interval covers the number.
    """
    from scipy.special import betaincc  # which takes a quarter of a second to load

    tail = (1 - confidence) / 2

    def chance_of_more(k: float, s: float) -> float:
        if k <= 0 or k >= n:
            return float(k >= n)
        if not 0 < s < 1:
            return float(s <= 0)
        return float(betaincc(probes * k / 2, probes * (n - k) / 2, s))

    low, high = share
    least, most = 0.0, float(n)
    if low > 0:  # the smallest count for which so large a share is not too unlikely
        least = _root(lambda k: chance_of_more(k, low) - tail, n)
    if high < 1:
        most = _root(lambda k: chance_of_more(k, high) - (1 - tail), n)
    return math.floor(least), math.ceil(most)


def _root(f, n: int) -> float:  # type: ignore[no-untyped-def]
    from scipy.optimize import brentq

    tiny = 1e-9
    if f(tiny) >= 0:
        return 0.0
    if f(n - tiny) <= 0:
        return float(n)
    return float(brentq(f, tiny, n - tiny, xtol=1e-3, rtol=1e-12))


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
        stopped: why the interval is wider than asked; empty where it is not.
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
    stopped: str = ""


CONVERGED = 0.01  # of the window: the largest residual of a Ritz pair that is counted as an eigenvalue
FIRST = 256  # steps of the process that keeps its vectors, where others follow
BASIS_SHARE = 0.25  # of the available memory, for its vectors
LEAST = 8  # vectors without which nothing is begun: a basis of two, and what a step and a product have in hand
BLOCKS = 6  # vectors for each process side by side
TRACE_VECTORS = 10  # for what those vectors do not span
TRACE_SHARE = 0.1  # of the time, which they may take beyond it
SMALL = 5000  # eigenvalues up to which all processes are reorthogonalised, which costs little there
MARGIN = 1.1  # on the number of vectors, which is chosen by an estimate
CHANCE = 0.7
"""Of the error that chance may make, the rest is what is not resolved. Chance falls with the square root of the number
of vectors, what is not resolved faster than with the number of steps, so that steps pay more."""


def lanczos_counts(
    H: SymmetricOperator,
    window: float,
    *,
    error: float = 0.05,
    seconds: float = 60.0,
    max_steps: int = 1000,
    max_probes: int = 16,
    seed: int = 0,
) -> LanczosCounts:
    """Count the eigenvalues outside a window until the interval is as narrow as asked, or the time is up.

    A first process runs until its bounds are close. Where chance then still leaves too wide an interval, the Ritz pairs
    that converged outside the window are counted one by one and projected away, and as many fresh vectors as chance
    needs estimate the rest in the complement, side by side. They are independent of what was projected away, so the
    intervals hold.

    Args:
        H: the operator.
        window: half the window's width, positive.
        error: half the width of the 95 % interval of the number outside, relative to it.
        seconds: after which the interval is given as wide as it then is; half of them are the first process's.
        max_steps: products per process.
        max_probes: processes after the first; none: the answer is the first one's, however wide its interval.
        seed: of the random vectors.

    Raises:
        InputError: a few vectors do not fit into memory.
    """
    n = H.shape[0]
    require(H, LEAST, "Lanczos")
    generator = torch.Generator().manual_seed(seed)
    first = Lanczos(H, gaussian(H, 1, generator)[:, 0])
    first.extend(1)  # operators prepare their products with the first one, which is no part of the time
    clock, cuts = _Clock(seconds, cuts_of(H)), cuts_of(H)
    found = _Pool(n, window)
    steps = min(max_steps, FIRST) if max_probes else max_steps
    progress.expect(PRODUCTS, min(steps, _rows(H), n) + (TRACE_VECTORS if max_probes else 0))  # at most, if it suffices
    _run([first], found, error, min(steps, _rows(H)), clock.part(0.5) if max_probes else clock)
    products, per_step = first.steps, clock.passed / max(first.steps - 1, 1)
    if max_probes and found.relative_error() > error and clock.left > per_step:
        total, found = found.outside()[0], _Pool(n, window, first)
        missing = _vectors_needed(total - found.counted, total, error)
        while found.probes < max_probes and (not found.probes or found.relative_error() > error) and clock.left > 0:
            affordable = int(clock.left / (per_step * first.steps)) if clock.left < math.inf else max_probes
            # As many as there are already, so that no more are run than turn out to be needed.
            room = fitting(H) // BLOCKS
            count = max(1, min(missing, max(2, found.probes), max_probes - found.probes, affordable, room))
            progress.expect(PRODUCTS, products + count * first.steps + TRACE_VECTORS)
            starts = gaussian(H, count, generator)
            products += _run(_side_by_side(H, starts, found.vectors), found, error, max_steps, clock)
            if not found.dimensions or found.unresolved() > error:  # which more vectors would not change
                break
    forms, seen = _first_forms(first), 0.0
    if max_probes:
        time_left = max(clock.left, TRACE_SHARE * seconds) / max(per_step, 1e-9)
        vectors = int(max(1, min(TRACE_VECTORS, time_left)))
        forms = complement_forms(H, first.basis.mT, vectors, generator, cuts)
        seen, products = sum(first.alpha), products + len(forms.values)
    progress.expect(PRODUCTS, products)  # no more were needed
    return found.result(products, seen, forms, _why_stopped(found.relative_error(), error, clock, max_probes))


class _Clock:
    """Time that may pass, the same in all processes."""

    def __init__(self, seconds: float, cuts: Whole) -> None:
        self.start, self.seconds, self.cuts = time.perf_counter(), seconds, cuts

    @property
    def passed(self) -> float:
        return self.cuts.least(time.perf_counter() - self.start)

    @property
    def left(self) -> float:
        return self.seconds - self.passed

    def part(self, share: float) -> _Clock:
        """A clock with part of what is left."""
        return _Clock(share * self.left, self.cuts)


def _rows(H: SymmetricOperator) -> int:
    """How many vectors fit the memory that they may take, of all processes together."""
    return max(2, fitting(H, BASIS_SHARE) * cuts_of(H).processes)


def _side_by_side(H: SymmetricOperator, starts: Tensor, against: Tensor | None) -> Sequence[Lanczos] | Lockstep:
    if H.shape[0] > SMALL:
        return Lockstep(H, starts, against)
    return [Lanczos(H, start, against) for start in starts.T]


def _run(running: Sequence[Lanczos] | Lockstep, pool: _Pool, error: float, max_steps: int, clock: _Clock) -> int:
    """Extend processes until their bounds leave less doubt than their part of the error; add them to the pool."""
    if not pool.dimensions:
        return 0
    groups = [running] if isinstance(running, Lockstep) else running
    processes: Sequence[Tridiagonal] = running.processes if isinstance(running, Lockstep) else running
    step, begun = max(1, 20 - max(g.steps for g in groups)), clock.passed
    while True:
        longest = max(g.steps for g in groups)
        each = (clock.passed - begun) / longest if longest else 0.0
        for _ in range(step):
            for group in groups:
                group.extend(min(1, max_steps - group.steps))
            if clock.left <= each:
                break
        shares = [p.shares(pool.window) for p in processes]
        doubt, outside = (pool.dimensions * float(np.mean([f(s) for s in shares])) for f in (_doubt, _outside))
        resolved = doubt / 2 <= (1 - CHANCE) * error * (pool.counted + outside)
        longest = max(g.steps for g in groups)
        if resolved or all(g.exhausted for g in groups) or longest >= max_steps or clock.left <= each:
            break
        step = max(20, longest // 4)
    for process, share in zip(processes, shares, strict=True):
        pool.add(process, share)
    return sum(p.steps for p in processes)


def _doubt(shares: Shares) -> float:
    return shares.doubt


def _outside(shares: Shares) -> float:
    return shares.outside


def _vectors_needed(rest: float, total: float, error: float) -> int:
    """For chance's part of the error, where ``rest`` of ``total`` eigenvalues outside are not counted one by one."""
    return math.ceil(MARGIN * 2 * max(rest, 0.0) * (1.96 / (CHANCE * error * max(total, 1.0))) ** 2)


def _first_forms(first: Lanczos) -> Forms:
    """What the first vector alone says of the trace: its own product."""
    alpha, beta = first.alpha[0], first.beta[0]
    values, squares = np.array([alpha]), np.array([alpha**2 + beta**2])
    return Forms(first.squared_norm * values, first.squared_norm * squares)


def _why_stopped(reached: float, error: float, clock: _Clock, max_probes: int) -> str:
    if reached <= error:
        return ""
    why = (
        f"{clock.seconds:g} s were up; seconds= gives it more"
        if clock.left <= 0.05 * clock.seconds
        else f"at most {counted(max_probes, 'further random vector')}, or more would not help"
    )
    return f"stopped early ({why}): the number outside is known to {percentage(reached)} instead of {percentage(error)}"


def _converged(process: Lanczos, window: float) -> Array:
    values, _, residuals = process.ritz()
    return np.flatnonzero(
        (residuals <= CONVERGED * window) & (np.abs(values) - window > residuals + process.rounding(values))
    )


class _Pool:
    """Probes pooled, beside eigenvalues counted one by one."""

    def __init__(self, n: int, window: float, first: Lanczos | None = None) -> None:
        self.n, self.window = n, window
        self.vectors: Tensor | None = None
        self.values = np.empty(0)
        if first is not None and len(which := _converged(first, window)):
            self.values = first.ritz()[0][which]
            self.vectors = first.ritz_vectors(which)
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

    def add(self, process: Tridiagonal, shares: Shares) -> None:
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

    def unresolved(self) -> float:
        """What processes have not resolved, as a part of the number outside."""
        doubt = float(np.average([s.doubt for s in self.shares], weights=self.lengths))
        return self.dimensions * doubt / 2 / max(self.outside()[0], 1.0)

    def relative_error(self) -> float:
        count, low, high = self.outside()
        return (high - low) / 2 / max(count, 1.0)

    def result(self, products: int, seen: float, forms: Forms, stopped: str) -> LanczosCounts:
        """The counts, and the trace: what was ``seen`` of it and ``forms`` of the rest."""
        rest = self.dimensions / self.n / max(self.probes, 1)
        nodes = np.concatenate([self.values, *self.nodes])
        weights = np.concatenate([np.full(self.counted, 1 / self.n), *(rest * w for w in self.weights)])
        trace, spread = forms.trace
        trace += seen
        extremes = float(nodes.min()), float(nodes.max())
        return LanczosCounts(
            self.below(), self.above(), self.outside(), self.counted, self.probes, products, nodes, weights, extremes,
            (trace, trace - spread, trace + spread), stopped,
        )  # fmt: skip
