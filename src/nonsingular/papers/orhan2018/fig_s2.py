"""Figure S2: the best and the worst of equal small plain networks, by their exact Hessian spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.scales import Scales, every
from nonsingular.experiments.spec import Spec
from nonsingular.papers.orhan2018.comparing import larger, larger_share
from nonsingular.papers.orhan2018.fig4 import best_and_worst
from nonsingular.papers.orhan2018.small_networks import DIFFERS, measured_epochs, panels, small_networks
from nonsingular.plots.curves import over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = Scales(
    runs=(6, 100, 400, 400),
    epochs=(2, 10, 300, 300),
    spectra=((0, 2), (2, 10), (10, 50, 100, 200, 300), every(20, 300)),
)


def specs(scale: str, data: str | None = None) -> Spec:
    """Equal plain networks of 10 layers and 16 units."""
    return small_networks(SIZES.at(scale, "orhan2018/figS2", data), "plain")


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The best and the worst runs."""
    groups = best_and_worst(results)
    title = f"Best and worst of {results.sizes['run']} plain networks, 10 layers of 16 units"
    return {
        "units": over_epochs(groups, panels("train_accuracy", "weight_norm", "mean_overlap"), title),
        "spectra": over_epochs(measured_epochs(groups), panels("negative_exact", "degenerate_exact"), title),
    }


CLAIMS = (
    Claim(
        "orhan2018/figS2/degenerate",
        "orhan2018 Note 4, figure S2d",
        "The best plain networks are less degenerate than the worst (exact fraction: best minus worst tenth).",
        lambda r: larger_share(best_and_worst(r), "degenerate_exact", "best", "worst"),
        NEGATIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS2/negative",
        "orhan2018 Note 4, figure S2c",
        "They have more negative eigenvalues (exact fraction: best minus worst tenth).",
        lambda r: larger_share(best_and_worst(r), "negative_exact", "best", "worst"),
        POSITIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS2/overlap",
        "orhan2018 Note 4, figure S2f",
        "They have less overlap (mean over layers and epochs: best minus worst tenth).",
        lambda r: larger(best_and_worst(r), "mean_overlap", "best", "worst"),
        NEGATIVE,
        "correlation",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/figS2",
        "Best and worst of 400 small plain networks, exact spectra",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=DIFFERS,
    ),
)
