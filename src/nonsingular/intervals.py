"""Effects with intervals over independent runs: what claims and treatments are judged by.

Intervals are of 95 %, or of what ``erring_with`` asks for around their computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from nonsingular.words import counted

EVERYWHERE = (-math.inf, math.inf)

ERROR = 0.05
"""Chance that an interval misses what it is an interval of."""

_error = ContextVar("error", default=ERROR)
_exact_of_equals = ContextVar("exact_of_equals", default=False)


@contextmanager
def erring_with(chance: float | None = None) -> Iterator[None]:
    """Intervals that are computed inside decide something: they miss with this chance, in (0, 1), or with the present.

    Those of equal runs too (``_of_equals``).
    """
    tokens = _error.set(chance or _error.get()), _exact_of_equals.set(True)
    try:
        yield
    finally:
        _error.reset(tokens[0])
        _exact_of_equals.reset(tokens[1])


@contextmanager
def sharing_error(parts: int) -> Iterator[None]:
    """Intervals that are computed inside miss with a part of the chance each, so that all together miss with it."""
    token = _error.set(_error.get() / parts)
    try:
        yield
    finally:
        _error.reset(token)


def tails() -> tuple[float, float]:
    """The quantiles between which an interval lies: 0.025 and 0.975 for 95 %."""
    return _error.get() / 2, 1 - _error.get() / 2


EQUAL = "all equal"
"""What is said of an interval whose ends are the same: so were all runs."""


def in_words(low: float | None, high: float | None, none: str = "–") -> str:
    """Both ends of an interval, with as many digits as tell them apart; the one that there is; or ``none``.

    Ends that agree to six digits are equal: single precision tells no more.

    >>> in_words(0.123412, 0.123448), in_words(1.0, None), in_words(2.0, 2.0)
    ('0.12341 to 0.12345', '1 or more', 'all equal')
    """
    low, high = (None if end is None or math.isnan(end) else end for end in (low, high))
    if low is None or high is None:
        return none if low is high else f"{high:.3g} or less" if low is None else f"{low:.3g} or more"
    told = ((f"{low:.{digits}g}", f"{high:.{digits}g}") for digits in range(3, 7))
    return next((f"{a} to {b}" for a, b in told if a != b), EQUAL)


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
        samples: shape ``[run]``; independent of each other. Of those that are not, ``clustered`` takes the mean.
        note: kept with the verdict.
        within: the values that are possible, such as (-1, 1) for a correlation; the interval does not leave them.
    """
    values = _finite(samples)
    return _effect([_resampled(values, np.ones_like(values), seed=0)], note, within)


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
    return _effect([_resampled(x, np.ones_like(x), seed=0), _resampled(y, np.ones_like(y), seed=1)], note, within)


Statistic = Callable[[np.ndarray], float]
"""Units, shape ``[unit ...]`` -> a number."""


def clustered(
    values: ArrayLike,
    cluster: ArrayLike,
    statistic: Statistic | None = None,
    *,
    note: str = "",
    within: tuple[float, float] = EVERYWHERE,
) -> Effect:
    """A statistic of units that depend on each other, with its 95 % bootstrap interval over clusters, which do not.

    Epochs of one run, or networks that share a seed, are no independent evidence: whole clusters are resampled, each
    with all its units, and ``runs`` of the effect is their number.

    Args:
        values: shape ``[unit]``, or ``[unit variable]`` for a statistic of several variables; units that are not finite
            in all of them are left out.
        cluster: shape ``[unit]``, the cluster of each, such as the seed of its run.
        statistic: what is computed of the units; by default their mean.
        note: kept with the verdict; by default how many units there are in how many clusters.
        within: the values that are possible; the interval does not leave them.

    >>> effect = clustered([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [0, 0, 1, 1, 2, 2])
    >>> effect == mean([1.0, 2.0, 3.0], note="6 points of 3 runs")
    True
    """
    members = _members(values, cluster)
    note = note or f"{counted(sum(map(len, members)), 'point')} of {counted(len(members), 'run')}"
    if statistic is None:
        sums, sizes = np.array([m.sum() for m in members]), np.array([float(len(m)) for m in members])
        return _effect([_resampled(sums, sizes, seed=0)], note, within)
    if len(members) < 2:
        return Effect(math.nan, math.nan, math.nan, len(members), note)
    value = statistic(np.concatenate(members))
    ends = _ends_over_clusters(members, statistic, value)
    runs = len(members)
    return _bounded(value, ends, runs, note, within) if np.ptp(ends) else _alike(value, runs, note, within)


def _members(values: ArrayLike, cluster: ArrayLike) -> list[np.ndarray]:
    """The units of each cluster that are finite in all variables, shape ``[unit ...]`` each."""
    units, names = np.asarray(values, float), np.asarray(cluster)
    finite = np.isfinite(units.reshape(len(units), -1)).all(1)
    return [units[finite & (names == name)] for name in np.unique(names[finite])]


