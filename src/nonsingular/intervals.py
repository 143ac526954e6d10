"""Effects with intervals over independent runs: what claims and treatments are judged by.

Intervals are of 95 %, or of what ``erring_with`` asks for around their computation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

EVERYWHERE = (-math.inf, math.inf)

ERROR = 0.05
"""Chance that an interval misses what it is an interval of."""

_error = ContextVar("error", default=ERROR)


@contextmanager
def erring_with(chance: float) -> Iterator[None]:
    """Intervals that are computed inside miss with this chance, in (0, 1)."""
    token = _error.set(chance)
    try:
        yield
    finally:
        _error.reset(token)


def tails() -> tuple[float, float]:
    """The quantiles between which an interval lies: 0.025 and 0.975 for 95 %."""
    return _error.get() / 2, 1 - _error.get() / 2


@dataclass(frozen=True)
class Effect:
    """A measured number with its interval; ``runs`` is how many independent runs stand behind it."""

    value: float
    low: float
    high: float
    runs: int
    note: str = ""


def exactly(value: float, note: str = "") -> Effect:
    """An effect without sampling error: an identity, a count, a residual to be held against a tolerance."""
    return Effect(value, value, value, runs=1, note=note)


def mean(samples: ArrayLike, *, note: str = "", within: tuple[float, float] = EVERYWHERE) -> Effect:
    """The mean over runs with its 95 % bootstrap interval. NaN samples (diverged runs) are left out.

    Args:
        samples: shape ``[run]``.
        note: kept with the verdict.
        within: the values that are possible, such as (-1, 1) for a correlation; the interval does not leave them.
    """
    values = _finite(samples)
    average = values.mean() if values.size else math.nan
    return _effect(_bootstrap(values, seed=0), average, values.size, note, within)


def difference(
    a: ArrayLike, b: ArrayLike, *, paired: bool = False, note: str = "", within: tuple[float, float] = EVERYWHERE
) -> Effect:
    """Mean of ``a`` minus mean of ``b`` with its 95 % bootstrap interval over runs.

    Args:
        a: shape ``[run]``.
        b: shape ``[run]``; with ``paired`` the runs correspond (the same seed).
        paired: whether to resample pairs.
        note: kept with the verdict.
        within: the differences that are possible, such as (-100, 100) for percentages.
    """
    if paired:
        return mean(np.asarray(a, float) - np.asarray(b, float), note=note, within=within)
    x, y = _finite(a), _finite(b)
    value = x.mean() - y.mean() if x.size and y.size else math.nan
    return _effect(_bootstrap(x, seed=0) - _bootstrap(y, seed=1), value, min(x.size, y.size), note, within)


def rank_correlation(a: ArrayLike, b: ArrayLike, *, note: str = "") -> Effect:
    """Spearman's rank correlation over runs, in [-1, 1], with its 95 % bootstrap interval.

    Args:
        a: shape ``[run]``.
        b: shape ``[run]``; a run that is not finite in both is left out.
        note: kept with the verdict.
    """
    pairs = np.stack([np.asarray(a, float).ravel(), np.asarray(b, float).ravel()])
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    n = pairs.shape[1]
    if n < FEWEST_PAIRS:
        return Effect(math.nan, math.nan, math.nan, n, note or f"{n} runs give no rank correlation")
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    value = float(_spearman(pairs[:1], pairs[1:])[0])
    if math.isnan(value):
        return Effect(value, value, value, n, note or "what does not vary has no rank correlation")
    # A resample of one run again and again has no correlation: 0 is the honest stand-in.
    resamples = np.nan_to_num(_spearman(pairs[0][draws], pairs[1][draws]))
    return _effect(resamples, value, n, note)


FEWEST_PAIRS = 5


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row."""
    ranks = [stats.rankdata(x, axis=1) for x in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return np.asarray((x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1)))


RESAMPLES = 10_000


def _finite(samples: ArrayLike) -> np.ndarray:
    values = np.asarray(samples, float).ravel()
    return values[np.isfinite(values)]


def _bootstrap(values: np.ndarray, seed: int) -> np.ndarray:
    """Means of bootstrap resamples; NaN for fewer than two values, which have no spread.

    Few runs make the plain percentile interval too narrow. The deviations are widened by sqrt(n / (n - 1)) and by
    the ratio of Student's to the normal quantile, which gives the t interval for normal samples.
    """
    n = values.size
    if n < 2:
        return np.full(RESAMPLES, math.nan)
    draws = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    _, upper = tails()
    widen = math.sqrt(n / (n - 1)) * stats.t.ppf(upper, n - 1) / stats.norm.ppf(upper)
    return values.mean() + widen * (values[draws].mean(axis=1) - values.mean())


def _effect(
    resamples: np.ndarray, value: float, runs: int, note: str, within: tuple[float, float] = EVERYWHERE
) -> Effect:
    if runs < 2:
        return Effect(float(value), math.nan, math.nan, runs, note or "one run gives no interval")
    low, high = np.clip(np.quantile(resamples, tails()), *within)
    return Effect(float(value), float(low), float(high), runs, note)
