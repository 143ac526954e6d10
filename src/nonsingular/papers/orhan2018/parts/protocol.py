"""The paper's training protocol at the four scales, and the study of networks that are trained by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nonsingular.data import DataSpec
from nonsingular.experiments.needs import trained
from nonsingular.experiments.scales import Size
from nonsingular.experiments.spec import Spec
from nonsingular.networks import named
from nonsingular.training import Member, TrainingSpec

MIRRORED = ("cifar10", "cifar100", "cifar100-fine", "stl10")
"""Data sets of which a mirror image is as natural as the image."""

LAPTOP_IMAGES = 10_000
SMOKE_IMAGES = 500
SMALL = {"digits": 1_500, "stl10": 5_000}
"""Training images of the data sets that have no more than a laptop takes."""

DATA = {"smoke": "digits", "laptop": "cifar10", "overnight": "cifar10", "paper": "cifar100"}
"""The data set that the papers' networks are trained on at each scale, unless another is asked for."""

STARTED = trained(10.0)
"""A tenth of the way, less than ``fit.HALFWAY``: the paper compares also networks that are far from done."""


def images(name: str | None, scale: str, **options: object) -> DataSpec:
    """The data set at a scale: all of it from ``overnight`` on (and of the digits), below it fewer images.

    Args:
        name: as ``data.load`` takes it; None takes the scale's own.
        scale: one of ``SCALES``.
        **options: further fields of ``DataSpec``.
    """
    name = name or DATA[scale]
    count = {"smoke": SMOKE_IMAGES, "laptop": LAPTOP_IMAGES}.get(scale) if name != "digits" else None
    test = min(count, 5_000) if count else None
    if count and count > SMALL.get(name, count):
        count = None
    return DataSpec(name, train=count, test=test, mirror=name in MIRRORED, **options)  # type: ignore[arg-type]


def training(data: DataSpec, epochs: int, batch: int = 500, **options: object) -> TrainingSpec:
    """Adam with learning rate 0.0005 and batches of 500 (orhan2018 §2.3); of 100 where images are few."""
    few = data.name == "digits" or (data.train is not None and data.train < LAPTOP_IMAGES)
    return TrainingSpec(epochs=epochs, batch=min(batch, 100) if few else batch, **options)  # type: ignore[arg-type]


def networks(*names: str, depth: int, width: int = 128) -> tuple[Member, ...]:
    """The named networks (``networks.named``) at a depth and width."""
    return tuple(Member(name, named(name, depth=depth, width=width)) for name in names)


def study(
    size: Size,
    members: Iterable[Member],
    instruments: Mapping[str, tuple[int, ...] | None],
    *,
    data: DataSpec | None = None,
    batch: int = 500,
) -> Spec:
    """Networks trained by the protocol.

    Args:
        size: with ``runs`` and ``epochs``.
        members: the networks.
        instruments: what is measured, and after which epochs.
        data: the images, if not those of the scale.
        batch: images a step.
    """
    data = data or images(size.data, size.scale)
    return size.spec(data=data, networks=members, training=training(data, size.epochs, batch), instruments=instruments)
