"""What figures 1, 5, 6 and 7 share: pairs of networks with and without skips, trained, and the surfaces around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from nonsingular import landscape
from nonsingular.experiments.fit import HALFWAY, fitted
from nonsingular.experiments.run import rates
from nonsingular.experiments.run.trained import Trained, run_trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Size
from nonsingular.experiments.spec import Spec
from nonsingular.networks import ResidualSpec
from nonsingular.papers.li2018.parts import protocol
from nonsingular.training import Member
from nonsingular.words import joined

DEEP = 56
"""Layers from which on a plain network starts at a tenth of the learning rate at the paper's scale (section 5)."""
RATES = {"tried": [0.01, 0.03, 0.1], "epochs": 2}
"""Overnight each network has the rate that fits the training images best after two epochs."""
DIFFERS = (
    "Only networks that have trained are compared: whose training accuracy has come half of the way from guessing to "
    "no error. The others' surfaces are kept in the results and marked there and in the figures.",
    "Roughness is measured; the paper shows pictures. A deeper minimum is no roughness: but for the share of "
    "non-convex points, measures see the loss by its rank among the points of its surface, and any increasing function "
    "of the loss gives the same number. Every run draws its own pair of directions with its own weights.",
    "At smoke and laptop scale networks train at rate 0.02 in batches of 50: thin deep ones do not recover from 0.1.",
    "At overnight scale each network has the rate of 0.01, 0.03 and 0.1 with which a seed apart has the lowest "
    "training loss after two epochs; the results hold all three. At paper scale it is the paper's 0.1, and 0.01 for "
    "plain networks of 56 layers and more: the paper names ResNet-56 without skips as one that needed it.",
    "Random crops and mirror images, skips with 1 x 1 convolutions where sizes change, and the 16 k channels of a "
    "Wide-ResNet's first layer are those of the authors' code; the text does not say.",
    "The surface's loss is taken over as many training images as the settings say, all of them at paper scale.",
    "At laptop and overnight scale images are averaged to 16 x 16 pixels; at paper scale they have their 32 x 32.",
)
LABELS = {
    "nonconvex": "non-convex points (%)",
    "excess_variation": "ups and downs beyond one minimum\n(% of the ranks, a grid line)",
    "minima": "local minima",
    "guidance": "cosine of the way downhill\nand the way to the minimum",
    "elongation": "length over breadth of the valley",
    "sharpness": "mean rise of the loss\nwithin half a direction (nats)",
}
STORED = LABELS | {
    "total_variation": "total variation of log loss (per unit of direction)",
    "loss": "training loss (nats)",
    "test_error": "test error (%)",
    "layers": "layers with weights",
    "trained": "whether training came half of the way to no error",
    "x": "along the first direction",
    "y": "along the second direction",
    **rates.LABELS,
}
"""What is called how in the measured data."""
PERCENT = ("nonconvex", "excess_variation")
"""Measures kept in percent."""


def study(size: Size, *networks: Member, **settings: Any) -> Spec:
    """The spec of a figure of surfaces: every point is evaluated, directions reach from -1 to 1.

    Args:
        size: as ``protocol.study`` takes it.
        *networks: as ``pair`` gives them, and others.
        **settings: further ones.
    """
    if size.scale == "overnight":
        settings["rates"] = RATES
    slow = {"learning_rate": 0.01} if size.scale == "paper" else {}
    deep = [m for m in networks if m.name.startswith("plainnet") and m.network.depth + 1 >= DEEP]
    return protocol.study(size, {m: slow if m in deep else {} for m in networks}, keep="end", **settings)


def pair(layers: int, width: int, name: str = "") -> tuple[Member, Member]:
    """A residual network and what is left of it without its skips; skips are projected where sizes change.

    Args:
        layers: with weights, readout included; the networks are called after them.
        width: channels of the first layer and of the first stage.
        name: another name than ``layers``.
    """
    return (
        Member(f"resnet-{name or layers}", ResidualSpec(layers, width=width, shortcut="projected")),
        Member(f"plainnet-{name or layers}", ResidualSpec(layers, width=width, shortcut="projected", skips=False)),
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train every network, evaluate its surface, measure how rough that is."""
    return run_around(spec, workspace, measured, spec.settings["grid"] ** 2)


def run_around(spec: Spec, workspace: Workspace, measure: Any, points: int) -> xr.Dataset:
    """As ``run`` with another measure: of one trained network, as ``run_trained`` takes it."""
    spec, searched = rates.with_rates(spec, workspace)
    results = run_trained(spec, workspace, measure, points)
    layers = [m.network.depth + 1 for m in spec.networks]
    return marked(results.assign(searched.variables).assign(layers=("network", layers)))


def marked(results: xr.Dataset) -> xr.Dataset:
    """The results with test errors, and with ``trained``: 1 for every run that has come half of the way, else 0."""
    ways = np.stack([fitted(results, str(name)) for name in results.network.values])
    return results.assign(
        test_error=100 * (1 - results.test_accuracy.isel(epoch=-1, drop=True)),
        trained=(("network", "run"), (ways > HALFWAY).astype(float)),
    )


def on_images(trained: Trained) -> list[tuple[Tensor, Tensor]]:
    """The training images that surfaces are taken over, as batches."""
    count = trained.spec.settings["images"]
    return [(trained.task.train_inputs[:count], trained.task.train_labels[:count])]


def evaluated(
    function: Callable[..., xr.Dataset], trained: Trained, *where: Any, **options: Any
) -> partial[xr.Dataset]:
    """A function of ``landscape`` of a trained network and of the images, on the grid that the settings say."""
    options = {"grid": trained.spec.settings["grid"]} | options
    return partial(function, trained.network, F.cross_entropy, on_images(trained), *where, **options)


def directions(trained: Trained) -> tuple[landscape.Direction, landscape.Direction]:
    """The pair of directions of a run: filter-normalised, random, its own."""
    seed = 2 * (trained.spec.seed + trained.row.run)
    return landscape.gaussian(trained.network, seed), landscape.gaussian(trained.network, seed + 1)


def measured(networks: Sequence[Trained], folder: Path, on_points: Callable[[int], None]) -> xr.Dataset:
    """One network's surface, and how rough it is."""
    (trained,) = networks
    around = evaluated(landscape.surface, trained, *directions(trained), settings=landscape.EXACT)
    surface = around(keep=folder / "surface.npz", on_points=on_points)
    rough = {name: 100 * v if name in PERCENT else v for name, v in landscape.roughness(surface).items()}
    return xr.Dataset({"loss": surface.loss, **rough}, attrs=how(surface))


def how(surface: xr.Dataset) -> dict[str, Any]:
    """What is kept of the attributes of what was evaluated."""
    return {k: surface.attrs[k] for k in ("samples", "total_samples", "how")}


def title(results: xr.Dataset) -> str:
    """What is compared: ``ResNet-20 and ResNet-56 with and without skip connections``, and a DenseNet beside them."""
    depths = {str(n): int(d) for n, d in zip(results.network.values, results.layers.values, strict=True)}
    dense = [f"DenseNet-{depth}" for name, depth in depths.items() if name.startswith("densenet")]
    pairs = sorted({depth for name, depth in depths.items() if not name.startswith("densenet")})
    kinds = f"{joined([f'ResNet-{depth}' for depth in pairs])} with and without skip connections" if pairs else ""
    return ", ".join(filter(None, [kinds, *dense]))
