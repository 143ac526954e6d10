"""Figure 7: where the loss is convex in all of weight space, not only in the plane that is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.data import Task
from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.run.chunk import Row
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.landscape.roughness import second_differences
from nonsingular.networks import DenseSpec
from nonsingular.papers.li2018 import surfaces
from nonsingular.papers.li2018.surfaces import Size
from nonsingular.papers.li2018.trained import Trained
from nonsingular.plots import landscape as plots
from nonsingular.training import Member
from nonsingular.training.store import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (Size(2, 2, 5, 40), 3, 6, 8, 4, DenseSpec(10, growth=2, width=4)),
    "laptop": (Size(3, 30, 13, 64), 7, 20, 20, 8, DenseSpec(22, growth=6, width=8)),
    "overnight": (Size(3, 15, 25, 256), 13, 20, 20, 8, DenseSpec(22, growth=6, width=8)),
    "paper": (Size(5, 300, 51, None), 26, 40, 56, 16, DenseSpec(100)),
}
"""Scale -> size, points of the map along each axis (every second of the surface's), products of the Hessian at each,
layers and channels of the ResNet, the DenseNet."""
NEAR = 0.01
"""Negative eigenvalues below this share of the positive ones are extremely small (section 6)."""
FEW = 25
"""Products for which linearising the gradient anew at every point takes longer than it saves."""
PIECE = 256
"""Most images that go through a network at once."""
MAPS = ("smallest", "largest", "residual", "ratio")


def specs(scale: str, data: str | None = None) -> Spec:
    """ResNet-56 with and without skips, and a DenseNet; fewer layers below the paper's scale, so that they train."""
    size, points, products, layers, width, dense = at_scale(SIZES, scale)
    networks = (*surfaces.pair(layers, width), Member(f"densenet-{dense.layers}", dense))
    spec = surfaces.make_spec("li2018/fig7", scale, size, networks, data)
    return replace(spec, settings={**spec.settings, "map": points, "products": products})


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train every network, evaluate its surface, and the Hessian's extreme eigenvalues over it."""
    points = spec.settings["grid"] ** 2 + spec.settings["map"] ** 2
    return surfaces.run(spec, workspace, _measured, points)


def _measured(spec: Spec, workspace: Workspace, task: Task, row: Row, trained: Trained) -> xr.Dataset:
    """One network's surface, and the map of eigenvalues at every second of its points."""
    surface = surfaces.measured(spec, workspace, task, row, trained)
    path = workspace.folder / "checkpoints" / f"{spec.networks[row.network].name}-{row.run}-map.pt"
    kept = load_checkpoint(path)
    if kept is None:
        x, y = surfaces.directions(spec, row, trained)
        found = landscape.convexity(
            trained.network, F.cross_entropy, _pieces(spec, task), x, y, grid=spec.settings["map"],
            steps=spec.settings["products"], linearise=spec.settings["products"] > FEW,
            on_points=workspace.progress.advance,
        )  # fmt: skip
        kept = {name: torch.from_numpy(found[name].values) for name in MAPS}
        save_checkpoint(path, kept)
    else:
        workspace.progress.advance(spec.settings["map"] ** 2)
    maps = {f"hessian_{name}": (("curvature_y", "curvature_x"), kept[name].numpy()) for name in MAPS}
    axis = np.linspace(-1, 1, spec.settings["map"])
    found = surface.assign(maps).assign_coords(curvature_x=axis, curvature_y=axis)
    return found.assign(near_convex=near_convex(found), bends=bends(found))


def _pieces(spec: Spec, task: Task) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The images of the surface, in pieces of a size that divides them, so that their mean is that of all."""
    inputs, labels = surfaces.on_images(spec, task)[0]
    size = max(k for k in range(1, min(PIECE, len(labels)) + 1) if len(labels) % k == 0)
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def near_convex(found: xr.Dataset) -> float:
    """Percent of the map where negative eigenvalues are extremely small; NaN if the loss is not finite somewhere."""
    ratio = found.hessian_ratio.values
    return float(100 * np.mean(ratio < NEAR)) if np.isfinite(ratio).all() else float("nan")


def bends(found: xr.Dataset) -> float:
    """Mean ratio of eigenvalues where the surface looks non-convex, minus that where it looks convex.

    A point looks convex if the surface's second differences there have no negative eigenvalue. NaN if all points of the
    map look alike.

    Args:
        found: ``loss`` over ``y`` and ``x``, and ``hessian_ratio`` at every second of its points.
    """
    loss = found.loss.transpose("y", "x").values
    smaller, _ = second_differences(loss, found.x.values, found.y.values)
    looks = smaller[1::2, 1::2] >= 0  # inner points of the map
    ratio = found.hessian_ratio.transpose("curvature_y", "curvature_x").values[1:-1, 1:-1]
    if looks.all() or not looks.any():
        return float("nan")
    return float(ratio[~looks].mean() - ratio[looks].mean())


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The first run's surfaces and maps, and how much of each map is nearly convex."""
    title = plots.caption("Extreme eigenvalues of the Hessian over the surface", results)
    first = plots.panels(results.isel(run=slice(1)))
    shares = {"near_convex": "nearly convex points (%)", "bends": "ratio where it looks non-convex\nminus where convex"}
    return {
        "contours": plots.contours(*first, title),
        "convexity": plots.ratios(*first, title),
        "share": plots.roughness(results, shares, title),
    }


def _dense(results: xr.Dataset) -> Effect:
    names = [str(n) for n in results.network.values if str(n).startswith("densenet")]
    if not names:
        raise NotMeasured("no DenseNet is among the results")
    return mean(*surfaces.of_trained(results, "near_convex", names[0]), note=names[0], within=(0, 100))


def _bends(results: xr.Dataset) -> Effect:
    names = [str(n) for n in results.network.values if surfaces.came(results, str(n)) > HALFWAY]
    lost = surfaces.left_out(results, *KINDS)
    if not names:
        raise NotMeasured(f"no network has trained; {lost}")
    found = np.concatenate(surfaces.of_trained(results, "bends", *names))
    if not np.isfinite(found).any():
        raise NotMeasured("every surface looks convex at all points of its map, or at none")
    return mean(found, note=lost)


KINDS = (*surfaces.KINDS, "densenet")
SOURCE = "li2018 figure 7, section 6 (published paper)"
CLAIMS = (
    Claim(
        "li2018/fig7/looks-tell",
        SOURCE,
        "Where a surface looks convex, the Hessian's negative eigenvalues are less significant than where it does not "
        "(mean |smallest / largest|, where it looks non-convex minus where it looks convex; trained networks).",
        _bends,
        Region(low=0.0),
    ),
    Claim(
        "li2018/fig7/densenet-near-convex",
        SOURCE,
        "Over a large region of DenseNet's surface the negative eigenvalues stay below 1 % of the positive ones (share "
        "of the map; half of it counts as large here).",
        _dense,
        Region(low=50.0),
        "%",
    ),
    Claim(
        "li2018/fig7/skips-convex",
        SOURCE,
        "Without skip connections less of the surface is nearly convex (share of the map where negative eigenvalues "
        "are below 1 % of the positive ones: without minus with).",
        lambda r: surfaces.rougher_without(r, "near_convex"),
        Region(high=0.0),
        "percentage points",
    ),
)

EXPERIMENTS = (
    Experiment(
        "li2018/fig7",
        "Extreme eigenvalues of the Hessian over the loss surface",
        specs,
        run,
        draw,
        CLAIMS,
        differs=(
            *surfaces.DIFFERS,
            "The slides at hand do not have this figure; its claims are the published paper's. Its DenseNet-121 is one "
            "of 100 layers without bottlenecks here.",
            "Eigenvalues are Lanczos' after as many products as the settings say: the ratio is of numbers inside the "
            "spectrum, and the results hold a bound on their distance from eigenvalues.",
        ),
        labels=surfaces.STORED,
    ),
)
