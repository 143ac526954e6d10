"""The demonstration: what skip connections do for a 20-layer network, on scikit-learn's digits, in two minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, Claim
from nonsingular.experiments.effects import faster, larger
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.fig6 import bias_penalty
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("train_accuracy", "test_accuracy", "weight_norm", "mean_overlap", "linear_dependence", "zero_response")


def specs(scale: str, data: str | None = None) -> Spec:
    """Four 20-layer networks of 128 units, ten seeds each."""
    images = protocol.images(data or "digits", scale)
    runs, epochs = {"smoke": (2, 2), "laptop": (10, 30), "overnight": (20, 60), "paper": (50, 100)}[scale]
    return Spec(
        "demo",
        scale,
        runs=runs,
        data=images,
        networks=(
            *(Member(name, named(name, depth=20)) for name in ("plain", "residual", "hyper-residual")),
            Member("bias-regularised", named("plain", depth=20), bias_penalty(images.name)),
        ),
        training=protocol.training(images, epochs),
        instruments=dict.fromkeys(COLUMNS),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy and the singularity measures over training."""
    panels = [
        Panel("train_accuracy", LABELS["train_accuracy"], percent=True),
        Panel("mean_overlap", LABELS["mean_overlap"]),
        Panel("linear_dependence", LABELS["linear_dependence"], percent=True),
    ]
    return {"training": over_epochs(results, panels, "20-layer networks on handwritten digits")}


CLAIMS = (
    Claim(
        "demo/training/residual-faster-than-plain",
        "orhan2018 §2.3",
        "Residual networks train faster than plain ones (mean training accuracy over the epochs).",
        lambda r: faster(r, "residual", "plain"),
        unit="percentage points",
    ),
    Claim(
        "demo/training/hyper-faster-than-residual",
        "orhan2018 §2.3",
        "Hyper-residual networks train faster than residual ones (mean training accuracy over the epochs).",
        lambda r: faster(r, "hyper-residual", "residual"),
        unit="percentage points",
    ),
    Claim(
        "demo/training/bias-faster-than-plain",
        "orhan2018 §2.6",
        "Bias regularisation alone, without skips, trains faster than plain (mean training accuracy over the epochs).",
        lambda r: faster(r, "bias-regularised", "plain"),
        unit="percentage points",
    ),
    Claim(
        "demo/training/residual-less-dependent",
        "orhan2018 §2.1, §2.4",
        "Units of residual networks are less linearly dependent than those of plain ones.",
        lambda r: larger(r, "linear_dependence", "residual", "plain", 100.0),
        NEGATIVE,
        "percentage points",
    ),
)

EXPERIMENTS = (
    Experiment("demo", "Four kinds of 20-layer networks on handwritten digits", specs, run_study, draw, CLAIMS),
)
