"""Figure 7: where the loss is convex in all of weight space, not only in the plane that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.claims import Effect, NotMeasured, mean
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.trained import Trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim
from nonsingular.landscape.roughness import second_differences
from nonsingular.networks import DenseSpec
from nonsingular.papers.li2018 import drawings, surfaces
from nonsingular.papers.li2018.comparing import of_trained, over_trained, without_skips
from nonsingular.training import Member

NEAR = 0.01
"""Negative eigenvalues below this share of the positive ones are extremely small (section 6)."""
FEW = 25
"""Products for which linearising the gradient anew at every point takes longer than it saves."""
PIECE = 256
"""Most images that go through a network at once."""
LABELS = {
    "near_convex": "points with negligible negative eigenvalues (%)",
    "bends": "ratio of extreme eigenvalues where the surface looks non-convex, less that elsewhere",
    "hessian_smallest": "smallest eigenvalue of the Hessian (nats)",
    "hessian_largest": "largest eigenvalue of the Hessian (nats)",
    "hessian_residual": "bound on their distance from eigenvalues (nats)",
    "hessian_ratio": "smallest / largest eigenvalue, in magnitude",
    "curvature_x": "along the first direction",
    "curvature_y": "along the second direction",
}


def study(size: Size) -> Spec:
    """A ResNet with and without skips, and a DenseNet."""
    dense = Member(f"densenet-{size.dense.layers}", size.dense)
    return surfaces.study(
        size, *surfaces.pair(size.layers, size.width), dense, map=size.map, products=size.products
    )  # fmt: skip


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train every network, evaluate its surface, and the Hessian's extreme eigenvalues over it."""
    return surfaces.run_around(spec, workspace, measured, spec.settings["grid"] ** 2 + spec.settings["map"] ** 2)


def measured(networks: Sequence[Trained], folder: Path, on_points: Callable[[int], None]) -> xr.Dataset:
    """One network's surface, and the map of eigenvalues at every second of its points."""
    (trained,) = networks
    surface = surfaces.measured(networks, folder, on_points)
    settings = trained.spec.settings
    found = landscape.convexity(
        trained.network, F.cross_entropy, pieces(surfaces.on_images(trained)), *surfaces.directions(trained),
        grid=settings["map"], steps=settings["products"], linearise=settings["products"] > FEW,
        keep=folder / "map.npz", on_points=on_points,
    )  # fmt: skip
    found = found.rename({"x": "curvature_x", "y": "curvature_y"} | {name: f"hessian_{name}" for name in found})
    found = surface.assign(found.variables)
    return found.assign(near_convex=near_convex(found), bends=bends(found))


def pieces(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One batch in pieces of a size that divides it, so that their mean is that of all."""
    ((inputs, labels),) = batches
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


def _bends(results: xr.Dataset, names: list[str]) -> Effect:
    found = np.mean(of_trained(results, "bends", *names), axis=0)  # networks of one run share its seed
    if not np.isfinite(found).any():
        raise NotMeasured("every surface looks convex at all points of its map, or at none")
    return mean(found)


def _dense(results: xr.Dataset, names: list[str]) -> Effect:
    dense = [n for n in map(str, results.network.values) if n.startswith("densenet")]
    if not dense:
        raise NotMeasured("no DenseNet is among the results")
    return mean(*of_trained(results, "near_convex", dense[0]), note=dense[0], within=(0, 100))


FIGURE = Figure(
    "li2018/fig7",
    "Extreme eigenvalues of the Hessian over the loss surface",
    source="li2018 figure 7, section 6 (published paper)",
    sizes=Scales(
        runs=(2, 3, 3, 5), epochs=(2, 30, 15, 300), layers=(8, 20, 20, 56), width=(4, 8, 8, 16),
        dense=(DenseSpec(10, growth=2, width=4), *(DenseSpec(22, growth=6, width=8),) * 2, DenseSpec(100)),
        grid=(5, 13, 25, 51), map=(3, 7, 13, 26), products=(6, 20, 20, 40),
        images=(40, 64, 256, None), pixels=(None, 16, 16, None),
    ),
    study=study,
    run=run,
    draw={"contours": drawings.contours_of_first, "convexity": drawings.convexity, "share": drawings.shares},
    claims=(
        claim(
            "looks-tell",
            "Where a surface looks convex, the Hessian's negative eigenvalues are less significant than elsewhere",
            over_trained(
                _bends, "mean |smallest / largest|, where it looks non-convex minus where it looks convex; all "
                "networks that trained",
            ) > 0,
        ),
        claim(
            "densenet-near-convex",
            "Over a large region of DenseNet's surface the negative eigenvalues stay extremely small",
            over_trained(_dense, "share of the map where they are below 1 % of the positive ones; half of it counts as "
                         "large here", "%") > 50,
        ),
        claim(
            "skips-convex", "Without skip connections less of the surface is nearly convex",
            without_skips("near_convex") < 0,
        ),
    ),
    differs=(
        *surfaces.DIFFERS,
        "The slides at hand do not have this figure; its claims are the published paper's. Its DenseNet-121 is one "
        "of 100 layers without bottlenecks here.",
        "Eigenvalues are Lanczos' after as many products as the settings say: the ratio is of numbers inside the "
        "spectrum, and the results hold a bound on their distance from eigenvalues.",
        "At overnight scale images are 16 x 16 pixels, the networks have 20 and 22 layers.",
    ),
    labels=surfaces.STORED | LABELS,
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
