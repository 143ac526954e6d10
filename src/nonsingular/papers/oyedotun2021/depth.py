"""Table 4 and the depth sweep: how accuracy changes with depth, without skips and with skips of four kinds.

The article shows a fourth table without saying what is in it; its text compares depths. Here table 4 holds PlainNet and
ResNet at several depths, and the depth sweep adds the other skip systems that the article and its paper name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region, difference, mean
from nonsingular.experiments.effects import slope
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import diverged, fitted, possible_differences, require_trained
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import LAST, Spec, at_scale
from nonsingular.networks import Architecture, DenseSpec, FractalSpec, HighwaySpec, plainnet, resnet
from nonsingular.papers.oyedotun2021 import protocol
from nonsingular.plots.depth import over_depth
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = {
    "smoke": (8, 14),
    "laptop": (8, 14, 20, 32, 56, 110),
    "overnight": (8, 14, 20, 32, 56, 110),
    "paper": (8, 14, 20, 32, 56, 110, 164),
}
DOUBLINGS = {
    "smoke": (1, 2),
    "laptop": (1, 2, 3, 4),
    "overnight": (1, 2, 3, 4),
    "paper": (1, 2, 3, 4, 5),
}  # of a FractalNet's longest path
FRACTAL: dict[str, dict[str, float]] = {
    "smoke": {"drop_path": 0.0},
    "laptop": {"drop_path": 0.0},  # with 0.15 FractalNet-25 fits 12 % of 500 images in 24 epochs, without 100 %
    "overnight": {"drop_path": 0.0},
    "paper": {"drop_path": 0.15, "blocks": 5, "dropout": 0.4},
}
WIDTH = {"smoke": 4, "laptop": 8, "overnight": 8, "paper": 16}
EPOCHS = {"smoke": 2, "laptop": 24, "overnight": 10, "paper": 200}
RUIN = 20  # layers: "from about 10 to 20 layers on"


def plain_and_residual(scale: str) -> tuple[Member, ...]:
    """PlainNet and ResNet at every depth, with basic blocks."""
    width, depths = WIDTH[scale], at_scale(DEPTHS, scale)
    return tuple(Member(f"{n}-{d}", make(d, width=width)) for n, make in SUMMED.items() for d in depths)


SUMMED = {"plainnet": plainnet, "resnet": resnet}


def every_system(scale: str) -> tuple[Member, ...]:
    """None, summed, concatenated, gated and fractal skips at the depths of FractalNets, or the nearest there are.

    They agree to one layer, at the paper's scale to three.
    """
    width = WIDTH[scale]
    members: list[tuple[str, Architecture, int]] = []
    for k in at_scale(DOUBLINGS, scale):
        fractal = FractalSpec(k + 1, width, **FRACTAL[scale])  # type: ignore[arg-type]
        summed, others = _nearest(fractal.layers, 6, 2), _nearest(fractal.layers, 3, 4)
        members += [(name, make(summed, width=width), summed) for name, make in SUMMED.items()]
        members += [
            ("densenet", DenseSpec(others, growth=max(width // 2, 1), width=width), others),
            ("highway", HighwaySpec(others, width), others),
            ("fractalnet", fractal, fractal.layers),
        ]
    return tuple(Member(f"{name}-{layers}", network) for name, network, layers in members)


def _nearest(layers: int, step: int, first: int) -> int:
    """The number of the form step n + first that is nearest to ``layers``, of two the smaller."""
    return step * math.ceil((layers - first) / step - 0.5) + first


def specs(scale: str, data: str | None = None, *, id: str, members: Callable[[str], tuple[Member, ...]]) -> Spec:
    """CIFAR-10 and the protocol of the tables."""
    epochs = at_scale(EPOCHS, scale)
    looks = None if scale == "paper" else (0, LAST)  # the end is what is compared; looking takes as long as training
    images = protocol.images(data or ("digits" if scale == "smoke" else "cifar10"), scale)
    return Spec(
        id,
        scale,
        runs=protocol.RUNS[scale],
        data=images,
        networks=members(scale),
        training=protocol.training(images, scale, epochs),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy"), looks),
    )


def families(results: xr.Dataset) -> dict[str, dict[str, int]]:
    """Skip system -> network -> its layers, by rising depth."""
    found: dict[str, dict[str, int]] = {}
    for name in map(str, results.network.values):
        family, _, layers = name.rpartition("-")
        found.setdefault(family, {})[name] = int(layers)
    return {family: dict(sorted(members.items(), key=lambda m: m[1])) for family, members in found.items()}


def _family(results: xr.Dataset, name: str) -> dict[str, int]:
    members = families(results).get(name, {})
    if len(members) < 2:
        raise NotMeasured(f"needs {name} at two depths or more")
    return members


def _require_deep_one(results: xr.Dataset) -> None:
    """Refuse to judge depth where no system's deepest network has trained: there was no time for networks so deep."""
    require_trained(results, *(list(members)[-1] for members in families(results).values()))


