"""Networks trained by li2018's protocol, with their weights kept: what its surfaces are drawn around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from nonsingular.data import DataSpec, Task
from nonsingular.experiments.run.chunk import Row
from nonsingular.experiments.run.study import kept_weights, run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import build
from nonsingular.papers.orhan2018.protocol import MIRRORED
from nonsingular.training import TrainingSpec

DATA = {"smoke": "digits", "laptop": "cifar10", "overnight": "cifar10", "paper": "cifar10"}
IMAGES = {"smoke": (300, 200, None), "laptop": (2000, 2000, 16)} | dict.fromkeys(
    ("overnight", "paper"), (None, None, None)
)
"""Scale -> training images, test images, pixels a side."""
ALL_IMAGES = ("overnight", "paper")
"""Scales with the paper's batches, rate and augmentation."""
INSTRUMENTS: Mapping[str, None] = dict.fromkeys(("train_accuracy", "test_accuracy"))
MEASURED = ("train_accuracy", "train_loss", "test_accuracy", "test_loss")


def images(name: str | None, scale: str) -> DataSpec:
    """CIFAR-10 as images; fewer and of half the size on a laptop, the bundled digits for smoke."""
    name = name or DATA[scale]
    train, test, size = at_scale(IMAGES, scale)
    return DataSpec(name, train, test, scaling="channels", layout="image", size=None if name == "digits" else size)


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


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        network: in evaluation mode, on the workspace's device.
        measured: variable -> its values ``[epoch]``, the start included.
        states: its parameters and buffers at the start and after every epoch, if they were asked for.
    """

    network: nn.Module
    measured: Mapping[str, np.ndarray]
    states: tuple[dict[str, Tensor], ...] = ()


def train(spec: Spec, workspace: Workspace, task: Task, every_epoch: bool = False) -> dict[Row, Trained]:
    """Train every run of every network, or take up what an earlier call has left of them.

    Args:
        spec: with data, networks and training.
        workspace: the study is kept in a folder of it.
        task: what they are trained on.
        every_epoch: whether to keep the weights of every epoch.
    """
    inside = replace(workspace, folder=workspace.folder / "training")
    results = run_study(replace(spec, keep="epochs" if every_epoch else "end"), inside)
    found = {}
    for row, states in sorted(kept_weights(inside).items(), key=lambda item: (item[0].network, item[0].run)):
        network = build(spec.networks[row.network].network, task.shape, task.classes, spec.seed + row.run)
        network.load_state_dict(states[-1])
        series = results[list(MEASURED)].isel(network=row.network, run=row.run)
        measured = {name: series[name].values for name in MEASURED}
        found[row] = Trained(network.eval().to(workspace.device), measured, tuple(states) if every_epoch else ())
    return found
