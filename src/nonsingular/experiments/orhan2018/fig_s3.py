"""Figure S3: fractions by four moments and by Lanczos, held against exact counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.hessian_instruments import PARTS
from nonsingular.experiments.orhan2018.small_networks import DIFFERS, Size, small_networks
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.experiments.study import run_study
from nonsingular.plots.spectra import estimates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEGENERATE_ENOUGH = 0.998  # Note 4 restricts the comparison to networks at least so degenerate
FEWEST = 8  # points: fewer say nothing about a linear relation

SIZES = {
    "smoke": Size(3, 2, spectra=(0, 1, 2)),
    "laptop": Size(3, 4, spectra=(0, 1, 2, 4)),
    "paper": Size(50, 100, spectra=tuple(range(0, 101, 10))),
}
LAPTOP_IMAGES = 2_500  # with their mirror images 10 steps an epoch


def specs(scale: str, data: str | None = None) -> Spec:
    """Plain networks of 10 layers and 32 units, 14 292 parameters with 20 classes; of 16 units in the smoke test."""
    estimators = ("hessian_exact", "hessian_moments", "hessian_lanczos")
    width = 16 if scale == "smoke" else 32  # an exact count at width 32 takes half a minute
    spec = small_networks(
        "orhan2018/figS3", scale, at_scale(SIZES, scale), ("plain",), width=width, data=data, spectra=estimators
    )
    if scale == "laptop" and spec.data is not None and spec.data.train is not None:
        # Epochs of 10 steps: in longer ones all networks leave the range that the claims are about in the first.
        return replace(spec, data=replace(spec.data, train=LAPTOP_IMAGES))
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
    return {"estimates": estimates(points(results), DEGENERATE_ENOUGH)}


def _selected(results: xr.Dataset, at_least: float, *variables: str) -> list[np.ndarray]:
    chosen = points(results, at_least)
    values = [chosen[v].values for v in variables]
    keep = np.all(np.isfinite(values), axis=0)
    if keep.sum() < FEWEST:
        raise NotMeasured(f"{int(keep.sum())} networks at least {100 * at_least:g} % degenerate; {FEWEST} are needed")
    return [v[keep] for v in values]


def _bias(results: xr.Dataset, part: str) -> Effect:
    estimate, truth = _selected(results, DEGENERATE_ENOUGH, f"{part}_moments", f"{part}_exact")
    return mean(100 * (estimate - truth))


def _correlation(results: xr.Dataset, part: str) -> Effect:
    estimate, truth = _selected(results, DEGENERATE_ENOUGH, f"{part}_moments", f"{part}_exact")
    if np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        raise NotMeasured("all networks have the same fraction")
    found = stats.pearsonr(truth, estimate)
    interval = found.confidence_interval()
    return Effect(found.statistic, interval.low, interval.high, len(truth))


def _coverage(results: xr.Dataset) -> Effect:
    low, high, truth = _selected(results, 0.0, "degenerate_lanczos_low", "degenerate_lanczos_high", "degenerate_exact")
    covered = int(((low <= truth) & (truth <= high)).sum())
    interval = stats.binomtest(covered, len(truth)).proportion_ci(0.95)
    return Effect(100 * covered / len(truth), 100 * interval.low, 100 * interval.high, len(truth))


def _nearer(results: xr.Dataset) -> Effect:
    ours, theirs, truth = _selected(results, 0.0, "degenerate_lanczos", "degenerate_moments", "degenerate_exact")
    return mean(100 * (np.abs(ours - truth) - np.abs(theirs - truth)))


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
        "(difference of absolute errors, all networks).",
        _nearer,
        NEGATIVE,
        "percentage points",
    ),
    _s3(
        "lanczos-covers",
        "Ours, not the paper's: the Lanczos intervals cover the exact degenerate fraction "
        "(share of networks; 95 % are promised).",
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
        differs=DIFFERS,
    ),
)