def _slope(results: xr.Dataset, family: str, from_layers: int = 0) -> Effect:
    """Change of the way from chance to no error (training images) with each doubling of the depth."""
    _require_deep_one(results)
    members = {n: float(np.log2(d)) for n, d in _family(results, family).items() if d >= from_layers}
    if len(members) < 2:
        raise NotMeasured(f"needs {family} at two depths of at least {from_layers} layers")
    measure = lambda r, name: xr.DataArray(fitted(r, name), dims="run")  # noqa: E731
    return slope(results, members, measure)


def _best_depth(results: xr.Dataset) -> Effect:
    members = _family(results, "plainnet")
    _require_deep_one(results)
    reached = np.stack([fitted(results, name) for name in members])
    layers = np.array(list(members.values()))
    return mean(layers[reached.argmax(0)], within=(layers.min(), layers.max()))


def _deepest(results: xr.Dataset, family: str) -> Effect:
    a, b = (list(_family(results, name))[-1] for name in (family, "plainnet"))
    require_trained(results, a, b)
    note = f"{a} and {b}" + (f"; {lost}" if (lost := diverged(results, a, b)) else "")
    return difference(fitted(results, a), fitted(results, b), note=note, within=possible_differences(results))


SOURCE = "Oyedotun et al. 2021 (article), introduction and tables"
WAY = "training accuracy, on the way from chance = 0 to no error = 100"
UNIT = "percent of the way"
KINDS = {"resnet": "summed", "densenet": "concatenated", "highway": "gated", "fractalnet": "fractal"}


def _helps(id: str, family: str) -> tuple[Claim, ...]:
    kind = KINDS[family]
    return (
        Claim(
            f"{id}/{family}-deeper",
            SOURCE,
            f"Depth helps networks with {kind} skips ({WAY}: change with each doubling of the depth).",
            lambda r: _slope(r, family),
            POSITIVE,
            f"{UNIT} a doubling",
        ),
        Claim(
            f"{id}/{family}-deepest",
            SOURCE,
            f"The deepest network with {kind} skips trains better than the deepest without ({WAY}: difference).",
            lambda r: _deepest(r, family),
            POSITIVE,
            UNIT,
        ),
    )


def _ruins(id: str) -> tuple[Claim, ...]:
    return (
        Claim(
            f"{id}/plainnet-best-depth",
            SOURCE,
            "Without skips training becomes difficult beyond about 10 to 20 layers (layers of the PlainNet that fits "
            "its training set best).",
            _best_depth,
            Region(high=RUIN + 0.5),
            "layers",
        ),
        Claim(
            f"{id}/plainnet-ruined",
            SOURCE,
            f"From {RUIN} layers on PlainNets get worse with depth ({WAY}: change with each doubling of the depth).",
            lambda r: _slope(r, "plainnet", RUIN),
            NEGATIVE,
            f"{UNIT} a doubling",
        ),
    )


def draw(results: xr.Dataset, title: str) -> Mapping[str, Figure]:
    """Accuracy against depth."""
    return {"depth": over_depth(results, families(results), title)}


DIFFERS = (
    "The article shows a table 4 without saying what is in it; depths, networks and protocol here are ours.",
    "Networks of different skip systems have the same depth and first width, not the same number of parameters.",
    "Nothing is said of depth where no system's deepest network has come half of the way.",
    "PlainNets and ResNets have basic post-activation blocks and skips without parameters (He et al. 2016a).",
)
SYSTEMS = (
    "The networks without skips are PlainNets. DenseNets, Highway networks and FractalNets without theirs are not "
    "compared: they would differ in parameters too (DenseNet-40, growth 12: 22.6 million without concatenation, 1.0 "
    "million with, since its layers must then carry all channels themselves).",
    "FractalNets have the 5 blocks and the dropout of Larsson et al. 2017 at paper scale, where depths agree to three "
    "layers. Below it they have 3 blocks (images are too small to halve four times), no dropout and no drop-path: with "
    "it they do not fit their few training images in the few steps there are.",
    "All systems train as ResNets do, drop-path and dropout apart; their own papers have other rates and batches.",
)


def _experiment(
    id: str,
    title: str,
    members: Callable[[str], tuple[Member, ...]],
    helped: tuple[str, ...],
    differs: tuple[str, ...] = DIFFERS,
) -> Experiment:
    claims = (*_ruins(id), *(claim for family in helped for claim in _helps(id, family)))
    return Experiment(
        id,
        title,
        partial(specs, id=id, members=members),
        run_study,
        partial(draw, title="Accuracy at the end of training by depth"),
        claims,
        differs=differs,
    )


EXPERIMENTS = (
    _experiment(
        "oyedotun2021/table4", "PlainNet and ResNet from 8 to 110 layers and more", plain_and_residual, ("resnet",)
    ),
    _experiment(
        "oyedotun2021/depth-sweep", "Depth with summed, concatenated, gated, fractal and no skips", every_system,
        tuple(KINDS), (*DIFFERS, *SYSTEMS),
    ),
)  # fmt: skip
