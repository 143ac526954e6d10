"""The networks of oyedotun2021, their data and training at the four scales.

The text that we have names the networks and data sets, neither their blocks nor the protocol. At the paper's scale
ResNet-164 and its training are those of He et al. 2016b (table 4 and appendix: pre-activation, bottleneck blocks,
projections where sizes change, 1.7 million parameters), ResNeXt-164 is post-activation with projections (Xie et al.
2017). At the small scales networks are thin, in the order of He et al. 2016a and with skips that have no parameters,
so that PlainNet and ResNet have equally many. There the optimiser is Adam: with momentum a PlainNet of this depth
leaves the range of numbers within a few epochs, because its gradients grow from layer to layer on the way back. Adam
divides by the size of the gradients, so what it cannot mend is not their size alone.
"""

from __future__ import annotations

from dataclasses import replace

from nonsingular.data import DataSpec
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.networks import ResidualSpec, plainnet, resnet
from nonsingular.training import Member, TrainingSpec

SIZES = Scales(
    runs=(2, 3, 5, 5),
    epochs=(2, 40, 10, 200),
    layers=(29, 164, 164, 164),
    width=(4, 8, 8, 16),
    looks=(*((0, 1, LAST),) * 3, (0, 1, 10, 50, LAST)),
)
"""Of tables 1 to 3 and figures 5 to 8; ``looks`` are the epochs at which representations and weights are measured."""
PIXELS = {"smoke": 8, "laptop": 8, "overnight": 8, "paper": None}
"""A side of the images."""
CARDINALITY = {"smoke": 2, "laptop": 4, "overnight": 4, "paper": 8}
"""Of ResNeXt, whose groups together have twice the inner channels of the ResNet beside it (8 x 4d at a width of 16).

So ImageNet's 32 x 4d is to a width of 64 (Xie et al. 2017, table 1), which keeps parameters near the ResNet's: 2.0
million here. Their 8 x 64d for CIFAR has eight times the inner channels, and with 164 layers 210 million parameters.
"""


DIFFERS = (
    "The text names networks and data sets, no blocks and no protocol. At paper scale ResNet-164 is that of He et al. "
    "2016b (pre-activation, bottlenecks, projections where sizes change, batch normalisation, He starts; momentum, a "
    "tenth of the learning rate in the first epoch). ResNeXt-164 is post-activation with projections (Xie et al. 2017) "
    "and 8 x 4d, which keeps its parameters near the ResNet's; with their 8 x 64d it would have 210 million.",
    "At paper scale a projection is part of a skip: ResNet-164 has 1.70 million parameters, PlainNet-164 1.66.",
    "Below paper scale networks are thin and post-activation, their skips have no parameters, and images have 8 x 8 "
    "pixels; smoke has 29 layers.",
    "Whether a network trains is said on a scale of our own: half of the way from chance to no error.",
    "Below paper scale networks train with Adam; with momentum PlainNet-164 diverges within a few epochs.",
)


def study(name: str, size: Size) -> Spec:
    """The study behind tables 1 to 3 and figures 5 to 8: equal but for the data, so that it need be trained once.

    Args:
        name: the data set that the paper has here; ``smoke`` trains on the bundled digits.
        size: of ``SIZES``.
    """
    data = images(size, name)
    return size.spec(
        data=data,
        networks=networks(size),
        training=training(data, size.scale, size.epochs),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy"))
        | dict.fromkeys(("representations", "weight_quantiles"), size.looks),
    )


def networks(size: Size) -> tuple[Member, ...]:
    """PlainNet, ResNet and ResNeXt of one depth: the first two differ in their skips alone."""
    layers, width, groups = size.layers, size.width, CARDINALITY[size.scale]
    xie = ResidualSpec(layers, "bottleneck", width, cardinality=groups, group_width=2 * width // groups)
    he: dict[str, object] = {"block": "bottleneck", "width": width}
    if size.scale == "paper":
        xie = replace(xie, shortcut="projected")
        he |= {"order": "pre", "shortcut": "projected"}
    return (Member("plainnet", plainnet(layers, **he)), Member("resnet", resnet(layers, **he)), Member("resnext", xie))


def images(size: Size, name: str = "cifar10") -> DataSpec:
    """Images of one mean and deviation a channel; small ones below the paper's scale, and few of them on a laptop.

    What is asked first is whether a network fits its training set at all. That is a question that few images answer.
    """
    name, scale = size.dataset(name), size.scale
    train, test = {"smoke": (200, 100), "laptop": (500, 500), "overnight": (None, None), "paper": (None, None)}[scale]
    if name == "digits":
        train, test = (200, 100) if scale == "smoke" else (None, None)
    return DataSpec(name, train, test, scaling="channels", layout="image", size=PIXELS[scale])


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
