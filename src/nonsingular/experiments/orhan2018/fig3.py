"""Figure 3: 20-layer plain, residual and hyper-residual networks; their training accuracy and their singularities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments import protocol
from nonsingular.experiments.claims import Claim
from nonsingular.experiments.effects import faster
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.study import run_study
from nonsingular.networks import named
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTRUMENTS = (
    "train_accuracy",
    "test_accuracy",
    "weight_norm",
    "mean_overlap",
    "linear_dependence",
    "zero_response",
    "activation_norm",
)


def specs(scale: str, data: str | None = None) -> Spec:
    """Networks of 20 layers and 128 units on CIFAR-100 with 50 runs in the paper; CIFAR-10 on a laptop."""
    images = protocol.images(data or {"smoke": "digits", "laptop": "cifar10", "paper": "cifar100"}[scale], scale)
    runs, epochs = {"smoke": (3, 2), "laptop": (8, 25), "paper": (50, 100)}[scale]
    return Spec(
        "orhan2018/fig3",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(name, named(name, depth=20)) for name in ("plain", "residual", "hyper-residual")),
        training=protocol.training(images, epochs),
        instruments=dict.fromkeys(INSTRUMENTS),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy as in panel a, and the unit measures over training."""
    accuracy = [
        Panel("train_accuracy", LABELS["train_accuracy"], percent=True),
        Panel("test_accuracy", LABELS["test_accuracy"], percent=True),
    ]
    units = [
        Panel("weight_norm", LABELS["weight_norm"]),
        Panel("mean_overlap", LABELS["mean_overlap"]),
        Panel("linear_dependence", LABELS["linear_dependence"], percent=True),
        Panel("zero_response", LABELS["zero_response"], percent=True),
    ]
    return {
        "accuracy": over_epochs(results, accuracy, "20-layer networks"),
        "units": over_epochs(results, units, "Distance from singularities, 20-layer networks (mean over layers)"),
    }


SPEED = "mean training accuracy over the epochs"

CLAIMS = (
    Claim(
        "orhan2018/fig3/residual-faster-than-plain",
        "orhan2018 §2.3, figure 3a",
        f"Residual networks train faster than plain ones ({SPEED}: residual minus plain).",
        lambda r: faster(r, "residual", "plain"),
        unit="percentage points",
    ),
    Claim(
        "orhan2018/fig3/hyper-faster-than-residual",
        "orhan2018 §2.3, figure 3a",
        f"Hyper-residual networks train faster than residual ones ({SPEED}: hyper-residual minus residual).",
        lambda r: faster(r, "hyper-residual", "residual"),
        unit="percentage points",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig3",
        "20-layer plain, residual and hyper-residual networks: accuracy and singularities over training",
        specs,
        run_study,
        draw,
        CLAIMS,
    ),
)