def _ends_over_clusters(members: Sequence[np.ndarray], statistic: Statistic, value: float) -> np.ndarray:
    """The ends of the percentile interval over resampled clusters, widened for few; NaN of a value that is NaN."""
    draws = np.random.default_rng(0).integers(len(members), size=(SLOW_RESAMPLES, len(members)))
    found = np.array([statistic(np.concatenate([members[c] for c in draw])) for draw in draws])
    # A resample of one cluster again and again may have no statistic, such as no correlation: the value stands in.
    found = np.where(np.isfinite(found), found, value)
    return value + np.quantile(_widening(len(members)) * (found - value), tails())


def rank_correlation(a: ArrayLike, b: ArrayLike, *, cluster: ArrayLike | None = None, note: str = "") -> Effect:
    """Spearman's rank correlation over runs, in [-1, 1], with its 95 % bootstrap interval.

    Args:
        a: shape ``[run]``.
        b: shape ``[run]``; a run that is not finite in both is left out.
        cluster: shape ``[run]``, where the entries are not independent: as ``clustered`` takes it.
        note: kept with the verdict.
    """
    pairs = np.stack([np.asarray(a, float).ravel(), np.asarray(b, float).ravel()])
    finite = np.isfinite(pairs).all(0)
    pairs = pairs[:, finite]
    n = pairs.shape[1]
    if n < FEWEST_PAIRS:
        return Effect(math.nan, math.nan, math.nan, n, note or f"{counted(n, 'run')}: too few for a rank correlation")
    value = float(_spearman(pairs[:1], pairs[1:])[0])
    if math.isnan(value):
        return Effect(value, value, value, n, note or "what does not vary has no rank correlation")
    if cluster is not None:
        members = _members(pairs.T, np.asarray(cluster).ravel()[finite])
        if len(members) < 2:
            return Effect(math.nan, math.nan, math.nan, len(members), note or "one run gives no interval")
        ends = _ends_over_clusters(members, lambda x: float(_spearman(x.T[:1], x.T[1:])[0]), value)
        note = note or f"{counted(n, 'point')} of {counted(len(members), 'run')}"
        return _with_room(_bounded(value, ends, len(members), note, (-1, 1)))
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    # A resample of one run again and again has no correlation: 0 is the honest stand-in.
    away = np.nan_to_num(_spearman(pairs[0][draws], pairs[1][draws])) - value
    if n >= STUDENTISED:
        return _with_room(_bounded(value, value + np.quantile(away, tails()), n, note, (-1, 1)))
    return _joined(_bounded(value, value + np.quantile(_widening(n) * away, tails()), n, note, (-1, 1)))


def _with_room(found: Effect) -> Effect:
    """A rank correlation whose resamples are all equal, as of runs in perfect order, joined with Fisher's interval."""
    return _joined(found) if found.high - found.low < 1e-9 else found


def _joined(found: Effect) -> Effect:
    low, high = _on_fishers_scale(found.value, found.runs)
    return replace(found, low=min(found.low, low), high=max(found.high, high, found.value))


def _on_fishers_scale(value: float, n: int) -> tuple[float, float]:
    """Where a rank correlation lies on Fisher's scale (Fieller, Hartley and Pearson 1957); of three runs, anywhere.

    Few runs may be in perfect order, and so are all their resamples; one exchange of neighbours is held possible.
    """
    if n <= 3:
        return -1.0, 1.0
    from scipy.special import ndtri  # which takes a quarter of a second to load

    most = 1 - 12 / (n * (n**2 - 1))
    half = float(ndtri(tails()[1])) * math.sqrt(1.06 / (n - 3))
    at = math.atanh(min(max(value, -most), most))
    return math.tanh(at - half), math.tanh(at + half)


