"""ConstNet without batch normalisation, with scalar scales and mixup in its place (appendices A and D)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular.data import Task, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.claims import POSITIVE, Claim, Effect, Region, mean
from nonsingular.experiments.effects import require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import ConstNetSpec
from nonsingular.papers.blumenfeld2020.ntk import brightness
from nonsingular.papers.blumenfeld2020.protocol import (
    PAPER,
    POINTS,
    Measure,
    accuracy,
    better,
    claim,
    images,
    side_by_side,
    training,
    when_trained,
)
from nonsingular.plots import symmetry as plots
from nonsingular.training import Breaker, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"smoke": (2, 2, 8, 1), "laptop": (3, 60, 8, 1), "overnight": (5, 20, 8, 1), "paper": (5, 200, 16, 10)}
"""Scale -> runs, epochs, channels of the input layer, widening."""

ALPHA = 1.0
"""Strength of mixup: on CIFAR-10 Zhang et al. 2017 take 1."""

LITTLE = 2.0  # percentage points
GAP = 10.0  # percentage points


def specs(scale: str, data: str | None = None) -> Spec:
    """ConstNet from identical features, without and with batch normalisation; both without and with mixup."""
    runs, epochs, width, widening = at_scale(SIZES, scale)
    noise = Breaker("hardware")
    return Spec(
        "blumenfeld2020/mixup",
        scale,
        runs=runs,
        data=images(data, scale),
        networks=(
            Member("constnet", ConstNetSpec(13, width, widening, batch_norm=False), breaker=noise),
            Member("constnet+bn", ConstNetSpec(13, width, widening), breaker=noise),
        ),
        training=training(scale, epochs, data),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "correlations")),
        settings={"mixups": [0.0, ALPHA]},
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """One study a strength of mixup, and what the network's linearisation at the start reaches."""
    if spec.training is None or spec.data is None:
        raise InputError(f"{spec.experiment} needs data and training")
    parts = {part(a): replace(spec, training=replace(spec.training, mixup=a)) for a in spec.settings["mixups"]}
    results = side_by_side(parts, workspace)
    return results.assign(linear_regime=linear_regime(prepare(spec.data, workspace.data_dir)))


def part(alpha: float) -> str:
    """A study's name."""
    return f"mixup {alpha:g}"


def label(alpha: float, network: str) -> str:
    """A network's name in the results."""
    return f"{part(alpha)}, {network}"


def linear_regime(task: Task) -> float:
    """Test accuracy of kernel regression with ConstNet's tangent kernel at the start (appendix D).

    The kernel is that of a line in the image's ``brightness``: least squares of the classes' indicators by it.
    """

    def regressors(x: torch.Tensor) -> torch.Tensor:
        s = brightness(x)
        return torch.stack([s, torch.ones_like(s)], 1)

    targets = F.one_hot(task.train_labels, task.classes).double()
    coefficients = torch.linalg.lstsq(regressors(task.train_inputs), targets).solution
    found = (regressors(task.test_inputs) @ coefficients).argmax(1)
    return float((found == task.test_labels).double().mean())


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Test accuracies at the end."""
    return {"table": plots.accuracies(results, "ConstNet without and with batch normalisation and mixup")}


def _beyond_linear(results: xr.Dataset) -> Effect:
    require(results, "linear_regime")
    linear = 100 * float(results.linear_regime)
    reached = accuracy(results, label(ALPHA, "constnet"))
    note = f"{float(reached.mean()):.1f} % against {linear:.1f} % of kernel regression"
    return mean(reached - linear, note=note, within=(-linear, 100 - linear))


def _claim(id: str, source: str, statement: str, effect: Measure, region: Region, *references: str) -> Claim:
    return claim("mixup", id, source, statement, when_trained(effect, *references), region, POINTS)


NORMALISED, BARE, MIXED = label(0, "constnet+bn"), label(0, "constnet"), label(ALPHA, "constnet")
CLAIMS = (
    _claim(
        "beyond-the-linear-regime",
        "appendix D",
        "Without batch normalisation ConstNet trains far beyond its linearisation at the start (test accuracy with "
        f"mixup minus that of regression with its tangent kernel; above {GAP:g} points).",
        _beyond_linear,
        Region(low=GAP),
        NORMALISED,
        MIXED,
    ),
    _claim(
        "mixup-generalises",
        "appendix A",
        "Without batch normalisation it takes mixup to generalise (test accuracy with mixup minus without).",
        lambda r: better(r, MIXED, BARE),
        POSITIVE,
        BARE,
    ),
    _claim(
        "mixup-replaces-norm",
        "appendix A",
        f"With mixup nothing is lost: within {LITTLE:g} points of batch normalisation (without norm, with mixup, minus "
        "with norm, without mixup).",
        lambda r: better(r, MIXED, NORMALISED),
        Region(low=-LITTLE),
        NORMALISED,
    ),
)

EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/mixup",
        "ConstNet without batch normalisation, with mixup",
        specs,
        run,
        draw,
        CLAIMS,
        differs=(
            *PAPER,
            "The text's accuracy without batch normalisation is lost, and its search over mixup's strength and the "
            f"learning rate is not made: alpha is {ALPHA:g}, the learning rate is that of all other runs.",
        ),
        labels={"linear_regime": "test accuracy of the linearised network"},
    ),
)
