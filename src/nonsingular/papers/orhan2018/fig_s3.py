"""Figure S3: fractions by four moments and by Lanczos, held against exact counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments.hessian import PARTS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.scales import Scales, every
from nonsingular.experiments.spec import Spec
from nonsingular.intervals import RESAMPLES, tails
from nonsingular.papers.orhan2018.small_networks import DIFFERS, small_networks
from nonsingular.plots.spectra import estimates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEGENERATE_ENOUGH = 0.998  # Note 4 restricts the comparison to networks at least so degenerate
FEWEST = 8  # points: fewer say nothing about a linear relation
FEWEST_RUNS = 3  # fewer have no spread worth the name
LARGEST = 1 - 1e-12  # correlation that still has a finite place on Fisher's scale

SIZES = Scales(
    runs=(3, 3, 20, 50), epochs=(2, 4, 6, 100), spectra=((0, 1, 2), (0, 1, 2, 4), (0, 1, 2, 3, 4, 6), every(10, 100))
)
FEW_IMAGES = 2_500  # with their mirror images 10 steps an epoch


def specs(scale: str, data: str | None = None) -> Spec:
    """Plain networks of 10 layers and 32 units, 14 292 parameters with 20 classes; of 16 units in the smoke test."""
    estimators = ("hessian_exact", "hessian_moments", "hessian_lanczos")
    width = 16 if scale == "smoke" else 32  # an exact count at width 32 takes half a minute
    spec = small_networks(SIZES.at(scale, "orhan2018/figS3", data), "plain", width=width, spectra=estimators)
    if scale in ("laptop", "overnight") and spec.data is not None and spec.data.train is not None:
        # Epochs of 10 steps: in longer ones all networks leave the range that the claims are about in the first.
        return replace(spec, data=replace(spec.data, train=FEW_IMAGES))
    return spec


def points(results: xr.Dataset, at_least: float = 0.0) -> xr.Dataset:
    """One point a network and epoch, with the three methods' fractions; only those exactly ``at_least`` degenerate."""
    names = [f"{part}_{method}" for part in PARTS for method in ("exact", "moments", "lanczos")]
    ends = [f"{part}_lanczos_{end}" for part in PARTS for end in ("low", "high")]
    flat = results[[*names, *ends]].stack(point=("network", "run", "epoch")).reset_index("point")
    flat = flat.dropna("point", subset=["degenerate_exact"])
    return flat.isel(point=np.flatnonzero(flat.degenerate_exact.values >= at_least))


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Estimates against exact fractions."""
    networks = results.sizes["network"] * results.sizes["run"]
    return {"estimates": estimates(points(results), DEGENERATE_ENOUGH, networks)}


def _selected(results: xr.Dataset, at_least: float, *variables: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The run of each point, and its values of the variables."""
    chosen = points(results, at_least)
    values = [chosen[v].values for v in variables]
    keep = np.all(np.isfinite(values), axis=0)
    runs = chosen.run.values[keep]
    if keep.sum() < FEWEST or len(set(runs)) < FEWEST_RUNS:
        raise NotMeasured(
            f"{int(keep.sum())} points of {len(set(runs))} runs at least {100 * at_least:g} % degenerate; "
            f"{FEWEST} of {FEWEST_RUNS} are needed"
        )
    return runs, [v[keep] for v in values]


def _resampled(runs: np.ndarray, terms: np.ndarray) -> tuple[np.ndarray, int]:
    """Sums of each point's terms over runs that are drawn with replacement, each with all its points.

    A run's epochs are the same network a little later: they are no independent points, so that whole runs are drawn.

    Args:
        runs: shape ``[point]``.
        terms: shape ``[point, term]``.

    Returns:
        Shape ``[1 + RESAMPLES, term]``, the first row that of all runs as they are, and the number of runs.
    """
    names = np.unique(runs)
    sums = np.stack([terms[runs == run].sum(axis=0) for run in names])
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return np.concatenate([np.ones((1, len(names))), draws]) @ sums, len(names)


def _widened(values: np.ndarray, runs: int) -> tuple[float, float, float]:
    """First value, and the 95 % interval of the others widened as ``intervals.mean`` does for few runs."""
    _, upper = tails()
    widen = math.sqrt(runs / (runs - 1)) * stats.t.ppf(upper, runs - 1) / stats.norm.ppf(upper)
    low, high = values[0] + widen * (np.nanquantile(values[1:], tails()) - values[0])
    return float(values[0]), float(low), float(high)


