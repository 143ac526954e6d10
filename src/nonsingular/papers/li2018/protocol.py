"""li2018's data and training at the four scales (section 5)."""

from __future__ import annotations

from nonsingular.data import DataSpec
from nonsingular.experiments.spec import at_scale
from nonsingular.papers.orhan2018.protocol import MIRRORED
from nonsingular.training import TrainingSpec

DATA = {"smoke": "digits", "laptop": "cifar10", "overnight": "cifar10", "paper": "cifar10"}
IMAGES = {"smoke": (300, 200), "laptop": (2000, 2000), "overnight": (None, None), "paper": (None, None)}
"""Scale -> training images, test images."""
ALL_IMAGES = ("overnight", "paper")
"""Scales with the paper's batches, rate and augmentation."""
INSTRUMENTS = dict.fromkeys(("train_accuracy", "test_accuracy"))


def images(name: str | None, scale: str, pixels: int | None = None) -> DataSpec:
    """CIFAR-10 as images; fewer on a laptop, the bundled digits for smoke.

    Args:
        name: another data set, if asked for.
        scale: one of ``SCALES``.
        pixels: a side, if images are made smaller.
    """
    name = name or DATA[scale]
    train, test = at_scale(IMAGES, scale)
    return DataSpec(name, train, test, scaling="channels", layout="image", size=None if name == "digits" else pixels)


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
