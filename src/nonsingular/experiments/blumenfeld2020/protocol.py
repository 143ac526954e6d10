"""Data, training and effects that the trained items of blumenfeld2020 share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, difference
from nonsingular.experiments.effects import per_run
from nonsingular.training import TrainingSpec

MILESTONES = (60, 120, 160)
DATA = {"smoke": "digits", "laptop": "cifar10", "paper": "cifar10"}
IMAGES = {"smoke": (200, 100, None), "laptop": (2_000, 1_000, 8), "paper": (None, None, None)}


def images(name: str | None, scale: str) -> DataSpec:
    """CIFAR-10; below the paper's scale few images, reduced to 8 x 8 pixels."""
    train, test, size = IMAGES[scale]
    name = name or DATA[scale]
    if name == "digits" and scale != "smoke":
        train, test, size = None, None, None
    return DataSpec(name, train, test, scaling="channels", layout="image", size=size)


def training(scale: str, epochs: int) -> TrainingSpec:
    """SGD with momentum 0.9 and weight decay 0.0005, learning rate 0.03 times 0.2 at epochs 60, 120 and 160."""
    batch = {"smoke": 50, "laptop": 25, "paper": 128}[scale]
    return TrainingSpec(
        epochs,
        batch=batch,
        learning_rate=0.03,
        optimiser="sgd",
        momentum=0.9,
        weight_decay=5e-4,
        milestones=MILESTONES,
        decay=0.2,
        augment="crop+mirror" if scale == "paper" else "none",
    )


def accuracy(results: xr.Dataset, network: str) -> xr.DataArray:
    """Test accuracy of each run after the last epoch, in percent."""
    return 100 * per_run(results, "test_accuracy", network).isel(epoch=-1)


def better(results: xr.Dataset, first: str, second: str) -> Effect:
    """Difference of test accuracies after the last epoch, in percentage points."""
    return difference(accuracy(results, first), accuracy(results, second), note=_means(results, first, second))


def _means(results: xr.Dataset, *networks: str) -> str:
    return ", ".join(f"{n} {float(accuracy(results, n).mean()):.1f} %" for n in networks)


def at_end(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """A variable after the last epoch at which it was measured: dimensions ``run`` and perhaps ``layer``."""
    values = per_run(results, variable, network)
    finite = values.notnull()
    measured = np.flatnonzero(finite.any([d for d in finite.dims if d != "epoch"]))
    if not len(measured) or measured[-1] == 0:
        raise NotMeasured(f"{variable} of {network} after training")
    return values.isel(epoch=int(measured[-1])).dropna("layer", how="all")


Measure = Callable[[xr.Dataset], Effect]
"""What a claim measures in the results."""


def claim(item: str, name: str, source: str, statement: str, effect: Measure, region: Region, unit: str = "") -> Claim:
    """A claim of an item of this paper."""
    return Claim(f"blumenfeld2020/{item}/{name}", f"blumenfeld2020 {source}", statement, effect, region, unit)


POINTS = "percentage points"
PAPER = (
    "Arithmetic on a CPU repeats itself, so what non-deterministic GPU kernels do is stood in for by weight gradients "
    "added up in random order; the deterministic runs use sums that do not depend on the order at all.",
)
