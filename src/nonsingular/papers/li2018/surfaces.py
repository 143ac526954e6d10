"""What figures 1, 5, 6 and 7 share: surfaces around trained networks, how rough these are, and comparisons of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from nonsingular import landscape
from nonsingular.data import Task, prepare
from nonsingular.experiments.claims import Effect, NotMeasured, difference
from nonsingular.experiments.effects import require
from nonsingular.experiments.fit import HALFWAY, fitted
from nonsingular.experiments.run.chunk import Row
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.intervals import EVERYWHERE
from nonsingular.networks import ResidualSpec
from nonsingular.papers.li2018.trained import ALL_IMAGES, INSTRUMENTS, MEASURED, Trained, images, train, training
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
STORED = {
    **LABELS,
    "loss": "training loss (nats)",
    "test_error": "test error (%)",
    "layers": "layers with weights",
    "trained": "whether training came half of the way to no error",
    "x": "along the first direction",
    "y": "along the second direction",
    "near_convex": "points with negligible negative eigenvalues (%)",
    "bends": "ratio of extreme eigenvalues where the surface looks non-convex, less that elsewhere",
    "hessian_smallest": "smallest eigenvalue of the Hessian (nats)",
    "hessian_largest": "largest eigenvalue of the Hessian (nats)",
    "hessian_residual": "bound on their distance from eigenvalues (nats)",
    "hessian_ratio": "smallest / largest eigenvalue, in magnitude",
    "curvature_x": "along the first direction",
    "curvature_y": "along the second direction",
}
"""What is called how in the measured data."""
UNITS = {
    "nonconvex": "percentage points",
    "total_variation": "per unit of direction",
    "excess_variation": "per unit of direction",
    "sharpness": "nats",
}
WORDS = {
    "nonconvex": "share of points where the surface is not convex",
    "total_variation": "total variation of log loss",
    "excess_variation": "variation of log loss beyond that of a line with a single minimum",
}
BOUNDS = {"nonconvex": (-100.0, 100.0), "near_convex": (-100.0, 100.0)}
"""What differences of two networks in a measure are possible, where that is bounded."""
DEEP = 56
"""Layers from which on a plain network starts at a tenth of the learning rate where all images are used (section 5)."""
DIFFERS = (
    "Only networks that have trained are compared: whose training accuracy has come half of the way from guessing to "
    "no error. The others' surfaces are kept in the results and marked there and in the figures.",
    "Roughness is measured; the paper shows pictures. Every run draws its own pair of directions with its own weights.",
    "At smoke and laptop scale networks train at rate 0.02 in batches of 50: thin deep ones do not recover from 0.1.",
    "The paper names ResNet-56 without skips as an example of deep networks that needed the initial rate 0.01; "
    "here all plain networks of 56 layers and more have it where all images are used.",
    "Random crops and mirror images, skips with 1 x 1 convolutions where sizes change, and the 16 k channels of a "
    "Wide-ResNet's first layer are those of the authors' code; the text does not say.",
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
    settings: dict[str, object] = {"grid": size.grid, "images": size.images}
    deep = [m.name for m in networks if m.name.startswith("plainnet") and m.network.depth + 1 >= DEEP]
    if scale in ALL_IMAGES and deep:
        settings["training"] = {name: {"learning_rate": 0.01} for name in deep}
    dataset = images(data, scale)
    return Spec(
        id, scale, runs=size.runs, data=dataset, networks=networks,
        training=training(scale, size.epochs, dataset.name), instruments=INSTRUMENTS, settings=settings,
    )  # fmt: skip


def pair(layers: int, width: int, name: str = "") -> tuple[Member, Member]:
    """A residual network and what is left of it without its skips; skips are projected where sizes change.

    Args:
        layers: with weights, readout included; the networks are called after them.
        width: channels of the first layer and of the first stage.
        name: another name than ``layers``.
    """
    return (
        Member(f"resnet-{name or layers}", ResidualSpec(layers, width=width, shortcut="projected")),
        Member(f"plainnet-{name or layers}", ResidualSpec(layers, width=width, shortcut="projected", skips=False)),
    )


Measure = Callable[[Spec, Workspace, Task, Row, Trained], xr.Dataset]
"""What is measured of one run of one network."""


def run(spec: Spec, workspace: Workspace, measure: Measure | None = None, points: int | None = None) -> xr.Dataset:
    """Train every network, evaluate its surface, measure how rough that is.

    Args:
        spec: of the figure.
        workspace: where what is finished is kept.
        measure: what is measured of each run of each network; ``measured`` by default.
        points: that it evaluates, for the progress bar; those of the surface by default.
    """
    measure = measure or measured
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    found = train(spec, workspace, task)
    points = len(found) * (points or spec.settings["grid"] ** 2)
    workspace.progress.start(f"{spec.experiment}: surfaces", points, "points")
    parts = [[measure(spec, workspace, task, Row(n, r), found[Row(n, r)]) for r in range(spec.runs)]
             for n in range(len(spec.networks))]  # fmt: skip
    results = xr.combine_nested(parts, ["network", "run"], combine_attrs="drop_conflicts")
    results = (
        results.transpose("network", "run", ...)
        .assign_coords(network=[m.name for m in spec.networks], run=np.arange(spec.runs) + spec.seed)
        .assign_attrs(data=spec.data.name, scaling=spec.data.scaling, scale=spec.scale)
    )
    return marked(results.assign(layers=("network", [m.network.depth + 1 for m in spec.networks])))


def marked(results: xr.Dataset) -> xr.Dataset:
    """The results with ``trained``: 1 for every run that has come half of the way, 0 for the others."""
    ways = np.stack([fitted(results, str(name)) for name in results.network.values])
    return results.assign(trained=(("network", "run"), (ways > HALFWAY).astype(float)))


def on_images(spec: Spec, task: Task) -> list[tuple[Tensor, Tensor]]:
    """The training images that surfaces are taken over, as batches."""
    count = spec.settings["images"]
    return [(task.train_inputs[:count], task.train_labels[:count])]


def directions(spec: Spec, row: Row, trained: Trained) -> tuple[landscape.Direction, landscape.Direction]:
    """The pair of directions of a run: filter-normalised, random, its own."""
    seed = 2 * (spec.seed + row.run)
    return landscape.gaussian(trained.network, seed), landscape.gaussian(trained.network, seed + 1)


def measured(spec: Spec, workspace: Workspace, task: Task, row: Row, trained: Trained) -> xr.Dataset:
    """One network's surface, roughness and accuracies."""
    name = spec.networks[row.network].name
    x, y = directions(spec, row, trained)
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


