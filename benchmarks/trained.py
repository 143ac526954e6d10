"""Networks trained for the benchmarks of spectra, kept once they are trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nonsingular.data import DataSpec, prepare
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import Trainer, TrainingSpec

CLASSES = 20  # outputs, as for CIFAR-100's coarse labels in orhan2018; half of them are never the label here


@dataclass(frozen=True)
class Trained:
    """How a network was trained.

    Attributes:
        network: its architecture.
        epochs: on the data and their mirror images, Adam 0.0005, batch 500.
        scaling: of the inputs.
        pca: components of the inputs, or all pixels.
        data: whose images.
    """

    network: NetworkSpec
    epochs: int
    scaling: str
    pca: int | None = None
    data: str = "cifar10"


def network_and_batch(how: Trained, samples: int, folder: Path) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """The trained network and the first training images, which are in random order; skips without the images."""
    if how.data == "cifar10" and "NONSINGULAR_DATA" not in os.environ:
        pytest.skip("needs CIFAR-10: set NONSINGULAR_DATA")
    task = prepare(DataSpec(how.data, mirror=True, scaling=how.scaling, pca=how.pca))
    model = build(how.network, task.inputs, CLASSES, seed=0)
    network = f"{how.network.skip}-{how.network.depth}-{how.network.width}"
    kept = folder / f"{network}-{how.data}-{how.scaling}-{how.pca}-{how.epochs}.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
    else:
        trainer = Trainer([model], [0], task, TrainingSpec(epochs=how.epochs))
        for _ in range(how.epochs):
            trainer.train_epoch()
        model = trainer.population.network(0)
        torch.save(model.state_dict(), kept)
    return model.eval(), (task.train_inputs[:samples].clone(), task.train_labels[:samples].clone())
