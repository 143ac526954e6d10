"""Estimated fractions of eigenvalues held against exact counts: what figure S3's claims measure.

A point is a network at an epoch. Those of one run are the same network a little later and no independent points:
intervals are over runs, each with all its points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.experiments.claims import Effect, NotMeasured
from nonsingular.experiments.effects import require
from nonsingular.experiments.run.instruments.hessian import PARTS
from nonsingular.experiments.verbs import Measure
from nonsingular.intervals import clustered, tails
from nonsingular.words import counted

DEGENERATE_ENOUGH = 0.998  # Note 4 restricts the comparison to networks at least so degenerate
FEWEST = 8  # points: fewer say nothing about a linear relation
FEWEST_RUNS = 3  # fewer have no spread worth the name
LARGEST = 1 - 1e-12  # correlation that still has a finite place on Fisher's scale
RANGE = f"at least {100 * DEGENERATE_ENOUGH:g} % degenerate"


def points(results: xr.Dataset, at_least: float = 0.0) -> xr.Dataset:
    """One point a network and epoch, with the three methods' fractions; only those exactly ``at_least`` degenerate."""
    names = [f"{part}_{method}" for part in PARTS for method in ("exact", "moments", "lanczos")]
    ends = [f"{part}_lanczos_{end}" for part in PARTS for end in ("low", "high")]
    require(results, *names, *ends)
    flat = results[[*names, *ends]].stack(point=("network", "run", "epoch")).reset_index("point")
    flat = flat.dropna("point", subset=["degenerate_exact"])
    return flat.isel(point=np.flatnonzero(flat.degenerate_exact.values >= at_least))


def _measure(
    words: str, unit: str, variables: tuple[str, ...], effect: Callable[..., Effect], at_least: float = 0.0
) -> Measure:
    """Of points, from their run and their values of the variables."""

    def measured(results: xr.Dataset) -> Effect:
        chosen = points(results, at_least)
        values = [chosen[v].values for v in variables]
        keep = np.all(np.isfinite(values), axis=0)
        runs = chosen.run.values[keep]
        if keep.sum() < FEWEST or len(set(runs)) < FEWEST_RUNS:
            raise NotMeasured(
                f"{counted(int(keep.sum()), 'point')} of {counted(len(set(runs)), 'run')} at least "
                f"{100 * at_least:g} % degenerate; "
                f"{FEWEST} of {FEWEST_RUNS} are needed"
            )
        return effect(runs, *(v[keep] for v in values))

    return Measure(measured, words, unit, ("plain",))


def _overestimation(runs: np.ndarray, estimate: np.ndarray, exact: np.ndarray) -> Effect:
    return clustered(100 * (estimate - exact), runs, within=(-100, 100))


def _pearson(points: np.ndarray) -> float:
    """On Fisher's scale, where intervals widen without leaving what is possible."""
    with np.errstate(invalid="ignore", divide="ignore"):  # equal points have no correlation
        return float(np.arctanh(np.clip(np.corrcoef(points.T)[0, 1], -LARGEST, LARGEST)))


def _related(runs: np.ndarray, estimate: np.ndarray, exact: np.ndarray) -> Effect:
    if np.ptp(exact) == 0 or np.ptp(estimate) == 0:
        raise NotMeasured("all networks have the same fraction")
    found = clustered(np.stack([estimate, exact], 1), runs, _pearson)
    value, low, high = np.tanh([found.value, found.low, found.high])
    return replace(found, value=float(value), low=float(low), high=float(high))


def _nearer(runs: np.ndarray, ours: np.ndarray, theirs: np.ndarray, exact: np.ndarray) -> Effect:
    return clustered(100 * (abs(ours - exact) - abs(theirs - exact)), runs, within=(-100, 100))


def _covered(runs: np.ndarray, low: np.ndarray, high: np.ndarray, exact: np.ndarray) -> Effect:
    """Share of covered points, with the binomial interval of as many independent trials as there are runs.

    The points of a run may be covered together or missed together; this holds for the worst, that they all are.
    """
    share, count = float(((low <= exact) & (exact <= high)).mean()), len(set(runs))
    covered = share * count
    least = stats.beta.ppf(tails()[0], covered, count - covered + 1) if covered > 0 else 0.0
    most = stats.beta.ppf(tails()[1], covered + 1, count - covered) if covered < count else 1.0
    return Effect(
        100 * share,
        100 * float(least),
        100 * float(most),
        count,
        f"{counted(len(exact), 'point')} of {counted(count, 'run')}",
    )


def overestimation(part: str) -> Measure:
    """By how much the mixture overestimates a fraction."""
    words = f"{part} fraction, estimate minus exact, {RANGE}"
    return _measure(
        words, "percentage points", (f"{part}_moments", f"{part}_exact"), _overestimation, DEGENERATE_ENOUGH
    )


def correlation_with_exact(part: str) -> Measure:
    """Pearson's correlation of estimate and exact count."""
    words = f"Pearson correlation of estimated and exact {part} fraction, {RANGE}"
    return _measure(words, "correlation", (f"{part}_moments", f"{part}_exact"), _related, DEGENERATE_ENOUGH)


def excess_error_of_lanczos() -> Measure:
    """By how much Lanczos errs more than the mixture."""
    words = "absolute error of Lanczos minus that of the mixture, all points"
    variables = ("degenerate_lanczos", "degenerate_moments", "degenerate_exact")
    return _measure(words, "percentage points", variables, _nearer)


def coverage_of_lanczos() -> Measure:
    """How often Lanczos intervals cover the exact fraction."""
    variables = ("degenerate_lanczos_low", "degenerate_lanczos_high", "degenerate_exact")
    return _measure("share of points covered, of intervals of 95 %", "%", variables, _covered)
