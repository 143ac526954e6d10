"""Data, training and effects that the trained items of blumenfeld2020 share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, difference
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.fit import require_trained
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.training import TrainingSpec

MILESTONES = (60, 120, 160)
DATA = {"smoke": "digits", "laptop": "cifar10", "overnight": "cifar10", "paper": "cifar10"}
MIRRORLESS = ("digits", "mnist", "svhn")
"""Data sets of digits, whose mirror images are no digits."""

IMAGES = {
    "smoke": (200, 100, None),
    "laptop": (1_000, 1_000, 8),
    "overnight": (None, None, 16),
    "paper": (None, None, None),
}


def images(name: str | None, scale: str) -> DataSpec:
    """CIFAR-10; overnight reduced to 16 x 16 pixels, on a laptop few and of 8 x 8: breaking a symmetry takes epochs."""
    train, test, size = IMAGES[scale]
    name = name or DATA[scale]
    if name == "digits" and scale != "smoke":
        train, test, size = None, None, None
    return DataSpec(name, train, test, scaling="channels", layout="image", size=size)


def training(scale: str, epochs: int, data: str | None = None) -> TrainingSpec:
    """SGD with momentum 0.9 and weight decay 0.0005, learning rate 0.03 times 0.2 at epochs 60, 120 and 160.

    What the text does not say is Wide-ResNets' default, as appendix A has it: crops of images padded by reflections.
    """
    batch = {"smoke": 50, "laptop": 25, "overnight": 128, "paper": 128}[scale]
    augments = scale == "paper" and (data or DATA[scale]) not in MIRRORLESS
    return TrainingSpec(
        epochs,
        batch=batch,
        learning_rate=0.03,
        optimiser="sgd",
        momentum=0.9,
        weight_decay=5e-4,
        milestones=MILESTONES,
        decay=0.2,
        augment="reflected-crop+mirror" if augments else "none",
    )


def side_by_side(parts: Mapping[str, Spec], workspace: Workspace) -> xr.Dataset:
    """One study a part, each in a folder of its own; a network is named by its part and its own name."""
    studies = []
    for part, spec in parts.items():
        folder = workspace.folder / "studies" / part
        folder.mkdir(parents=True, exist_ok=True)
        found = run_study(spec, replace(workspace, folder=folder))
        studies.append(found.assign_coords(network=[f"{part}, {name}" for name in found.network.values]))
    return xr.concat(studies, "network", combine_attrs="drop_conflicts")


def accuracy(results: xr.Dataset, network: str) -> xr.DataArray:
    """Test accuracy of each run after the last epoch, in percent."""
    return 100 * per_run(results, "test_accuracy", network).isel(epoch=-1)


POSSIBLE = (-100.0, 100.0)
"""Of a difference of two percentages."""


def better(results: xr.Dataset, first: str, second: str) -> Effect:
    """Difference of test accuracies after the last epoch, in percentage points.

    Raises:
        NotMeasured: every run of both networks ended at one and the same accuracy, as networks do that are stuck.
    """
    a, b = accuracy(results, first), accuracy(results, second)
    found = np.concatenate([a, b])
    found = found[np.isfinite(found)]
    if found.size > 2 and np.ptp(found) == 0:
        raise NotMeasured(f"all runs of {first} and {second} are stuck at {found[0]:.1f} %")
    return difference(a, b, note=_means(results, first, second), within=POSSIBLE)


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


def when_trained(effect: Measure, *networks: str) -> Measure:
    """An effect of trained networks: not measured where none of ``networks``, which should train, came half of the way.

    Without it networks that had no time to train look like networks that cannot. Of ``networks`` those that are among
    the results count.
    """

    def guarded(results: xr.Dataset) -> Effect:
        require_trained(results, *([n for n in networks if n in results.network] or networks))
        return effect(results)

    return guarded


def claim(
    item: str,
    name: str,
    source: str,
    statement: str,
    effect: Measure,
    region: Region,
    unit: str = "",
    ours: bool = False,
) -> Claim:
    """A claim of an item of this paper, or a question of ours about it."""
    id = f"blumenfeld2020/{item}/{name}"
    return Claim(id, f"blumenfeld2020 {source}", statement, effect, region, unit, ours=ours)


POINTS = "percentage points"
PAPER = (
    "Arithmetic on a CPU repeats itself, so what non-deterministic GPU kernels do is stood in for there by weight "
    "gradients added up in random order (on a GPU it is the GPU's own); the deterministic runs use sums that do not "
    "depend on the order at all.",
    "As the text's equations have it, no rectifier stands before the pooling (appendix D) and the skips of widening "
    "layers take the features as they are (section 3.1). The authors' code rectifies before the pooling, and its "
    "widening skips take the normalised and rectified features.",
)
