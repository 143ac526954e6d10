"""Figure 5: bias regularisation and the malicious start on 30 layers; how degenerate each network's Hessian is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments import protocol
from nonsingular.experiments.claims import Claim, Effect, Region, mean
from nonsingular.experiments.effects import faster, speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.orhan2018.fig6 import PENALTY_DIFFERS, STRENGTH, bias_penalty
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.experiments.spectra import larger_share
from nonsingular.experiments.study import run_study
from nonsingular.networks import named
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import BiasPenalty, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"smoke": (2, 2, (2,)), "laptop": (5, 12, (2, 6, 12)), "paper": (50, 100, (1, 3, 10, 30, 100))}
"""Scale -> runs, epochs, and the epochs after which the Hessian's spectrum is estimated."""


def specs(scale: str, data: str | None = None) -> Spec:
    """30-layer networks, 50 runs on CIFAR-10 and CIFAR-100 in the paper."""
    images = protocol.images(data, scale)
    runs, epochs, spectra = at_scale(SIZES, scale)
    plain, residual, malicious = (named(name, depth=30) for name in ("plain", "residual", "malicious"))
    return Spec(
        "orhan2018/fig5",
        scale,
        runs=runs,
        data=images,
        networks=(
            Member("residual", residual),
            Member("malicious", malicious),
            Member("bias-regularised", plain, bias_penalty(images.name)),
            Member("bias-l2", plain, BiasPenalty(strength=STRENGTH)),
            Member("plain", plain),
        ),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None, "hessian_moments": spectra},
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a or b (whichever data set), and c."""
    accuracy = Panel("train_accuracy", LABELS["train_accuracy"], percent=True)
    degenerate = Panel("degenerate_moments", LABELS["degenerate_moments"], percent=True)
    measured = results.dropna("epoch", how="all", subset=["degenerate_moments"])
    return {
        "accuracy": over_epochs(results, [accuracy], "30-layer networks"),
        "degeneracy": over_epochs(measured, [degenerate], "30-layer networks"),
    }


def _share_of_gap(results: xr.Dataset) -> Effect:
    """What the malicious start costs, less half of what residual networks are ahead of plain ones."""
    residual, malicious, plain = (speed(results, name) for name in ("residual", "malicious", "plain"))
    return mean(residual - malicious - (residual - plain) / 2)


def _speed_claim(name: str, statement: str, first: str, second: str, region: Region) -> Claim:
    return Claim(
        f"orhan2018/fig5/{name}",
        "orhan2018 §2.5, §2.6, figure 5a, b",
        f"{statement} (mean training accuracy over the epochs).",
        lambda r: faster(r, first, second),
        region,
        "percentage points",
    )


MORE = Region(low=0.0)
NO_MORE = Region(high=1.0)  # not a percentage point ahead

CLAIMS = (
    _speed_claim(
        "residual-best", "Residual networks are ahead of bias-regularised ones", "residual", "bias-regularised", MORE
    ),
    _speed_claim(
        "bias-beats-plain", "Bias-regularised networks are ahead of plain ones", "bias-regularised", "plain", MORE
    ),
    _speed_claim(
        "l2-no-help",
        "L2 regularisation of the biases is no help: it is not ahead of plain",
        "bias-l2",
        "plain",
        NO_MORE,
    ),
    Claim(
        "orhan2018/fig5/malicious-costs-little",
        "orhan2018 §2.5, figure 5a, b",
        "The malicious start costs little: less than half of the residual networks' lead over plain ones "
        "(cost minus half the lead, in mean training accuracy).",
        _share_of_gap,
        Region(high=0.0),
        "percentage points",
    ),
    *(
        Claim(
            f"orhan2018/fig5/{first}-more-degenerate",
            "orhan2018 §2.6, figure 5c",
            f"The Hessian of {first} networks is more degenerate than that of {second} ones "
            "(share of eigenvalues within 0.1 of zero, by the paper's moments).",
            lambda r, first=first, second=second: larger_share(r, "degenerate_moments", first, second),  # type: ignore[misc]
            MORE,
            "percentage points",
        )
        for first, second in (("plain", "bias-regularised"), ("bias-regularised", "residual"))
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig5",
        "Bias regularisation and the malicious start on 30 layers",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            *PENALTY_DIFFERS,
            "The penalty that breaks no symmetry (mean and deviation 0) has the same strength.",
            "The malicious start leaves the first layer and the readout alone, which have no skip to cancel.",
        ),
    ),
)
