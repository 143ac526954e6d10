"""Claims of a paper, and the judge that decides whether measured results bear them out.

A claim names an *effect* (a number computed from the results, with an interval) and the *region* in which the
paper says it lies. The verdict is

- ``holds`` when the whole interval lies in the region,
- ``fails`` when none of it does,
- ``inconclusive`` when the interval straddles the region's edge, or when the effect was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Effect:
    """A measured number with its 95 % interval; ``runs`` is how many independent runs stand behind it."""

    value: float
    low: float
    high: float
    runs: int
    note: str = ""


@dataclass(frozen=True)
class Region:
    """The open range of values that a claim allows (open: no difference at all is not a positive one)."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"< {self.high:g}"
        if math.isinf(self.high):
            return f"> {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def verdict(self, effect: Effect) -> str:
        """Where the effect's interval lies: ``holds``, ``fails`` or ``inconclusive``."""
        if not (effect.low <= effect.high):  # also catches NaN
            return "inconclusive"
        if self.low < effect.low and effect.high < self.high:
            return "holds"
        if effect.high <= self.low or self.high <= effect.low:
            return "fails"
        return "inconclusive"


POSITIVE = Region(low=0.0)
NEGATIVE = Region(high=0.0)


class NotMeasured(Exception):
    """Raised by a claim's effect when the results lack what it needs (a network left out, too few epochs)."""


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper, the effect that tests it and the region where the paper puts that effect.

    Attributes:
        id: ``paper/figure/name``.
        source: paper, section or figure.
        statement: the claim in one sentence, with the sign convention of the effect.
        effect: results -> effect.
        region: the values under which the claim is true.
        unit: unit of the effect, ``""`` where it has none.
        expected: the paper's own value in words, where it gives one.
    """

    id: str
    source: str
    statement: str
    effect: Callable[[xr.Dataset], Effect]
    region: Region = POSITIVE
    unit: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Judgement:
    """One row of the scoreboard: the fields of ``claims.json``."""

    id: str
    paper: str
    source: str
    statement: str
    expected: str
    measured: float | None
    interval: tuple[float, float] | None
    unit: str
    runs: int
    scale: str
    data: str
    verdict: str
    note: str

    def to_json(self) -> dict[str, object]:
        """A plain dictionary, infinities and NaN (which JSON lacks) as null."""

        def finite(x: float | None) -> float | None:
            return x if x is not None and math.isfinite(x) else None

        row = asdict(self)
        row["measured"] = finite(self.measured)
        row["interval"] = None if self.interval is None else [finite(x) for x in self.interval]
        return row


def judge(claim: Claim, results: xr.Dataset, *, scale: str, data: str) -> Judgement:
    """Measure the claim's effect in ``results`` and say whether it holds, fails or cannot be told."""
    try:
        effect = claim.effect(results)
    except NotMeasured as reason:
        effect = Effect(math.nan, math.nan, math.nan, 0, f"not measured: {reason}")
    return Judgement(
        id=claim.id,
        paper=claim.id.split("/")[0],
        source=claim.source,
        statement=claim.statement,
        expected=claim.expected or str(claim.region),
        measured=effect.value,
        interval=(effect.low, effect.high),
        unit=claim.unit,
        runs=effect.runs,
        scale=scale,
        data=data,
        verdict=claim.region.verdict(effect),
        note=effect.note,
    )


# --- effects ------------------------------------------------------------------------------------------------


def exactly(value: float, note: str = "") -> Effect:
    """An effect without sampling error: an identity, a count, a residual to be held against a tolerance."""
    return Effect(value, value, value, runs=1, note=note)


def mean(samples: ArrayLike, *, note: str = "") -> Effect:
    """The mean over runs with its 95 % bootstrap interval. NaN samples (diverged runs) are left out.

    Args:
        samples: shape ``[run]``.
        note: kept with the verdict.
    """
    values = _finite(samples)
    return _effect(_bootstrap(values, seed=0), values.mean() if values.size else math.nan, values.size, note)


def difference(a: ArrayLike, b: ArrayLike, *, paired: bool = False, note: str = "") -> Effect:
    """Mean of ``a`` minus mean of ``b`` with its 95 % bootstrap interval over runs.

    Args:
        a: shape ``[run]``.
        b: shape ``[run]``; with ``paired`` the runs correspond (the same seed).
        paired: whether to resample pairs.
        note: kept with the verdict.
    """
    if paired:
        return mean(np.asarray(a, float) - np.asarray(b, float), note=note)
    x, y = _finite(a), _finite(b)
    value = x.mean() - y.mean() if x.size and y.size else math.nan
    return _effect(_bootstrap(x, seed=0) - _bootstrap(y, seed=1), value, min(x.size, y.size), note)


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
    # A resample of one run again and again has no correlation: 0 is the honest stand-in.
    resamples = np.nan_to_num(_spearman(pairs[0][draws], pairs[1][draws]))
    value = float(_spearman(pairs[:1], pairs[1:])[0])
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
    widen = math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975)
    return values.mean() + widen * (values[draws].mean(axis=1) - values.mean())


def _effect(resamples: np.ndarray, value: float, runs: int, note: str) -> Effect:
    if runs < 2:
        return Effect(float(value), math.nan, math.nan, runs, note or "one run gives no interval")
    low, high = np.quantile(resamples, [0.025, 0.975])
    return Effect(float(value), float(low), float(high), runs, note)
