"""What figures 1, 5 and 6 share: surfaces around trained networks, how rough these are, and claims about that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.data import Task, prepare
from nonsingular.experiments.chunk import Row
from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, difference
from nonsingular.experiments.effects import require
from nonsingular.experiments.li2018.trained import INSTRUMENTS, MEASURED, Trained, images, steps, train, training
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.workspace import Workspace
from nonsingular.networks import ResidualSpec
from nonsingular.training import Member

KINDS = {"resnet": "with", "plainnet": "without"}
"""Beginnings of networks' names, and whether they have skip connections."""
ROUGHNESS = ("nonconvex", "total_variation", "excess_variation")
LABELS = {
    "nonconvex": "non-convex points (%)",
    "total_variation": "total variation of log loss\n(per unit of direction)",
    "excess_variation": "excess variation of log loss\n(per unit of direction)",
    "sharpness": "mean rise of the loss\nwithin half a direction (nats)",
}
UNITS = {
    "nonconvex": "percentage points",
    "total_variation": "per unit of direction",
    "excess_variation": "per unit of direction",
    "sharpness": "nats",
}
DIFFERS = (
    "Roughness is measured; the paper shows pictures. Every run draws its own pair of directions with its own weights.",
    "Below paper scale networks train at rate 0.02 in batches of 50: thin deep ones do not recover from 0.1 in time.",
    "The surface's loss is taken over as many training images as the settings say, all of them at paper scale.",
)


@dataclass(frozen=True)
class Size:
    """The numbers of one scale.

    Attributes:
        runs: networks of each kind.
        epochs: of training.
        grid: points along each axis of a surface.
        images: training images that a surface's loss is taken over; None for all.
    """

    runs: int
    epochs: int
    grid: int
    images: int | None


def make_spec(id: str, scale: str, size: Size, networks: tuple[Member, ...], data: str | None) -> Spec:
    """The spec of a figure of surfaces: every point is evaluated, directions reach from -1 to 1."""
    settings = {"grid": size.grid, "images": size.images}
    return Spec(
        id, scale, runs=size.runs, data=images(data, scale), networks=networks,
        training=training(scale, size.epochs), instruments=INSTRUMENTS, settings=settings,
    )  # fmt: skip


def pair(name: str, **options: int) -> tuple[Member, Member]:
    """A residual network and what is left of it without its skips."""
    return (
        Member(f"resnet-{name}", ResidualSpec(skips=True, **options)),  # type: ignore[arg-type]
        Member(f"plainnet-{name}", ResidualSpec(skips=False, **options)),  # type: ignore[arg-type]
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train every network, evaluate its surface, measure how rough that is."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    workspace.progress.start(f"{spec.experiment}: training", steps(spec, task))
    found = {row: train(spec, workspace, task, row) for row in rows(spec)}
    points = len(found) * spec.settings["grid"] ** 2
    workspace.progress.start(f"{spec.experiment}: surfaces", points, "points")
    parts = [[_measured(spec, workspace, task, Row(n, r), found[Row(n, r)]) for r in range(spec.runs)]
             for n in range(len(spec.networks))]  # fmt: skip
    results = xr.combine_nested(parts, ["network", "run"], combine_attrs="drop_conflicts")
    return (
        results.transpose("network", "run", ...)
        .assign_coords(network=[m.name for m in spec.networks], run=np.arange(spec.runs) + spec.seed)
        .assign_attrs(data=spec.data.name, scaling=spec.data.scaling, scale=spec.scale)
    )


def rows(spec: Spec) -> Iterator[Row]:
    """Every run of every network."""
    return (Row(n, r) for n in range(len(spec.networks)) for r in range(spec.runs))


def on_images(spec: Spec, task: Task) -> list[tuple[object, object]]:
    """The training images that surfaces are taken over, as batches."""
    count = spec.settings["images"]
    return [(task.train_inputs[:count], task.train_labels[:count])]


def _measured(spec: Spec, workspace: Workspace, task: Task, row: Row, trained: Trained) -> xr.Dataset:
    """One network's surface, roughness and accuracies."""
    name = spec.networks[row.network].name
    seeds = [2 * (spec.seed + row.run), 2 * (spec.seed + row.run) + 1]
    x, y = (landscape.gaussian(trained.network, s) for s in seeds)
    surface = landscape.surface(
        trained.network, F.cross_entropy, on_images(spec, task), x, y, grid=spec.settings["grid"],
        settings=landscape.EXACT, keep=workspace.folder / "checkpoints" / f"{name}-{row.run}-surface.npz",
        on_points=workspace.progress.advance,
    )  # fmt: skip
    rough = landscape.roughness(surface)
    return xr.Dataset(
        {
            "loss": surface.loss,
            **{name: ("epoch", values) for name, values in trained.measured.items()},
            **{name: 100 * value if name == "nonconvex" else value for name, value in rough.items()},
            "test_error": 100 * (1 - trained.measured["test_accuracy"][-1]),
        },
        coords={"epoch": np.arange(len(trained.measured[MEASURED[0]]))},
        attrs={k: surface.attrs[k] for k in ("samples", "total_samples", "how")},
    )


# --- claims -------------------------------------------------------------------------------------------------


def of(results: xr.Dataset, variable: str, network: str) -> np.ndarray:
    """A measure of one network's runs, ``[run]``.

    Raises:
        NotMeasured: the results lack it.
    """
    require(results, variable)
    if network not in results.network.values:
        raise NotMeasured(f"network {network} is not among the results")
    return results[variable].sel(network=network).values


def more(results: xr.Dataset, variable: str, first: str, second: str) -> Effect:
    """Difference of two networks in a measure, first minus second."""
    return difference(of(results, variable, first), of(results, variable, second))


def rougher(figure: str, name: str, source: str, statement: str, first: str, second: str) -> tuple[Claim, ...]:
    """One claim for each measure of roughness: the first network's surface is rougher than the second's."""
    words = {
        "nonconvex": "share of points where the surface is not convex",
        "total_variation": "total variation of log loss",
        "excess_variation": "variation of log loss beyond that of a line with a single minimum",
    }
    return tuple(
        Claim(
            f"li2018/{figure}/{name}-{variable.replace('_', '-')}",
            source,
            f"{statement} ({words[variable]}: {first} minus {second}).",
            lambda r, variable=variable: more(r, variable, first, second),  # type: ignore[misc]
            Region(low=0.0),
            UNITS[variable],
        )
        for variable in ROUGHNESS
    )
