"""Figure 6: gradient norms by layer at the start of the first epochs, and what one batch normalisation adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments import protocol
from nonsingular.experiments.claims import Claim, Effect, Region, difference, mean
from nonsingular.experiments.effects import HALF, NO_DECAY, faster, gradient_decay, log_gradient
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.study import run_study
from nonsingular.networks import NetworkSpec, named
from nonsingular.plots.curves import Panel, over_epochs, over_layers
from nonsingular.training import BiasPenalty, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPOCHS_SHOWN = (0, 1, 2)
TARGETS = {"cifar100": (0.91, 0.03)}  # Note 2; the other data sets take what it found for CIFAR-10
STRENGTH = 6.6e-4
"""Lambda, which the paper does not give: what ``nonsingular search mu=0.51 sigma=0.96 lambda`` found on CIFAR-10 at
laptop scale (results/orhan2018/search/lambda). With one seed a trial, its lead over 1e-4 to 5e-3 is within noise."""


PENALTY_DIFFERS = (
    f"The paper does not give the strength of its bias penalty: here it is {STRENGTH:g}, from a search on CIFAR-10.",
    "Data sets other than CIFAR-100 take the target biases that the paper found for CIFAR-10.",
)


def bias_penalty(data: str) -> BiasPenalty:
    """The target biases that the paper's search found (orhan2018 Note 2)."""
    mu, sigma = TARGETS.get(data, (0.51, 0.96))
    return BiasPenalty(mu, sigma, STRENGTH)


def specs(scale: str, data: str | None = None) -> Spec:
    """30-layer networks, 50 runs on CIFAR-100 in the paper."""
    images = protocol.images(data, scale)
    runs, epochs = {"smoke": (3, 2), "laptop": (5, 12), "paper": (50, 100)}[scale]
    penalty = bias_penalty(images.name)
    return Spec(
        "orhan2018/fig6",
        scale,
        runs=runs,
        data=images,
        networks=(
            Member("plain", named("plain", depth=30)),
            Member("residual", named("residual", depth=30)),
            Member("malicious", named("malicious", depth=30)),
            Member("bias-regularised", named("plain", depth=30), penalty),
            Member("bias-regularised+bn", NetworkSpec(depth=30, batch_norm=(15,)), penalty),
        ),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None, "gradient_norm": EPOCHS_SHOWN, "activation_norm": EPOCHS_SHOWN},
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a and b."""
    epochs = [e for e in EPOCHS_SHOWN if e in results.epoch]
    panel = Panel("gradient_norm", LABELS["gradient_norm"], log=True)
    return {
        "gradients": over_layers(results, panel, epochs, "Gradients with respect to layer activations, 30 layers"),
        "accuracy": over_epochs(
            results, [Panel("train_accuracy", LABELS["train_accuracy"], percent=True)], "30-layer networks"
        ),
    }


RATIO = "log10 of gradient norm, first over last hidden layer, at the start"


def _close(results: xr.Dataset) -> Effect:
    a, b = (log_gradient(results, name, 0).mean("layer") for name in ("bias-regularised", "plain"))
    return mean(a - b)


def _larger_later(results: xr.Dataset) -> Effect:
    a, b = (
        (log_gradient(results, name, 1).mean("layer") + log_gradient(results, name, 2).mean("layer")) / 2
        for name in ("residual", "plain")
    )
    return difference(a, b)


def _fig6(name: str, statement: str, effect: object, region: Region, unit: str) -> Claim:
    return Claim(f"orhan2018/fig6/{name}", "orhan2018 §2.6, figure 6", statement, effect, region, unit)  # type: ignore[arg-type]


CLAIMS = (
    _fig6(
        "residual-no-decay",
        f"Gradients do not decay toward early layers in residual networks ({RATIO}; at least half).",
        lambda r: mean(gradient_decay(r, "residual")),
        NO_DECAY,
        "log10",
    ),
    _fig6(
        "malicious-no-decay",
        f"Nor do they after the malicious start ({RATIO}; at least half).",
        lambda r: mean(gradient_decay(r, "malicious")),
        NO_DECAY,
        "log10",
    ),
    _fig6(
        "plain-decay",
        f"Gradients decay toward early layers in plain networks ({RATIO}; less than half).",
        lambda r: mean(gradient_decay(r, "plain")),
        Region(high=HALF),
        "log10",
    ),
    _fig6(
        "bias-like-plain",
        "At the start plain and bias-regularised networks have nearly the same gradients (mean log10 ratio).",
        _close,
        Region(-0.1, 0.1),
        "log10",
    ),
    _fig6(
        "residual-larger-later",
        "After the first two epochs gradients are larger in residual than in plain networks (mean log10 ratio).",
        _larger_later,
        Region(low=0.0),
        "log10",
    ),
    _fig6(
        "bn-helps-bias",
        "One batch normalisation brings bias-regularised networks nearer to residual ones "
        "(training speed: with it minus without).",
        lambda r: faster(r, "bias-regularised+bn", "bias-regularised"),
        Region(low=0.0),
        "percentage points",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig6",
        "Gradient norms by layer in the first epochs; bias regularisation with one batch normalisation",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=PENALTY_DIFFERS,
    ),
)
