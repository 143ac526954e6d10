"""Networks trained by li2018's protocol, one at a time, with their weights kept: what its surfaces are drawn around."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from nonsingular.data import DataSpec, Task
from nonsingular.experiments.run import chunk
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import build
from nonsingular.papers.orhan2018.protocol import MIRRORED
from nonsingular.training import TrainingSpec
from nonsingular.training.store import load_checkpoint, save_checkpoint

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


def of_member(spec: Spec, member: int) -> Spec:
    """The spec with what its settings change of one member's training."""
    assert spec.training is not None
    changes = spec.settings.get("training", {}).get(spec.networks[member].name, {})
    return replace(spec, training=replace(spec.training, **changes))


def steps(spec: Spec, task: Task) -> int:
    """Training steps of all networks together."""
    found = 0
    for member in range(len(spec.networks)):
        protocol = of_member(spec, member).training
        assert protocol is not None
        found += spec.runs * protocol.epochs * (len(task.train_labels) // protocol.batch)
    return found


def train(spec: Spec, workspace: Workspace, task: Task, row: chunk.Row, every_epoch: bool = False) -> Trained:
    """Train one run of one network, or take up what an earlier call has left of it.

    Args:
        spec: with data, networks and training.
        workspace: where its checkpoint is kept.
        task: what it is trained on.
        row: which.
        every_epoch: whether to keep the weights of every epoch.
    """
    spec = of_member(spec, row.network)
    assert spec.training is not None
    member = spec.networks[row.network]
    path = workspace.folder / "checkpoints" / f"{member.name}-{row.run}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = load_checkpoint(path) or {"trainer": None, "measured": [], "states": [], "network": None}
    workspace.progress.advance(len(task.train_labels) // spec.training.batch * max(0, len(kept["measured"]) - 1))
    if kept["network"] is None:
        _continue(kept, spec, workspace, task, row, every_epoch)
        save_checkpoint(path, kept)
    network = build(member.network, task.shape, task.classes, spec.seed + row.run)
    network.load_state_dict(kept["network"])
    values = {name: np.array([m.get(name, np.nan) for m in kept["measured"]]) for name in MEASURED}
    return Trained(network.eval().to(workspace.device), values, tuple(kept["states"]))


def _continue(
    kept: dict[str, Any], spec: Spec, workspace: Workspace, task: Task, row: chunk.Row, every_epoch: bool
) -> None:
    """Train to the end; what is kept is written every few seconds."""
    assert spec.training is not None
    path = workspace.folder / "checkpoints" / f"{spec.networks[row.network].name}-{row.run}.pt"
    saved = time.monotonic()
    for trainer, measured in chunk.train(
        [row], spec, task, workspace.device, kept["trainer"], workspace.progress.advance
    ):
        kept["measured"].append({name: float(values[0]) for name, values in measured.items()})
        if every_epoch:
            kept["states"].append(trainer.population.network(0).state_dict())
        unfinished = 0 < trainer.epoch < spec.training.epochs
        if unfinished and time.monotonic() - saved > workspace.checkpoint_seconds:
            save_checkpoint(path, {**kept, "trainer": trainer.state()})
            saved = time.monotonic()
    kept["network"] = trainer.population.network(0).state_dict()
    kept["trainer"] = None
