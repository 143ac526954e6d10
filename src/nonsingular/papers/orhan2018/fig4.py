"""Figure 4: the best and the worst of many equal plain networks, and how near singularities they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, rank_correlation
from nonsingular.experiments.effects import per_run, speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import larger, require_started
from nonsingular.papers.orhan2018.differs import DAMPED, ESTIMATED, EVALUATED_ON
from nonsingular.papers.orhan2018.spectra import counted_over_epochs, shares_over_epochs
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTRUMENTS = ("train_accuracy", "test_accuracy", "weight_norm", "mean_overlap", "linear_dependence", "gradient_norm")
FEWEST = 3  # of the best and of the worst: fewer have no standard error worth the name

SIZES = {"smoke": (6, 2), "laptop": (30, 15), "overnight": (100, 20), "paper": (100, 100)}
"""Scale -> runs and epochs."""

SPECTRA = {"smoke": (1,), "laptop": (3, 15), "overnight": (1, 3, 10, 20), "paper": (1, 3, 10, 30, 50, 100)}
"""Epochs at which the Hessian's spectrum is estimated from four moments, as in the paper."""

COUNTED = {"laptop": (15,), "overnight": (20,), "paper": (3, 30, 100)}
"""Epochs at which eigenvalues are counted by Lanczos too."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Plain networks of 30 layers and 128 units: 100 runs on CIFAR-100 in the paper, fewer on a laptop."""
    return study("orhan2018/fig4", scale, data, SIZES)


def study(experiment: str, scale: str, data: str | None, sizes: Mapping[str, tuple[int, int]]) -> Spec:
    """The spec of figure 4 or of its replication on other images.

    Args:
        experiment: id.
        scale: one of ``SCALES``.
        data: the data set; None takes the scale's own.
        sizes: scale -> runs and epochs.
    """
    # At unit norm plain networks of 30 layers do not leave chance in 20 epochs; at this scaling the worst do.
    options = {"scaling": "standardised"} if scale == "overnight" else {}
    images = protocol.images(data, scale, **options)
    runs, epochs = at_scale(sizes, scale)
    return Spec(
        experiment,
        scale,
        runs=runs,
        data=images,
        networks=(Member("plain", named("plain", depth=30)),),
        training=protocol.training(images, epochs),
        instruments=dict.fromkeys(INSTRUMENTS)
        | {"below_epsilon": (0,), "hessian_moments": SPECTRA[scale]}
        | ({} if scale == "smoke" else {"hessian_few_lanczos": COUNTED[scale]}),
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train all runs.

    Raises:
        InputError: fewer than two runs, which have no best and worst.
    """
    if spec.runs < 2:
        raise InputError(f"{spec.experiment} compares its best with its worst runs: runs must be at least 2, got 1")
    return run_study(spec, workspace)


def best_and_worst(results: xr.Dataset) -> xr.Dataset:
    """The best and worst tenth of the runs by mean training accuracy, as two "networks".

    At least three of each where there are six runs or more; never the same run in both.
    """
    runs = results.sizes["run"]
    tenth = min(max(FEWEST, runs // 10), runs // 2)
    order = np.argsort(speed(results, "plain").fillna(-1).values, kind="stable")
    groups = {"best": order[::-1][:tenth], "worst": order[:tenth]}
    return xr.concat(
        [results.sel(network="plain").isel(run=rows).assign_coords(run=np.arange(tenth)) for rows in groups.values()],
        xr.Variable("network", list(groups)),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a, c, d and e."""
    panels = [
        Panel("train_accuracy", LABELS["train_accuracy"], percent=True),
        Panel("weight_norm", LABELS["weight_norm"]),
        Panel("mean_overlap", LABELS["mean_overlap"]),
        Panel("linear_dependence", LABELS["linear_dependence"], percent=True),
    ]
    title = f"Best and worst of {results.sizes['run']} plain 30-layer networks (mean over layers)"
    groups = best_and_worst(results)
    return {
        "best-and-worst": over_epochs(groups, panels, title),
        "spectra": shares_over_epochs(groups, "Shares of their Hessians' eigenvalues, estimated from four moments"),
        **counted_over_epochs(groups, "the same networks"),
    }


def _best_minus_worst(results: xr.Dataset, variable: str, scale: float) -> Effect:
    groups = best_and_worst(results)
    reached = {name: float(speed(groups, name).mean()) for name in ("best", "worst")}
    note = "mean training accuracy {best:.1f} % and {worst:.1f} %".format(**reached)
    return replace(larger(groups, variable, "best", "worst", scale), note=note)


def _correlation(results: xr.Dataset, variable: str) -> Effect:
    measured = per_run(results, variable, "plain").isel(epoch=slice(1, None)).mean(["epoch", "layer"])
    require_started(best_and_worst(results), "best")
    return rank_correlation(speed(results, "plain"), measured)


POINTS = "percentage points"
GROUPS = (
    ("norms", "weight_norm", POSITIVE, "The best networks have larger incoming-weight norms", "weight norm", 1.0),
    ("overlap", "mean_overlap", NEGATIVE, "The best networks have less overlap", "correlation", 1.0),
    (
        "linear-dependence",
        "linear_dependence",
        NEGATIVE,
        "The best networks are less linearly dependent",
        POINTS,
        100.0,
    ),
    (
        "degenerate",
        "degenerate_moments",
        NEGATIVE,
        "The best networks are less degenerate, by the paper's four moments",
        POINTS,
        100.0,
    ),
    (
        "degenerate-lanczos",
        "degenerate_lanczos",
        NEGATIVE,
        "The best networks are less degenerate, counted by Lanczos rather than as in the paper",
        POINTS,
        100.0,
    ),
)
CORRELATED = (
    ("norms", "weight_norm", POSITIVE, "Networks that train better have larger incoming-weight norms"),
    ("overlap", "mean_overlap", NEGATIVE, "Networks that train better have less overlap"),
    ("linear-dependence", "linear_dependence", NEGATIVE, "Networks that train better are less dependent"),
)


def claims(item: str, figure: str) -> tuple[Claim, ...]:
    """The claims of figure 4, for it and for its replication.

    Args:
        item: the experiment's id without the paper.
        figure: the paper's figure, in words.
    """

    def claim(name: str, statement: str, how: str, effect: object, region: Region, unit: str) -> Claim:
        source = f"orhan2018 §2.4, {figure}"
        return Claim(f"orhan2018/{item}/{name}", source, f"{statement} ({how}).", effect, region, unit)  # type: ignore[arg-type]

    groups = (
        claim(
            name,
            statement,
            "best minus worst tenth, mean over layers and epochs",
            partial(_best_minus_worst, variable=variable, scale=scale),
            region,
            unit,
        )
        for name, variable, region, statement, unit, scale in GROUPS
    )
    correlated = (
        claim(
            f"{name}-correlation",
            statement,
            "rank correlation with the mean training accuracy over all runs",
            partial(_correlation, variable=variable),
            region,
            "",
        )
        for name, variable, region, statement in CORRELATED
    )
    return (*groups, *correlated)


DIFFERS = (
    ESTIMATED,
    f"Best and worst are at least {FEWEST} runs each, also where a tenth would be fewer.",
    DAMPED,
    EVALUATED_ON,
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig4",
        "Best and worst of equal plain 30-layer networks: norms, overlap, linear dependence",
        specs,
        run,
        draw,
        claims("fig4", "figure 4"),
        differs=DIFFERS,
    ),
)
