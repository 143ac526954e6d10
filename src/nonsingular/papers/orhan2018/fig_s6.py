"""Figure S6: shallow networks, plain against residual, in which gradients do not vanish (Note 7).

The paper does not say how it counted these networks' eigenvalues. Here inputs are reduced to 128 principal components,
as in its figures S1 to S3, so that the Hessian of the 2 676 parameters (with 20 classes) is counted exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region, difference, mean
from nonsingular.experiments.effects import HALF, NO_DECAY, gradient_decay, log_gradient, per_run
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import (
    CORRELATIONS,
    POSSIBLE,
    faster,
    larger,
    larger_share,
    require_started,
)
from nonsingular.papers.orhan2018.differs import EVALUATED_ON
from nonsingular.papers.orhan2018.small_networks import PCA, measured_epochs, panels
from nonsingular.plots.curves import over_epochs
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH, WIDTH = 2, 16
NETWORKS = ("plain", "residual")

SIZES = {
    "smoke": (2, 4, (0, 2, 4)),
    "laptop": (6, 20, (0, 1, 2, 4, 8, 14, 20)),
    "overnight": (16, 100, tuple(range(0, 101, 4))),
    "paper": (16, 100, tuple(range(0, 101, 4))),
}
"""Scale -> runs (16 in the paper), epochs, and the epochs after which eigenvalues are counted."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Two hidden layers of 16 units, the fewest that can have a skip: none leaves the inputs."""
    images = protocol.images(data, scale, pca=PCA)
    if images.name == "digits":  # 64 pixels have no 128 components
        images = replace(images, pca=None)
    runs, epochs, spectra = at_scale(SIZES, scale)
    return Spec(
        "orhan2018/figS6",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(name, named(name, depth=DEPTH, width=WIDTH)) for name in NETWORKS),
        training=protocol.training(images, epochs),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "gradient_norm", "mean_overlap"))
        | {"hessian_exact": spectra},
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a and b; c and d; e and f."""
    title = "Two hidden layers of 16 units"
    second = results.assign(mean_overlap=results.mean_overlap.sel(layer=DEPTH))
    spectra = panels("negative_exact", "degenerate_exact")
    return {
        "accuracy": over_epochs(results, panels("train_accuracy", "test_accuracy"), title),
        "spectra": over_epochs(measured_epochs(results), spectra, f"{title}: exact Hessian spectra, window ±0.1"),
        "units": over_epochs(
            second, panels("gradient_norm", "mean_overlap"), f"{title}: gradients, overlap in the second layer"
        ),
    }


def _larger_gradients(results: xr.Dataset) -> Effect:
    norms = [
        per_run(results, "gradient_norm", name).isel(epoch=slice(1, None)).mean(["epoch", "layer"])
        for name in ("residual", "plain")
    ]
    require_started(results, *NETWORKS)
    return difference(*norms)


def _second_layer_overlap(results: xr.Dataset) -> Effect:
    overlaps = [
        per_run(results, "mean_overlap", name).sel(layer=DEPTH).isel(epoch=slice(1, None)).mean("epoch")
        for name in ("residual", "plain")
    ]
    require_started(results, *NETWORKS)
    return difference(*overlaps, within=POSSIBLE["mean_overlap"])


def _does_not_vanish(results: xr.Dataset) -> Effect:
    return mean(gradient_decay(results, "plain"))


def _tracks(results: xr.Dataset, variable: str) -> Effect:
    """Rank correlation over epochs between the mean gradient norm and a variable: mean over both networks, by run."""
    found = []
    for name in NETWORKS:
        gradients = log_gradients(results, name)
        other = per_run(results, variable, name)
        other = other.sel(layer=DEPTH) if "layer" in other.dims else other
        found.append([_rank_correlation(gradients.sel(run=run), other.sel(run=run)) for run in results.run])
    require_started(results, *NETWORKS)
    return mean(np.mean(found, axis=0), within=CORRELATIONS)


def log_gradients(results: xr.Dataset, network: str) -> xr.DataArray:
    """Mean over layers of the log10 gradient norm, by run and epoch after the start."""
    each = [log_gradient(results, network, int(e)).mean("layer") for e in results.epoch[1:]]
    return xr.concat(each, results.epoch[1:])


def _rank_correlation(a: xr.DataArray, b: xr.DataArray) -> float:
    a, b = xr.align(a, b.dropna("epoch"), join="inner")
    if a.size < FEWEST_EPOCHS:
        raise NotMeasured(f"needs {FEWEST_EPOCHS} epochs after the start, got {a.size}")
    return float(stats.spearmanr(a, b).statistic)


FEWEST_EPOCHS = 5
STRONGLY = 0.5


def _claim(name: str, panel: str, statement: str, effect: object, region: Region, unit: str = "") -> Claim:
    return Claim(f"orhan2018/figS6/{name}", f"orhan2018 Note 7, figure S6{panel}", statement, effect, region, unit)  # type: ignore[arg-type]


POINTS = "percentage points"

CLAIMS = (
    _claim(
        "train-accuracy",
        "a",
        "Shallow residual networks do slightly better on the training data (mean accuracy over the epochs: "
        "residual minus plain).",
        lambda r: faster(r, "residual", "plain"),
        POSITIVE,
        POINTS,
    ),
    _claim(
        "test-accuracy",
        "b",
        "They do slightly better on the test data (mean accuracy over the epochs: residual minus plain).",
        lambda r: larger(r, "test_accuracy", "residual", "plain", 100.0),
        POSITIVE,
        POINTS,
    ),
    _claim(
        "degenerate",
        "d",
        "They are less degenerate (exact fraction of eigenvalues within 0.1 of zero: residual minus plain).",
        lambda r: larger_share(r, "degenerate_exact", "residual", "plain"),
        NEGATIVE,
        POINTS,
    ),
    _claim(
        "negative",
        "c",
        "They have more negative eigenvalues (exact fraction below -0.1: residual minus plain).",
        lambda r: larger_share(r, "negative_exact", "residual", "plain"),
        POSITIVE,
        POINTS,
    ),
    _claim(
        "gradients",
        "e",
        "They have larger gradients with respect to activations (mean norm over layers and epochs: "
        "residual minus plain).",
        _larger_gradients,
        POSITIVE,
        "nats",
    ),
    _claim(
        "plain-does-not-vanish",
        "e",
        "Gradients do not vanish in the plain networks, even at the start "
        f"(log10 of gradient norm, first over second hidden layer; above {HALF:.2g}).",
        _does_not_vanish,
        NO_DECAY,
        "log10",
    ),
    _claim(
        "overlap",
        "f",
        "Their second hidden layer has less overlap (mean correlation of incoming weights: residual minus plain).",
        _second_layer_overlap,
        NEGATIVE,
        "correlation",
    ),
    _claim(
        "gradients-track-overlap",
        "e, f",
        "Gradient norms closely track the distance from overlap: the more overlap, the smaller they are "
        f"(rank correlation over epochs below -{STRONGLY}).",
        lambda r: _tracks(r, "mean_overlap"),
        Region(high=-STRONGLY),
    ),
    _claim(
        "gradients-track-degeneracy",
        "d, e",
        "Gradient norms closely track degeneracy: the more degenerate, the smaller they are "
        f"(rank correlation over epochs below -{STRONGLY}).",
        lambda r: _tracks(r, "degenerate_exact"),
        Region(high=-STRONGLY),
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/figS6",
        "Shallow networks of two hidden layers",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            "The paper does not say how it counted these networks' eigenvalues: here inputs are reduced to 128 "
            "principal components, as in its figures S1 to S3, and all eigenvalues are counted.",
            EVALUATED_ON,
        ),
    ),
)
