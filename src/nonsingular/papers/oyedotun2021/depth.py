"""Table 4 and the depth sweep: how accuracy changes with depth, without skips and with skips of four kinds.

The article shows a fourth table without saying what is in it; its text compares depths. Here table 4 holds PlainNet
(no skips) and ResNet (summed ones) at several depths, and the depth sweep adds the other skip systems that the article
and its paper name. A network is called ``family-layers``, layers with weights; a run is a seed. How far training comes
is in percent of the way from guessing to no error.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.needs import trained
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.experiments.verbs import Declared, claim
from nonsingular.networks import Architecture, DenseSpec, FractalSpec, HighwaySpec, plainnet, resnet
from nonsingular.papers.oyedotun2021.parts import drawings, protocol
from nonsingular.papers.oyedotun2021.parts.by_depth import best_depth, deepest, with_depth
from nonsingular.training import Member

RUIN = 20
"""Layers: "from about 10 to 20 on"."""
SUMMED = {"plainnet": plainnet, "resnet": resnet}
KINDS = {"resnet": "summed", "densenet": "concatenated", "highway": "gated", "fractalnet": "fractal"}
SIZES = Scales(
    runs=(2, 3, 5, 5),
    epochs=(2, 24, 10, 200),
    width=(4, 8, 8, 16),
    depths=((8, 14), *((8, 14, 20, 32, 56, 110),) * 2, (8, 14, 20, 32, 56, 110, 164)),
    doublings=((1, 2), *((1, 2, 3, 4),) * 2, (1, 2, 3, 4, 5)),
    fractal=(*({"drop_path": 0.0},) * 3, {"drop_path": 0.15, "blocks": 5, "dropout": 0.4}),
)
"""``doublings`` are those of a FractalNet's longest path. With drop-path of 0.15 FractalNet-25 fits 12 % of 500 images
in 24 epochs, without 100 %. At smoke scale no two depths reach RUIN: plainnet-ruined is not judged there."""


def plain_and_residual(size: Size) -> tuple[Member, ...]:
    """PlainNet and ResNet at every depth, with basic blocks."""
    return tuple(Member(f"{n}-{d}", make(d, width=size.width)) for n, make in SUMMED.items() for d in size.depths)


def every_system(size: Size) -> tuple[Member, ...]:
    """None, summed, concatenated, gated and fractal skips at the depths of FractalNets, or the nearest there are.

    They agree to one layer, at the paper's scale to three.
    """
    width = size.width
    members: list[tuple[str, Architecture, int]] = []
    for k in size.doublings:
        fractal = FractalSpec(k + 1, width, **size.fractal)
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


def study(size: Size, networks: tuple[Member, ...]) -> Spec:
    """CIFAR-10 and the protocol of the tables."""
    looks = None if size.scale == "paper" else (0, LAST)  # the end is compared; looking takes as long as training
    images = protocol.images(size)
    return size.spec(
        data=images,
        networks=networks,
        training=protocol.training(images, size.scale, size.epochs),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy"), looks),
    )


def helped(family: str) -> dict[str, Declared]:
    """What is claimed of networks with skips of one kind."""
    kind = KINDS[family]
    return {
        f"{family}-deeper": claim(
            f"Networks with {kind} skips generalise the better the deeper they are",
            with_depth(family, split="test") > 0,
        ),
        f"{family}-deepest": claim(
            f"The deepest network with {kind} skips trains better than the deepest without",
            deepest(family, "plainnet") > 0,
        ),
    }


RUINED = {
    "plainnet-best-depth": claim(
        "Without skips training becomes difficult beyond about 10 to 20 layers", best_depth("plainnet") < RUIN + 0.5
    ),
    "plainnet-ruined": claim(f"From {RUIN} layers on PlainNets get worse with depth", with_depth("plainnet", RUIN) < 0),
}
DIFFERS = (
    "The article shows a table 4 without saying what is in it; depths, networks and protocol here are ours.",
    "Networks of different skip systems have the same depth and first width, not the same number of parameters.",
    "Nothing is said of depth where no system's deepest network has come half of the way.",
    "PlainNets and ResNets have basic post-activation blocks and skips without parameters (He et al. 2016a). Below "
    "paper scale all networks train with Adam on images of 8 x 8 pixels.",
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


def figure(
    id: str, title: str, members: Callable[[Size], tuple[Member, ...]], kinds: tuple[str, ...], differs: tuple[str, ...]
) -> Figure:
    """One of the two: equal but for the networks."""
    return Figure(
        id,
        title,
        source="oyedotun2021 (article), introduction and tables",
        sizes=SIZES,
        needs=trained(),
        study=lambda size: study(size, members(size)),
        draw={"depth": drawings.over_depth},
        claims=RUINED | {name: declared for kind in kinds for name, declared in helped(kind).items()},
        differs=differs,
    )


FIGURES = (
    figure("oyedotun2021/table4", "PlainNet and ResNet by depth", plain_and_residual, ("resnet",), DIFFERS),
    figure(
        "oyedotun2021/depth-sweep",
        "Depth with summed, concatenated, gated, fractal and no skips",
        every_system,
        tuple(KINDS),
        (*DIFFERS, *SYSTEMS),
    ),
)
