"""Figure S1: exact Hessian spectra of small networks, plain against residual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.papers.orhan2018.comparing import faster, larger_share
from nonsingular.papers.orhan2018.small_networks import DIFFERS, Size, measured_epochs, panels, small_networks
from nonsingular.plots.curves import over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": Size(2, 2, spectra=(0, 2)),
    "laptop": Size(16, 15, spectra=(0, 5, 15)),
    "overnight": Size(20, 300, spectra=tuple(range(0, 301, 30))),
    "paper": Size(4, 300, spectra=tuple(range(0, 301, 10))),
}


def specs(scale: str, data: str | None = None) -> Spec:
    """Plain and residual networks of 10 layers and 16 units."""
    return small_networks("orhan2018/figS1", scale, at_scale(SIZES, scale), ("plain", "residual"), data=data)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy, and exact fractions of eigenvalues."""
    spectra = panels("negative_exact", "degenerate_exact")
    return {
        "accuracy": over_epochs(results, panels("train_accuracy", "test_accuracy"), "10 layers of 16 units"),
        "spectra": over_epochs(measured_epochs(results), spectra, "Exact Hessian spectra, window ±0.1"),
    }


CLAIMS = (
    Claim(
        "orhan2018/figS1/accuracy",
        "orhan2018 Note 4, figure S1a",
        "Small residual networks train faster than plain ones (mean training accuracy: residual minus plain).",
        lambda r: faster(r, "residual", "plain"),
        POSITIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS1/degenerate",
        "orhan2018 Note 4, figure S1d",
        "They are less degenerate (exact fraction of eigenvalues within 0.1 of zero: residual minus plain).",
        lambda r: larger_share(r, "degenerate_exact", "residual", "plain"),
        NEGATIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS1/negative",
        "orhan2018 Note 4, figure S1c",
        "They have more negative eigenvalues (exact fraction below -0.1: residual minus plain).",
        lambda r: larger_share(r, "negative_exact", "residual", "plain"),
        POSITIVE,
        "percentage points",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/figS1",
        "Exact Hessian spectra of 10-layer, 16-wide networks, plain against residual",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=DIFFERS,
    ),
)
