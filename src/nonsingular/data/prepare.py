"""Images as a network sees them: a subset, mirrored, scaled, projected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.data.images import load
from nonsingular.data.sources import known
from nonsingular.errors import InputError
from nonsingular.words import counted

SCALINGS = ("raw", "centred", "standardised", "channels", "unit")
LAYOUTS = ("flat", "image")


@checked
@dataclass(frozen=True)
class DataSpec:
    """A data set and what is done to it before a network sees it.

    Attributes:
        name: as ``data.load`` takes it.
        train: number of training images, drawn at random once and for all runs alike; None takes all.
        test: likewise.
        mirror: add the mirror image of every training image (orhan2018 Note 2).
        scaling: ``raw`` (grey levels in [0, 1]), ``centred`` (mean image 0), ``standardised`` (each pixel mean 0,
            deviation 1), ``channels`` (each channel mean 0, deviation 1) or ``unit`` (standardised, then divided so
            that the mean squared norm of an image is 1);
            ``*FACTOR`` may follow, as in ``standardised*0.01``. All statistics come from the training images.
        pca: project on so many principal components of the scaled training images; None keeps the pixels.
        layout: ``flat``, one axis of inputs, or ``image``: channel, height and width.
        size: images are reduced to so many pixels in height and width, by the mean over areas; None keeps them.

    >>> import nonsingular as ns
    >>> task = ns.data.prepare(ns.data.DataSpec("digits", train=500, scaling="standardised", pca=16))
    >>> task.train_inputs.shape
    torch.Size([500, 16])
    """

    name: str = "digits"
    train: int | None = None
    test: int | None = None
    mirror: bool = False
    scaling: str = "unit"
    pca: int | None = None
    layout: str = "flat"
    size: int | None = None

    def __post_init__(self) -> None:
        known(self.name)
        parse_scaling(self.scaling)
        if self.layout not in LAYOUTS:
            raise InputError(f"unknown layout {self.layout!r}; there are {', '.join(LAYOUTS)}")
        if self.layout == "image" and self.pca is not None:
            raise InputError("data: principal components are no images; leave out pca or take layout flat")
        for what in ("train", "test", "pca", "size"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise InputError(f"data: {what} must be at least 1, got {value}")


@dataclass(frozen=True)
class Task:
    """What a network is trained on: inputs and labels as tensors.

    Attributes:
        train_inputs: float32, each sample one axis of numbers or an image ``[channel, height, width]``.
        train_labels: class numbers.
        test_inputs: float32.
        test_labels: class numbers.
        classes: number of classes.

    >>> import torch
    >>> import nonsingular as ns
    >>> inputs, labels = torch.randn(20, 4), torch.arange(20) % 2
    >>> task = ns.data.Task(inputs[:15], labels[:15], inputs[15:], labels[15:], classes=2)
    >>> task.inputs, task.shape
    (4, (4,))
    """

    train_inputs: Float[Tensor, "sample ..."]
    train_labels: Int64[Tensor, " sample"]
    test_inputs: Float[Tensor, "sample ..."]
    test_labels: Int64[Tensor, " sample"]
    classes: int

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.train_inputs.shape[1:])

    def to(self, device: torch.device) -> Task:
        """The same on another device."""
        return Task(
            self.train_inputs.to(device),
            self.train_labels.to(device),
            self.test_inputs.to(device),
            self.test_labels.to(device),
            self.classes,
        )


def parse_scaling(scaling: str) -> tuple[str, float]:
    """``standardised*0.01`` -> ``("standardised", 0.01)``.

    Raises:
        InputError: unknown scaling, or a factor that is not a positive number.
    """
    name, star, factor = scaling.partition("*")
    try:
        value = float(factor) if star else 1.0
    except ValueError:
        value = 0.0
    if name not in SCALINGS or not 0 < value < float("inf"):
        raise InputError(
            f"unknown input scaling {scaling!r}; there are {', '.join(SCALINGS)}, and each times a positive factor "
            "as in standardised*0.01"
        )
    return name, value


@checked
def prepare(spec: DataSpec, data_dir: str | Path | None = None) -> Task:
    """The task that ``spec`` describes.

    Args:
        spec: data set, subset, scaling, projection.
        data_dir: as in ``data.load``.

    Raises:
        InputError: as in ``data.load``; more images or components asked for than there are.

    >>> import nonsingular as ns
    >>> task = ns.data.prepare(ns.data.DataSpec("digits"))
    >>> round(float(task.train_inputs.square().sum(1).mean()), 3)  # images of unit norm, in the mean
    1.0
    """
    images = load(spec.name, data_dir)
    train, train_labels = _subset(images.train, images.train_labels, spec.train, spec.name, "training")
    test, test_labels = _subset(images.test, images.test_labels, spec.test, spec.name, "test")
    if spec.mirror:
        train = np.concatenate([train, train[..., ::-1]])
        train_labels = np.concatenate([train_labels, train_labels])
    train, test = _levels(train, spec.size), _levels(test, spec.size)
    shape = train.shape[1:] if spec.layout == "image" else (-1,)
    train_inputs, test_inputs = (x.reshape(len(x), *shape) for x in _scale(train, test, spec))
    return Task(
        torch.from_numpy(train_inputs),
        torch.from_numpy(np.array(train_labels)),
        torch.from_numpy(test_inputs),
        torch.from_numpy(np.array(test_labels)),
        classes=images.classes,
    )


def _subset(
    images: np.ndarray, labels: np.ndarray, count: int | None, name: str, split: str
) -> tuple[np.ndarray, np.ndarray]:
    if count is None:
        return images, labels
    if count > len(images):
        raise InputError(f"{name} has {counted(len(images), f'{split} image')}, {count:,} were asked for")
    rows = np.sort(np.random.default_rng(0).permutation(len(images))[:count])
    return images[rows], labels[rows]


def _levels(images: np.ndarray, size: int | None) -> Float[np.ndarray, "image channel height width"]:
    """Grey levels in [0, 1], at the size asked for."""
    levels = images.astype(np.float32) / np.float32(255)
    if size is None or images.shape[-2:] == (size, size):
        return levels
    if size > min(images.shape[-2:]):
        raise InputError(f"data: images of {images.shape[-2]} x {images.shape[-1]} pixels cannot be reduced to {size}")
    return F.adaptive_avg_pool2d(torch.from_numpy(levels), size).numpy()


def _scale(
    train: Float[np.ndarray, "image channel height width"], test: np.ndarray, spec: DataSpec
) -> tuple[np.ndarray, np.ndarray]:
    name, factor = parse_scaling(spec.scaling)
    # Statistics over images, and for ``channels`` over the pixels of a channel too.
    axes = (0, 2, 3) if name == "channels" else (0,)
    if name != "raw":
        centre = train.mean(axis=axes, dtype=np.float64, keepdims=True).astype(np.float32)
        train -= centre
        test -= centre
    if name in ("standardised", "channels", "unit"):
        spread = np.sqrt(np.mean(train**2, axis=axes, dtype=np.float64, keepdims=True))
        # A pixel that varies by less than one grey level carries no signal: do not blow it up.
        spread = np.maximum(spread, 1 / 255).astype(np.float32)
        train /= spread
        test /= spread
    train, test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    if spec.pca is not None:
        train, test = _project(train, test, spec.pca)
    if name == "unit":
        factor /= np.sqrt(np.mean(np.sum(train**2, axis=1, dtype=np.float64)))
    if factor != 1.0:
        train *= np.float32(factor)
        test *= np.float32(factor)
    return train, test


LARGEST_COVARIANCE = 4096  # pixels


def _project(train: np.ndarray, test: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import PCA

    if components > min(train.shape):
        raise InputError(f"pca: at most {min(train.shape)} components here, {components} were asked for")
    # The covariance of STL-10's 27 648 pixels would fill the memory: a randomised range finder with enough iterations
    # gives the leading components to rounding.
    exact = train.shape[1] <= LARGEST_COVARIANCE
    pca = PCA(components, svd_solver="covariance_eigh" if exact else "randomized", iterated_power=7, random_state=0)
    pca.fit(train)
    return np.ascontiguousarray(pca.transform(train)), np.ascontiguousarray(pca.transform(test))