def _clustered_mean(runs: np.ndarray, values: np.ndarray) -> Effect:
    """Mean over points in percent, with an interval over runs."""
    sums, count = _resampled(runs, np.stack([100 * values, np.ones_like(values)], axis=1))
    value, low, high = _widened(sums[:, 0] / sums[:, 1], count)
    return Effect(value, max(low, -100.0), min(high, 100.0), count, f"{len(values)} points of {count} runs")


def _bias(results: xr.Dataset, part: str) -> Effect:
    runs, (estimate, truth) = _selected(results, DEGENERATE_ENOUGH, f"{part}_moments", f"{part}_exact")
    return _clustered_mean(runs, estimate - truth)


def _correlation(results: xr.Dataset, part: str) -> Effect:
    """Pearson's over points, with an interval over runs that is widened on Fisher's scale and so stays within 1."""
    runs, (estimate, truth) = _selected(results, DEGENERATE_ENOUGH, f"{part}_moments", f"{part}_exact")
    if np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        raise NotMeasured("all networks have the same fraction")
    x, y = (v - v.mean() for v in (truth, estimate))
    x, y = x / x.std(), y / y.std()
    sums, count = _resampled(runs, np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1))
    n, x, y, xx, yy, xy = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample of equal points has no correlation
        found = (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))
    value, low, high = np.tanh(_widened(np.arctanh(np.clip(found, -LARGEST, LARGEST)), count))
    return Effect(float(value), float(low), float(high), count, f"{len(truth)} points of {count} runs")


def _coverage(results: xr.Dataset) -> Effect:
    """Share of covered points, with the binomial interval of as many independent trials as there are runs.

    The points of a run may be covered together or missed together; this holds for the worst, that they all are.
    """
    variables = ("degenerate_lanczos_low", "degenerate_lanczos_high", "degenerate_exact")
    runs, (low, high, truth) = _selected(results, 0.0, *variables)
    share, count = float(((low <= truth) & (truth <= high)).mean()), len(set(runs))
    covered = share * count
    least = stats.beta.ppf(tails()[0], covered, count - covered + 1) if covered > 0 else 0.0
    most = stats.beta.ppf(tails()[1], covered + 1, count - covered) if covered < count else 1.0
    note = f"{len(truth)} points of {count} runs"
    return Effect(100 * share, 100 * float(least), 100 * float(most), count, note)


def _nearer(results: xr.Dataset) -> Effect:
    runs, (ours, theirs, truth) = _selected(
        results, 0.0, "degenerate_lanczos", "degenerate_moments", "degenerate_exact"
    )
    return _clustered_mean(runs, np.abs(ours - truth) - np.abs(theirs - truth))


def _s3(name: str, statement: str, effect: Callable[[xr.Dataset], Effect], region: Region, unit: str) -> Claim:
    return Claim(f"orhan2018/figS3/{name}", "orhan2018 Notes 3 and 4, figure S3", statement, effect, region, unit)


CLAIMS = (
    _s3(
        "degenerate-under",
        "The mixture underestimates the degenerate fraction (estimate minus exact, at least 99.8 % degenerate).",
        partial(_bias, part="degenerate"),
        NEGATIVE,
        "percentage points",
    ),
    _s3(
        "negative-over",
        "The mixture overestimates the negative fraction (estimate minus exact, at least 99.8 % degenerate).",
        partial(_bias, part="negative"),
        POSITIVE,
        "percentage points",
    ),
    _s3(
        "degenerate-linear",
        "Estimated and exact degenerate fractions are linearly related (Pearson correlation).",
        partial(_correlation, part="degenerate"),
        POSITIVE,
        "correlation",
    ),
    _s3(
        "negative-linear",
        "Estimated and exact negative fractions are linearly related (Pearson correlation).",
        partial(_correlation, part="negative"),
        POSITIVE,
        "correlation",
    ),
    _s3(
        "lanczos-nearer",
        "Ours, not the paper's: Lanczos is nearer to the exact degenerate fraction than the mixture "
        "(difference of absolute errors, all points).",
        _nearer,
        NEGATIVE,
        "percentage points",
    ),
    _s3(
        "lanczos-covers",
        "Ours, not the paper's: the Lanczos intervals cover the exact degenerate fraction "
        "(share of points, networks at an epoch; 95 % are promised).",
        _coverage,
        Region(low=85.0),
        "%",
    ),
)


EXPERIMENTS = (
    Experiment(
        "orhan2018/figS3",
        "Moment and Lanczos estimates of the fractions against exact counts",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            *DIFFERS,
            "A point is a network at an epoch. Those of one run are no independent points: intervals are over runs.",
        ),
    ),
)