def came(results: xr.Dataset, network: str) -> float:
    """How far a network's training came, mean over its runs, in percent of the way from guessing to no error.

    Raises:
        NotMeasured: the results lack it.
    """
    return float(fitted(results, network).mean())


def of_trained(results: xr.Dataset, variable: str, *networks: str) -> list[np.ndarray]:
    """A measure of the runs of each network that have trained, ``[run]``; NaN for a run that has not.

    Raises:
        NotMeasured: the results lack a network, or one did not train (mean over its runs): what its surface looks like
            says nothing of minima.
    """
    measured = [of(results, variable, name) for name in networks]
    untrained = [f"{n} came {came(results, n):.0f} percent of the way" for n in networks if came(results, n) <= HALFWAY]
    if untrained:
        raise NotMeasured(f"only trained networks are compared: {', '.join(untrained)} from guessing to no error")
    return [np.where(fitted(results, n) > HALFWAY, m, np.nan) for n, m in zip(networks, measured, strict=True)]


def depths(results: xr.Dataset, *kinds: str) -> list[int]:
    """Layers, ascending, of which the results have trained networks of every kind.

    Args:
        results: whose networks are called ``kind-layers``.
        kinds: of ``KINDS``.
    """
    names = [str(name) for name in results.network.values]
    layers = sorted({int(name.rsplit("-", 1)[1]) for name in names})
    wanted = {d: [f"{kind}-{d}" for kind in kinds] for d in layers}
    return [d for d, these in wanted.items() if all(n in names and came(results, n) > HALFWAY for n in these)]


def left_out(results: xr.Dataset, *kinds: str) -> str:
    """Which networks of these kinds did not train, for a note."""
    names = [str(n) for n in results.network.values if str(n).split("-")[0] in kinds]
    lost = [f"{n} ({came(results, n):.0f} % of the way)" for n in names if came(results, n) <= HALFWAY]
    return f"not trained and left out: {', '.join(lost)}" if lost else ""


def more(results: xr.Dataset, variable: str, first: str, second: str, note: str = "") -> Effect:
    """Difference of two networks that have trained in a measure, first minus second."""
    a, b = of_trained(results, variable, first, second)
    return difference(a, b, note=note, within=BOUNDS.get(variable, EVERYWHERE))


def rougher_without(results: xr.Dataset, variable: str) -> Effect:
    """No skips minus skips in a measure, at the largest depth at which both have trained."""
    found = depths(results, *KINDS)
    lost = left_out(results, *KINDS)
    if not found:
        raise NotMeasured(f"at no depth have both networks trained; {lost or 'one of them was left out'}")
    note = f"{found[-1]} layers" + (f"; {lost}" if lost else "")
    return more(results, variable, f"plainnet-{found[-1]}", f"resnet-{found[-1]}", note)


def by_depth(results: xr.Dataset, variable: str, kind: str, layers: list[int]) -> np.ndarray:
    """What a doubling of the depth adds to a measure: each run's least-squares slope, ``[run]``."""
    values = np.stack(of_trained(results, variable, *(f"{kind}-{d}" for d in layers)), axis=1)
    x = np.log2(layers)
    slopes = np.full(len(values), np.nan)
    for run, (v, finite) in enumerate(zip(values, np.isfinite(values), strict=True)):
        if finite.sum() > 1:
            slopes[run] = np.polyfit(x[finite], v[finite], 1)[0]
    return slopes


def several_depths(results: xr.Dataset, *kinds: str) -> tuple[list[int], str]:
    """At least two depths at which networks of these kinds have trained, and a note of them.

    Raises:
        NotMeasured: there are fewer.
    """
    found, lost = depths(results, *kinds), left_out(results, *kinds)
    lost = f"; {lost}" if lost else ""
    which = ", ".join(map(str, found)) or "none"
    if len(found) < 2:
        raise NotMeasured(f"trained networks of two depths are needed, there is {which}{lost}")
    return found, f"{which} layers{lost}"


def title(results: xr.Dataset) -> str:
    """The residual networks' names with the depths that they have: ``ResNet-20 and ResNet-56``."""
    layers = sorted({int(d) for d in results.layers.values})
    return " and ".join([", ".join(f"ResNet-{d}" for d in layers[:-1])] * (len(layers) > 1) + [f"ResNet-{layers[-1]}"])
