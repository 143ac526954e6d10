"""li2018's data and training at the four scales (section 5)."""

from __future__ import annotations

from nonsingular.data import DataSpec
from nonsingular.experiments.scales import Networks, Size
from nonsingular.experiments.spec import Spec
from nonsingular.papers.orhan2018.parts.protocol import MIRRORED
from nonsingular.training import TrainingSpec

IMAGES = {"smoke": (300, 200), "laptop": (2000, 2000), "overnight": (None, None), "paper": (None, None)}
"""Scale -> training images, test images."""
ALL_IMAGES = ("overnight", "paper")
"""Scales with the paper's batches, rate and augmentation."""


def images(size: Size, pixels: int | None = None) -> DataSpec:
    """CIFAR-10 as images; fewer on a laptop, the bundled digits for smoke.

    Args:
        size: of the figure.
        pixels: a side, if images are made smaller.
    """
    name, (train, test) = size.dataset("cifar10"), IMAGES[size.scale]
    return DataSpec(name, train, test, scaling="channels", layout="image", size=None if name == "digits" else pixels)


def study(size: Size, networks: Networks, keep: str, **settings: object) -> Spec:
    """Networks trained by the protocol, whose weights are kept for their surfaces.

    Args:
        size: with ``runs``, ``epochs``; ``grid``, points along an axis; ``images``, over which a surface's loss is
            taken (None for all training images); and ``pixels``, a side of the images (None for their own).
        networks: as ``Size.spec`` takes them.
        keep: weights, as ``Spec`` has it.
        **settings: further ones of the spec.
    """
    data = images(size, size.pixels)
    return size.spec(
        data=data,
        networks=networks,
        training=training(size.scale, size.epochs, data.name),
        instruments=("train_accuracy", "test_accuracy"),
        settings={"grid": size.grid, "images": size.images, **settings},
        keep=keep,
    )


def training(scale: str, epochs: int, data: str) -> TrainingSpec:
    """SGD with Nesterov momentum 0.9 and weight decay 0.0005 in batches of 128 (section 5).

    The learning rate of 0.1 is divided by 10 at 1/2, 3/4 and 11/12: after 150, 225 and 275 of 300 epochs. Crops and
    mirror images are for data sets of which a mirror image is as natural as the image.

    Where images are few the rate is 0.02: with 0.1, a thin ResNet-56 does not recover from its first steps in the
    1 200 that a laptop has time for (training accuracy 30 %, with 0.02 96 %; 2 000 images of CIFAR-10).
    """
    drops = tuple(sorted({round(epochs * share) for share in (1 / 2, 3 / 4, 11 / 12)} - {0, epochs}))
    augment = "crop+mirror" if scale in ALL_IMAGES and data in MIRRORED else "none"
    batch, rate = (128, 0.1) if scale in ALL_IMAGES else (50, 0.02)
    return TrainingSpec(
        epochs, batch, rate, "sgd", 0.9, weight_decay=5e-4, milestones=drops, augment=augment, nesterov=True
    )
