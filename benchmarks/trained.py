"""Networks trained on CIFAR-10 for the benchmarks of spectra, kept in pytest's cache once they are trained."""

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
needs_cifar = pytest.mark.skipif("NONSINGULAR_DATA" not in os.environ, reason="needs CIFAR-10 (NONSINGULAR_DATA)")


@dataclass(frozen=True)
class Trained:
    """How a network was trained.

    Attributes:
        network: its architecture.
        epochs: on CIFAR-10 and its mirror images, Adam 0.0005, batch 500.
        scaling: of the inputs.
        pca: components of the inputs, or all pixels.
    """

    network: NetworkSpec
    epochs: int
    scaling: str
    pca: int | None = None


def network_and_batch(how: Trained, samples: int, cache: Path) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """The trained network and the first training images, which are in random order."""
    task = prepare(DataSpec("cifar10", mirror=True, scaling=how.scaling, pca=how.pca))
    model = build(how.network, task.inputs, CLASSES, seed=0)
    kept = cache / f"{how.network.skip}-{how.network.depth}-{how.network.width}-{how.scaling}-{how.pca}-{how.epochs}.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
    else:
        trainer = Trainer([model], [0], task, TrainingSpec(epochs=how.epochs))
        for _ in range(how.epochs):
            trainer.train_epoch()
        model = trainer.population.network(0)
        torch.save(model.state_dict(), kept)
    return model.eval(), (task.train_inputs[:samples].clone(), task.train_labels[:samples].clone())
