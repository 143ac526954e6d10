"""The networks of oyedotun2021, their data and training at the four scales.

The text that we have names the networks and data sets, neither their blocks nor the protocol. At the paper's scale
ResNet-164 and its training are those of He et al. 2016b (table 4 and appendix: pre-activation, bottleneck blocks,
projections where sizes change, 1.7 million parameters), ResNeXt-164 is post-activation with projections (Xie et al.
2017). At the small scales networks are thin, in the order of He et al. 2016a and with skips that have no parameters, so
that PlainNet and ResNet have equally many. There the optimiser is Adam: with momentum a PlainNet of this depth leaves
the range of numbers within a few epochs, because its gradients grow from layer to layer on the way back. Adam divides
by the size of the gradients, so what it cannot mend is not their size alone.
"""

from __future__ import annotations

from dataclasses import replace

from nonsingular.data import DataSpec
from nonsingular.networks import ResidualSpec, plainnet, resnet
from nonsingular.training import Member, TrainingSpec

LAYERS = {"smoke": 29, "laptop": 164, "overnight": 164, "paper": 164}
WIDTH = {"smoke": 4, "laptop": 8, "overnight": 8, "paper": 16}
RUNS = {"smoke": 2, "laptop": 3, "overnight": 5, "paper": 5}
EPOCHS = {"smoke": 2, "laptop": 40, "overnight": 10, "paper": 200}
SIZE = {"smoke": 8, "laptop": 8, "overnight": 8, "paper": None}
CARDINALITY = {"smoke": 2, "laptop": 4, "overnight": 4, "paper": 8}
"""Of ResNeXt, whose groups together have twice the inner channels of the ResNet beside it (8 x 4d at a width of 16).

So ImageNet's 32 x 4d is to a width of 64 (Xie et al. 2017, table 1), which keeps parameters near the ResNet's: 2.0
million here. Their 8 x 64d for CIFAR has eight times the inner channels, and with 164 layers 210 million parameters.
"""


def networks(scale: str) -> tuple[Member, ...]:
    """PlainNet, ResNet and ResNeXt of one depth: the first two differ in their skips alone."""
    layers, width, groups = LAYERS[scale], WIDTH[scale], CARDINALITY[scale]
    xie = ResidualSpec(layers, "bottleneck", width, cardinality=groups, group_width=2 * width // groups)
    he: dict[str, object] = {"block": "bottleneck", "width": width}
    if scale == "paper":
        xie = replace(xie, shortcut="projected")
        he |= {"order": "pre", "shortcut": "projected"}
    return (
        Member("plainnet", plainnet(layers, **he)),
        Member("resnet", resnet(layers, **he)),
        Member("resnext", xie),
    )


def images(name: str, scale: str) -> DataSpec:
    """Images of one mean and deviation a channel; small ones below the paper's scale, and few of them on a laptop.

    What is asked first is whether a network fits its training set at all. That is a question that few images answer.
    """
    train, test = {"smoke": (200, 100), "laptop": (500, 500), "overnight": (None, None), "paper": (None, None)}[scale]
    if name == "digits":
        train, test = (200, 100) if scale == "smoke" else (None, None)
    return DataSpec(name, train, test, scaling="channels", layout="image", size=SIZE[scale])


def training(data: DataSpec, scale: str, epochs: int) -> TrainingSpec:
    """He et al. 2016b at the paper's scale (crops and mirror images where those are natural), Adam below it."""
    if scale == "paper":
        return TrainingSpec(
            epochs,
            batch=128,
            learning_rate=0.1,
            optimiser="sgd",
            momentum=0.9,
            weight_decay=1e-4,
            milestones=(epochs // 2, epochs * 3 // 4),
            augment="none" if data.name in ("digits", "mnist") else "crop+mirror",
            warm_up=1,
        )
    return TrainingSpec(epochs, batch=100 if scale == "overnight" else 50, learning_rate=2e-3, weight_decay=1e-4)
