"""Figure 9: paths of SGD over the plane of their first two principal components, with and without weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.data import Task, prepare
from nonsingular.experiments.claims import POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.chunk import Row
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import VGGSpec
from nonsingular.papers.li2018.surfaces import STORED, of, on_images
from nonsingular.papers.li2018.trained import INSTRUMENTS, Trained, images, train, training
from nonsingular.plots import landscape as plots
from nonsingular.plots import landscape_interactive as interactive
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (2, 4, 9, 60, VGGSpec(9, width=4, batch_norm=True), (50, 150)),
    "laptop": (10, 16, 21, 256, VGGSpec(9, width=16, batch_norm=True), (100, 1000)),
    "overnight": (3, 30, 31, 1000, VGGSpec(9, width=16, batch_norm=True), (128, 8192)),
    "paper": (5, 300, 51, None, VGGSpec(9, batch_norm=True), (128, 8192)),
}
"""Scale -> runs, epochs, grid points along an axis, images of the surface, network, small and large batch."""
DECAYS = (0.0, 5e-4)
LATE = 0.5
"""The last half of the path is late."""


def random_walk(points: int) -> float:
    """Share of variance that the first two principal components hold of a random walk in many dimensions.

    The centred Gram matrix of its positions is the pseudo-inverse of a path graph's Laplacian, whose eigenvalues are
    4 sin^2(pi k / 2 n) (Antognini and Sohl-Dickstein 2018): 76 % of a long walk.

    Args:
        points: positions of the walk, 3 at least.
    """
    variances = 1 / np.sin(np.pi * np.arange(1, points) / (2 * points)) ** 2
    return float(variances[:2].sum() / variances.sum())


RANDOM = 2 / np.pi
"""Mean absolute cosine of a step of random direction in the plane and the gradient."""


def specs(scale: str, data: str | None = None) -> Spec:
    """VGG-9 with a small and a large batch, without and with weight decay."""
    runs, epochs, grid, count, network, batches = at_scale(SIZES, scale)
    protocols = {
        f"{size}-batch" + ("-decay" if decay else ""): {"batch": batch, "weight_decay": decay, "learning_rate": 0.1}
        for size, batch in zip(("small", "large"), batches, strict=True)
        for decay in DECAYS
    }
    dataset = images(data, scale)
    return Spec(
        "li2018/fig9", scale, runs=runs, data=dataset,
        networks=tuple(Member(name, network) for name in protocols), training=training(scale, epochs, dataset.name),
        instruments=INSTRUMENTS, settings={"grid": grid, "images": count, "training": protocols},
    )  # fmt: skip


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train, find the plane of each path, and evaluate the loss over it."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    found = train(spec, workspace, task, every_epoch=True)
    workspace.progress.start(f"{spec.experiment}: planes", len(found) * spec.settings["grid"] ** 2, "points")
    parts = [[_measured(spec, workspace, task, Row(n, r), found[Row(n, r)]) for r in range(spec.runs)]
             for n in range(len(spec.networks))]  # fmt: skip
    results = xr.combine_nested(parts, ["network", "run"], combine_attrs="drop_conflicts")
    return (
        results.transpose("network", "run", ...)
        .assign_coords(network=[m.name for m in spec.networks], run=np.arange(spec.runs) + spec.seed)
        .assign_attrs(data=spec.data.name, scaling=spec.data.scaling, scale=spec.scale)
    )


def _measured(spec: Spec, workspace: Workspace, task: Task, row: Row, trained: Trained) -> xr.Dataset:
    name = spec.networks[row.network].name
    plane = landscape.trajectory(
        trained.network, F.cross_entropy, on_images(spec, task), trained.states, grid=spec.settings["grid"],
        keep=workspace.folder / "checkpoints" / f"{name}-{row.run}-plane.npz", on_points=workspace.progress.advance,
    )  # fmt: skip
    decay = spec.of_member(row.network).training.weight_decay  # type: ignore[union-attr]
    angles = crossing(plane)
    late = slice(int(LATE * len(angles)), None)
    return xr.Dataset(
        {
            # Each plane has axes of its own: they are variables here, the dimensions are numbers of grid points.
            "loss": (("row", "column"), plane.loss.values),
            "x": ("column", plane.x.values),
            "y": ("row", plane.y.values),
            "path_x": ("epoch", plane.path_x.values),
            "path_y": ("epoch", plane.path_y.values),
            "explained": ("direction", plane.explained.values),
            "crossing": ("step", angles),
            "late_crossing": float(np.nanmean(angles[late])) if np.isfinite(angles[late]).any() else np.nan,
            "in_plane": float(plane.explained.sum()),
            "weight_decay": decay,
            "interpolation_error": plane.attrs["interpolation_error"],
            **{variable: ("epoch", values) for variable, values in trained.measured.items()},
        },
        coords={"epoch": np.arange(len(trained.states))},
        attrs={k: plane.attrs[k] for k in ("samples", "total_samples", "how")},
    )


def crossing(plane: xr.Dataset) -> np.ndarray:
    """How steeply each step of a path crosses the isocurves of the loss: 1 across them, 0 along them.

    The absolute cosine between the step and the gradient of the logarithm of the loss in the plane, at the step's
    middle. NaN for a step that does not move in the plane.

    Args:
        plane: from ``landscape.trajectory``.
    """
    logs = np.log(plane.loss.transpose("y", "x"))
    path = np.stack([plane.path_x.values, plane.path_y.values], axis=1)
    step, middle = np.diff(path, axis=0), (path[:-1] + path[1:]) / 2
    at = {k: xr.DataArray(middle[:, i], dims="step") for i, k in enumerate(("x", "y"))}
    slope = np.stack([logs.differentiate(k).interp(**at).values for k in ("x", "y")], axis=1)
    lengths = np.linalg.norm(step, axis=1) * np.linalg.norm(slope, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, np.abs((step * slope).sum(1)) / lengths, np.nan)


def planes(results: xr.Dataset) -> tuple[list[xr.Dataset], list[str]]:
    """The first run's planes, as ``landscape.trajectory`` gives them."""
    found = []
    for name in results.network.values:
        one = results.sel(network=name).isel(run=0)
        plane = xr.Dataset({"loss": (("y", "x"), one.loss.values)}, {"x": one.x.values, "y": one.y.values})
        plane = plane.assign({k: ("checkpoint", one[k].values) for k in ("path_x", "path_y")})
        found.append(plane.assign(explained=("direction", one.explained.values)).assign_attrs(results.attrs))
    return found, [str(n).replace("-", " ").replace("decay", "weight decay") for n in results.network.values]


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Paths over their planes, how steeply they cross isocurves, and how much of them the planes hold."""
    title = plots.caption("VGG-9: paths of SGD in their own planes", results)
    return {
        "paths": plots.trajectories(*planes(results), title, columns=2),
        "crossing": plots.crossing(results, title),
    }


def live(results: xr.Dataset) -> Mapping[str, Any]:
    """The planes to turn with the mouse, with the paths on them."""
    return {name: interactive.surface(plane, name) for plane, name in zip(*planes(results), strict=True)}


def _beyond_a_walk(results: xr.Dataset, name: str) -> Effect:
    share, walk = 100 * of(results, "in_plane", name), 100 * random_walk(results.sizes["epoch"])
    note = f"path {float(share.mean()):.1f} %, random walk of {results.sizes['epoch']} points {walk:.1f} %"
    return mean(share - walk, within=(-walk, 100 - walk), note=note)


def _late(results: xr.Dataset, first: str, second: str) -> Effect:
    return difference(of(results, "late_crossing", first), of(results, "late_crossing", second), within=(-1, 1))


CLAIMS = (
    *(
        Claim(
            f"li2018/fig9/two-directions-{name}",
            "li2018 section 7.2",
            "Paths lie in few dimensions: two directions hold more of their variance than of a random walk with as "
            f"many points ({name.replace('-', ' ')}; path minus walk).",
            lambda r, name=name: _beyond_a_walk(r, name),  # type: ignore[misc]
            POSITIVE,
            "percentage points",
            expected="40 to 90 % in two directions",
        )
        for name in ("small-batch", "small-batch-decay", "large-batch", "large-batch-decay")
    ),
    *(
        Claim(
            f"li2018/fig9/decay-crosses-isocurves-{size}",
            "li2018 slides on the optimizer, figure 9",
            "With weight decay the path crosses the isocurves late in training more than without "
            f"({size} batch; mean absolute cosine between step and gradient in the last half: with minus without).",
            lambda r, size=size: _late(r, f"{size}-batch-decay", f"{size}-batch"),  # type: ignore[misc]
            Region(low=0.0),
            "cosine",
        )
        for size in ("small", "large")
    ),
    *(
        Claim(
            f"li2018/fig9/along-isocurves-{size}",
            "li2018 slides on the optimizer, figure 9",
            "Without weight decay the path runs along the isocurves late in training, more than a step of random "
            f"direction ({size} batch; mean absolute cosine between step and gradient in the last half).",
            lambda r, size=size: mean(of(r, "late_crossing", f"{size}-batch"), within=(0, 1)),  # type: ignore[misc]
            Region(high=RANDOM),
            "cosine",
            ours=True,
        )
        for size in ("small", "large")
    ),
)

DIFFERS = (
    "The paper says that 40 to 90 % of the variance lies in two directions. A random walk has 76 % there: paths "
    "are held against a walk of as many points.",
    "The slides say that without weight decay paths often run in parallel with isocurves; what counts as that, a mean "
    "absolute cosine below the 0.64 of random directions, is ours.",
    "Components are those of all parameters, normalisation's included; running statistics stay those of the end.",
)

EXPERIMENTS = (
    Experiment(
        "li2018/fig9", "Optimiser paths on the first two PCA directions", specs, run, draw, CLAIMS, live,
        differs=DIFFERS,
        labels=STORED | {
            "path_x": "path along the first component", "path_y": "path along the second component",
            "explained": "share of the variance", "in_plane": "share of the variance in the plane",
            "crossing": "cosine of step and gradient, in magnitude",
            "late_crossing": "cosine of step and gradient late in training, in magnitude",
            "interpolation_error": "error of interpolated points / range of the loss",
        },
    ),
)  # fmt: skip
