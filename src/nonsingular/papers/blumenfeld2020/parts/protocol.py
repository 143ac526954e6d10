"""Data, training and quantities that the trained items of blumenfeld2020 share."""

from __future__ import annotations

from functools import partial

from nonsingular.data import DataSpec
from nonsingular.experiments.drawings import Curves, Drawing
from nonsingular.experiments.quantities import END, of
from nonsingular.experiments.scales import Networks, Size
from nonsingular.experiments.spec import Spec
from nonsingular.plots import symmetry
from nonsingular.training import Breaker, TrainingSpec

MILESTONES = (60, 120, 160)
MIRRORLESS = ("digits", "mnist", "svhn")
"""Data sets of digits, whose mirror images are no digits."""

IMAGES = {
    "smoke": (200, 100, None),
    "laptop": (1_000, 1_000, 8),
    "overnight": (None, None, 16),
    "paper": (None, None, None),
}
"""Training and test images, and pixels a side: breaking a symmetry takes epochs, so that laptops see few and small."""

OVERNIGHT = (0.6, 0.8, 0.9)
"""Shares of the epochs at which the overnight scale lowers its rate: the paper's first milestone is beyond its end."""

WIDTH, WIDENING = (8, 8, 8, 16), (1, 1, 1, 10)
"""Channels of the input layer, and by how much the stages are wider, at the four scales."""


def images(size: Size) -> DataSpec:
    """CIFAR-10; overnight all of it at 16 x 16 pixels, on a laptop little of it at 8 x 8."""
    name = size.dataset("cifar10")
    train, test, pixels = IMAGES["paper" if name == "digits" and size.scale != "smoke" else size.scale]
    return DataSpec(name, train, test, scaling="channels", layout="image", size=pixels)


def few_images(size: Size) -> DataSpec:
    """Of what is measured at the start: ``samples`` images with a side of ``pixels``."""
    name = size.dataset("cifar10")
    return DataSpec(name, size.samples, test=1, scaling="channels", layout="image", size=size.pixels)


def training(size: Size) -> TrainingSpec:
    """SGD with momentum 0.9 and weight decay 0.0005, learning rate 0.03 times 0.2 at epochs 60, 120 and 160.

    What the text does not say is Wide-ResNets' default, as appendix A has it: crops of images padded by reflections.
    """
    overnight = tuple(round(share * size.epochs) for share in OVERNIGHT)
    augments = size.scale == "paper" and size.dataset("cifar10") not in MIRRORLESS
    return TrainingSpec(
        size.epochs,
        batch={"smoke": 50, "laptop": 25, "overnight": 128, "paper": 128}[size.scale],
        learning_rate=0.03,
        optimiser="sgd",
        momentum=0.9,
        weight_decay=5e-4,
        milestones=overnight if size.scale == "overnight" else MILESTONES,
        decay=0.2,
        augment="reflected-crop+mirror" if augments else "none",
    )


def study(size: Size, networks: Networks, *instruments: str, **settings: object) -> Spec:
    """Networks trained by the protocol; accuracies and weight correlations are measured after every epoch.

    Args:
        size: with ``epochs``.
        networks: as ``Size.spec`` takes them.
        *instruments: further ones.
        **settings: of the spec.
    """
    measured = ("train_accuracy", "test_accuracy", "correlations", *instruments)
    return size.spec(
        data=images(size), networks=networks, training=training(size), instruments=measured, settings=settings
    )


def drawn(title: str) -> dict[str, Drawing]:
    """Accuracies over the epochs, and a table's at the end."""
    accuracy = Curves("train_accuracy", "test_accuracy", title=title)
    return {"accuracy": accuracy, "table": partial(symmetry.accuracies, title=title)}


def quiet(scale: str) -> Breaker:
    """Arithmetic that breaks no symmetry: order-free sums, at seven times the time; overnight a CPU's own kernels.

    Those treat all channels of these networks alike, which the claims that need it check of the results.
    """
    return Breaker("library" if scale == "overnight" else "order-free")


NOISE = Breaker("hardware")

STUCK = 37.0
"""Percent of training accuracy that identical features do not reach (in the paper they end at 24.8)."""
LEFT_CHANCE = 5.0
"""Percent of the way from guessing to no error from which on a network has moved; identical features reach 16."""

ACCURACY = of("test_accuracy", epoch=END).called("test accuracy after the last epoch")
FORMS = {"correlation": "", "centred": "-centred"}
"""Variables of correlations end in these; what ids end in. Cosines as the text defines them, and centred ones."""
SIDES = ("forward", "backward")
CENTRED = (
    "Correlations are judged as the text defines them (cosines) and, under ids that end in -centred, as the authors' "
    "published code measures them: of filters less their mean."
)

DIFFERS = (
    "Arithmetic on a CPU repeats itself, so what non-deterministic GPU kernels do is stood in for there by weight "
    "gradients added up in random order (on a GPU it is the GPU's own); the deterministic runs use sums that do not "
    "depend on the order at all, overnight the CPU's own kernels, which keep features equal here too.",
    "As the text's equations have it, no rectifier stands before the pooling (appendix D) and the skips of widening "
    "layers take the features as they are (section 3.1). The authors' code rectifies before the pooling, and its "
    "widening skips take the normalised and rectified features.",
    "The text names neither runs (but for table 2's four), nor batch, nor learning rate: as many runs as the scale "
    "says, batches of 128 and a rate of 0.03 at the paper's scale, as the authors' published configuration has them. "
    "The overnight scale lowers the rate at 60, 80 and 90 % of its epochs, all of which end before the paper's first "
    "milestone.",
)
