"""The networks of oyedotun2021, their data and training at the three scales.

The text that we have names the networks and data sets, not the protocol. ResNet-164 has bottleneck blocks as in He et
al. 2016, and so is the protocol at the paper's scale (§4.2). At the small scales the optimiser is Adam: with momentum a
PlainNet of this depth leaves the range of numbers within a few epochs, because its gradients grow from layer to layer
on the way back. Adam divides by the size of the gradients, so what it cannot mend is not their size alone.
"""

from __future__ import annotations

from nonsingular.data import DataSpec
from nonsingular.networks import ResidualSpec, plainnet, resnet
from nonsingular.training import Member, TrainingSpec

LAYERS = {"smoke": 29, "laptop": 164, "paper": 164}
WIDTH = {"smoke": 4, "laptop": 8, "paper": 16}
RUNS = {"smoke": 2, "laptop": 3, "paper": 5}
EPOCHS = {"smoke": 2, "laptop": 20, "paper": 200}
SIZE = {"smoke": 8, "laptop": 8, "paper": None}
CARDINALITY = {"smoke": 2, "laptop": 4, "paper": 8}


def networks(scale: str) -> tuple[Member, ...]:
    """PlainNet, ResNet and ResNeXt of one depth: the first two differ in their skips alone."""
    layers, width, groups = LAYERS[scale], WIDTH[scale], CARDINALITY[scale]
    # Groups of half the width: the published 8 x 64d to a width of 64, made as thin as the other networks here.
    resnext = ResidualSpec(layers, "bottleneck", width, cardinality=groups, group_width=max(width // 4, 1))
    return (
        Member("plainnet", plainnet(layers, block="bottleneck", width=width)),
        Member("resnet", resnet(layers, block="bottleneck", width=width)),
        Member("resnext", resnext),
    )


def images(name: str, scale: str) -> DataSpec:
    """Images of one mean and deviation a channel; few and small ones below the paper's scale.

    What is asked first is whether a network fits its training set at all. That is a question that few images answer.
    """
    train, test = {"smoke": (200, 100), "laptop": (500, 500), "paper": (None, None)}[scale]
    if name == "digits":
        train, test = (200, 100) if scale == "smoke" else (None, None)
    return DataSpec(name, train, test, scaling="channels", layout="image", size=SIZE[scale])


def training(data: DataSpec, scale: str, epochs: int) -> TrainingSpec:
    """He et al. 2016 §4.2 at the paper's scale (crops and mirror images where those are natural), Adam below it."""
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
        )
    return TrainingSpec(epochs, batch=50, learning_rate=2e-3, weight_decay=1e-4)
