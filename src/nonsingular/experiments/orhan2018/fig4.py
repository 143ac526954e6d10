"""Figure 4: the best and the worst of many equal plain networks, and how near singularities they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments import protocol
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, rank_correlation
from nonsingular.experiments.effects import larger, per_run, speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.spectra import spectra_over_epochs
from nonsingular.experiments.study import run_study
from nonsingular.experiments.workspace import Workspace
from nonsingular.networks import named
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTRUMENTS = ("train_accuracy", "test_accuracy", "weight_norm", "mean_overlap", "linear_dependence", "gradient_norm")
FEWEST = 3  # of the best and of the worst: fewer have no standard error worth the name

SPECTRA = {"smoke": (0, 1), "laptop": (3, 15), "paper": (1, 3, 10, 30, 100)}
"""Epochs at which the Hessian's spectrum is estimated from four moments, as in the paper."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Plain networks of 30 layers and 128 units: 100 runs on CIFAR-100 in the paper, fewer on a laptop."""
    images = protocol.images(data, scale)
    runs, epochs = {"smoke": (8, 3), "laptop": (30, 15), "paper": (100, 100)}[scale]
    return Spec(
        "orhan2018/fig4",
        scale,
        runs=runs,
        data=images,
        networks=(Member("plain", named("plain", depth=30)),),
        training=protocol.training(images, epochs),
        instruments=dict.fromkeys(INSTRUMENTS) | {"hessian_moments": SPECTRA[scale]},
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
        "spectra": spectra_over_epochs(groups, "Hessian spectra of the same, estimated from four moments"),
    }


def _claim(name: str, variable: str, region: Region, statement: str, unit: str, scale: float = 1.0) -> Claim:
    def effect(results: xr.Dataset) -> Effect:
        groups = best_and_worst(results)
        reached = {name: float(speed(groups, name).mean()) for name in ("best", "worst")}
        note = "mean training accuracy {best:.1f} % and {worst:.1f} %".format(**reached)
        return replace(larger(groups, variable, "best", "worst", scale), note=note)

    return Claim(
        f"orhan2018/fig4/{name}",
        "orhan2018 §2.4, figure 4",
        f"{statement} (best minus worst tenth, mean over layers and epochs).",
        effect,
        region,
        unit,
    )


def _correlated(name: str, variable: str, region: Region, statement: str) -> Claim:
    def effect(results: xr.Dataset) -> Effect:
        measured = per_run(results, variable, "plain").isel(epoch=slice(1, None)).mean(["epoch", "layer"])
        return rank_correlation(speed(results, "plain"), measured)

    return Claim(
        f"orhan2018/fig4/{name}-correlation",
        "orhan2018 §2.4, figure 4",
        f"{statement} (rank correlation with the mean training accuracy over all runs).",
        effect,
        region,
    )


CLAIMS = (
    _claim("norms", "weight_norm", POSITIVE, "The best networks have larger incoming-weight norms", "weight norm"),
    _claim("overlap", "mean_overlap", NEGATIVE, "The best networks have less overlap", "correlation"),
    _claim(
        "linear-dependence",
        "linear_dependence",
        NEGATIVE,
        "The best networks are less linearly dependent",
        "percentage points",
        100.0,
    ),
    _claim(
        "degenerate",
        "degenerate_moments",
        NEGATIVE,
        "The best networks are less degenerate, by the paper's four moments",
        "percentage points",
        100.0,
    ),
    _correlated("norms", "weight_norm", POSITIVE, "Networks that train better have larger incoming-weight norms"),
    _correlated("overlap", "mean_overlap", NEGATIVE, "Networks that train better have less overlap"),
    _correlated("linear-dependence", "linear_dependence", NEGATIVE, "Networks that train better are less dependent"),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig4",
        "Best and worst of equal plain 30-layer networks: norms, overlap, linear dependence",
        specs,
        run,
        draw,
        CLAIMS,
    ),
)
