"""How oyedotun2021's figures are drawn from their results."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from nonsingular.experiments.drawings import Picture
from nonsingular.experiments.run.instruments.representations import ACTIVATION_QUANTILES, WEIGHT_QUANTILES
from nonsingular.networks.residual import LAYERS_A_BLOCK
from nonsingular.papers.oyedotun2021.parts.by_depth import families
from nonsingular.plots import depth as plots

NAMES = {"plainnet": "PlainNet", "resnet": "ResNet"}
QUANTILES = {"activation": ACTIVATION_QUANTILES, "weight": WEIGHT_QUANTILES}


def layers(results: xr.Dataset) -> int:
    """Layers with weights, readout included."""
    return int(results.sizes["layer"]) + 1


def accuracies(results: xr.Dataset) -> Picture:
    """Training and test accuracy at the end."""
    return plots.accuracies(results, f"PlainNet, ResNet and ResNeXt with {layers(results)} layers at the end")


def distribution(what: str, network: str) -> Callable[[xr.Dataset], Picture]:
    """Of a network's ``activation`` or ``weight``, by layer."""
    title = f"{what.capitalize()}s of {NAMES[network]}"
    return lambda r: plots.distributions(r, network, QUANTILES[what], what, f"{title}-{layers(r)} by layer")


def conditioning(results: xr.Dataset) -> Picture:
    """Condition numbers of PlainNet and ResNet by layer."""
    title = f"Representations of {layers(results)}-layer networks"
    return plots.conditioning(results, list(NAMES), title, LAYERS_A_BLOCK["bottleneck"])


def over_depth(results: xr.Dataset) -> Picture:
    """Accuracy at the end against depth, a curve a family of networks."""
    return plots.over_depth(results, families(results), "Accuracy at the end of training by depth")


def conditioning_of_deepest(results: xr.Dataset) -> Picture | None:
    """Condition numbers by layer of every family's deepest network."""
    if "sample_condition_number" not in results:
        return None
    names = [list(members)[-1] for members in families(results).values()]
    title = f"Representations of {layers(results)}-layer networks"
    return plots.conditioning(results, names, title, LAYERS_A_BLOCK["basic"])
