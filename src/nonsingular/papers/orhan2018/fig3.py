"""Figure 3: 20-layer plain, residual and hyper-residual networks; their training accuracy and their singularities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, difference
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import PERCENTAGES, faster, larger_share, require_started
from nonsingular.papers.orhan2018.differs import ESTIMATED, EVALUATED_ON
from nonsingular.papers.orhan2018.spectra import counted_over_epochs, fitted_spectra, shares_over_epochs
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

SPECTRA = {"smoke": (0, 1), "laptop": (0, 1, 3, 10, 25)} | dict.fromkeys(
    ("overnight", "paper"), (0, 1, 2, 3, 5, 10, 20, 30, 50, 75, 100)
)
"""Epochs at which the Hessian's spectrum is estimated from four moments, as in the paper."""

COUNTED = {"laptop": (3, 25), "overnight": (3, 30, 100), "paper": (3, 30, 100)}
"""Epochs at which eigenvalues are counted by Lanczos too."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Networks of 20 layers and 128 units on CIFAR-100 with 50 runs in the paper; CIFAR-10 on a laptop."""
    images = protocol.images(data, scale)
    runs, epochs = {"smoke": (3, 2), "laptop": (8, 25), "overnight": (10, 100), "paper": (50, 100)}[scale]
    return Spec(
        "orhan2018/fig3",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(name, named(name, depth=20)) for name in ("plain", "residual", "hyper-residual")),
        training=protocol.training(images, epochs),
        instruments=dict.fromkeys(INSTRUMENTS)
        | {"hessian_moments": SPECTRA[scale]}
        | ({} if scale == "smoke" else {"hessian_few_lanczos": COUNTED[scale]}),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy (a), shares of eigenvalues (b, c), fitted spectra (d), and the unit measures over training."""
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
        "spectra": shares_over_epochs(results, "Shares of the Hessian's eigenvalues by four moments, 20 layers"),
        "densities": fitted_spectra(results, "Hessian spectra fitted to four moments, 20 layers,"),
        **counted_over_epochs(results, "20 layers"),
        "units": over_epochs(results, units, "Distance from singularities, 20-layer networks (mean over layers)"),
    }


def _late_degeneracy(results: xr.Dataset, variable: str) -> Effect:
    late = [
        100 * per_run(results, variable, name).dropna("epoch", how="all").isel(epoch=-1)
        for name in ("residual", "plain")
    ]
    if any(share.epoch != results.epoch[-1] for share in late):
        raise NotMeasured("eigenvalues were not measured at the end of training")
    require_started(results, "residual", "plain")
    return difference(*late, within=PERCENTAGES)


METHODS = (
    ("moments", "", "estimated from four moments as in the paper", ""),
    ("lanczos", "-lanczos", "counted by Lanczos", "; counted otherwise than there"),
)
"""Of the spectra: name, what ids end in, words, and what sources end in."""

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
    *(
        Claim(
            f"orhan2018/fig3/{part}-{first}-{second}{suffix}",
            f"orhan2018 §2.3, figure 3b and c{otherwise}",
            f"{first.capitalize()} networks have {words} eigenvalues than {second} ones, {how} "
            f"({first} minus {second}, mean over the measured epochs after the start).",
            partial(larger_share, variable=f"{part}_{method}", first=first, second=second),
            region,
            "percentage points",
        )
        for method, suffix, how, otherwise in METHODS
        for part, words, region in (
            ("degenerate", "more degenerate", POSITIVE),
            ("negative", "fewer negative", NEGATIVE),
        )
        for first, second in (("plain", "residual"), ("residual", "hyper-residual"))
    ),
    *(
        Claim(
            f"orhan2018/fig3/crossover{suffix}",
            f"orhan2018 §2.3, figure 3b{otherwise}",
            "Late in training the order turns: residual networks end more degenerate than plain ones "
            f"({how}; residual minus plain after the last epoch).",
            partial(_late_degeneracy, variable=f"degenerate_{method}"),
            unit="percentage points",
        )
        for method, suffix, how, otherwise in METHODS
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
        differs=(
            "The paper does not say on how many samples and with how many random vectors its moments are taken; here "
            "on 1 000 training samples with four vectors. The mixture is fitted by an optimiser, not by a grid search.",
            ESTIMATED,
            EVALUATED_ON,
        ),
    ),
)