ALIKE = "all runs are equal and show no spread"
FEWEST_PAIRS = 5
RESAMPLES = 10_000
SLOW_RESAMPLES = 2_000
STUDENTISED = 8
"""Runs from which on intervals of means are studentised (``_effect``)."""


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row."""
    from scipy.stats import rankdata  # which takes half a second to load

    ranks = [rankdata(x, axis=1) for x in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return np.asarray((x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1)))


def _finite(samples: ArrayLike) -> np.ndarray:
    values = np.asarray(samples, float).ravel()
    return values[np.isfinite(values)]


@dataclass(frozen=True)
class _Resampled:
    """A mean and its standard error, and those of its bootstrap resamples (empty with fewer than two clusters)."""

    value: float
    error: float
    clusters: int
    values: np.ndarray
    errors: np.ndarray


def _resampled(sums: np.ndarray, sizes: np.ndarray, seed: int) -> _Resampled:
    """The mean of clustered units, from the sum and the number of units in each cluster: shape ``[cluster]`` both."""
    n = len(sums)
    if n < 2:
        value = float(sums.sum() / sizes.sum()) if n else math.nan
        return _Resampled(value, math.nan, n, np.empty(0), np.empty(0))
    value = sums.sum() / sizes.sum()
    left = sums - value * sizes if np.ptp(sums / sizes) else np.zeros(n)  # of equal clusters to the bit
    # Sums over each resample, whose first row is the sample itself: how often a cluster was drawn, times what it has.
    units, shift, own, both, sized = (_counts(n, seed) @ np.stack([sizes, left, left**2, left * sizes, sizes**2], 1)).T
    moved = shift / units
    square = own - 2 * moved * both + moved**2 * sized
    square = np.where(square > 1e-12 * own, square, 0)  # equal clusters have no error; rounding would make one of it
    errors = np.sqrt(n / (n - 1) * square) / units
    return _Resampled(float(value), float(errors[0]), n, value + moved[1:], errors[1:])


@lru_cache(maxsize=8)
def _counts(n: int, seed: int) -> np.ndarray:
    """How often each of ``n`` clusters is drawn: once, and then with replacement; shape ``[1 + RESAMPLES, n]``."""
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return np.concatenate([np.ones((1, n)), draws])


def _effect(parts: Sequence[_Resampled], note: str, within: tuple[float, float]) -> Effect:
    """The first mean, less the second where there are two, with its interval.

    From ``STUDENTISED`` runs on the interval is the bootstrap-t, which covers where runs are skewed: deviations are
    counted in their own resample's standard errors. Of fewer runs too many resamples have none; there the percentile
    interval is widened as Student's is.
    """
    signs = (1, -1)[: len(parts)]
    value, runs = sum(s * p.value for s, p in zip(signs, parts, strict=True)), min(p.clusters for p in parts)
    if runs < 2:
        return Effect(value, math.nan, math.nan, runs, note or "one run gives no interval")
    error = math.sqrt(sum(p.error**2 for p in parts))
    if not error:
        return _alike(value, runs, note, within)
    if runs < STUDENTISED:
        away = sum(s * _widening(p.clusters) * (p.values - p.value) for s, p in zip(signs, parts, strict=True))
        return _bounded(value, value + np.quantile(away, tails()), runs, note, within)
    deviations = np.asarray(sum(s * (p.values - p.value) for s, p in zip(signs, parts, strict=True)))
    errors = np.sqrt(sum(p.errors**2 for p in parts))
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of equal values has no error
        studentised = np.where(deviations == 0, 0.0, deviations / errors)
    lower, upper = np.quantile(studentised, tails(), method="inverted_cdf")
    return _bounded(value, np.array([value - error * upper, value - error * lower]), runs, note, within)


def _alike(value: float, runs: int, note: str, within: tuple[float, float]) -> Effect:
    """An effect of which all resamples are equal; the note says so where its interval promises nothing."""
    ends = _of_equals(value, runs, within)
    said = not _exact_of_equals.get() or not np.isfinite(ends).all()
    return _bounded(value, ends, runs, "; ".join(filter(None, (note, ALIKE if said else ""))), within)


def _of_equals(value: float, runs: int, within: tuple[float, float]) -> np.ndarray:
    """The interval of runs that are all equal, which have no spread to tell by.

    Where numbers are shown and decide nothing it is that point, which promises nothing, and the note says so. Inside
    ``erring_with`` it is exact: were more than a share ``p`` of runs different, so many equal ones would have a chance
    below the error. As far as what is possible lets those runs be away, the mean may be ``p`` times as far; of what has
    no bounds nothing is known.
    """
    if not _exact_of_equals.get():
        return np.array([value, value])
    share = 1 - _error.get() ** (1 / runs)
    return value + share * (np.array(within) - value)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's interval of a probability (Wilson 1927); NaN without trials.

    >>> low, high = wilson(19, 20)
    >>> round(low, 3), round(high, 3)
    (0.764, 0.991)
    """
    if not trials:
        return math.nan, math.nan
    # Not SciPy's: every diagnosis comes here, and loading that is a good part of one.
    z, p = NormalDist().inv_cdf(tails()[1]), successes / trials
    centre, half = p + z**2 / (2 * trials), z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _widening(n: int) -> float:
    """What makes the percentile interval of a mean of ``n`` normal values Student's: it is too narrow for few."""
    from scipy.special import ndtri, stdtrit

    _, upper = tails()
    return math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, upper) / ndtri(upper))


def _bounded(value: float, ends: np.ndarray, runs: int, note: str, within: tuple[float, float]) -> Effect:
    low, high = np.clip(ends, *within)
    return Effect(float(value), float(low), float(high), runs, note)
