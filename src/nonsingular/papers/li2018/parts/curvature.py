"""What figure 7 measures: a surface, and the Hessian's extreme eigenvalues at every second of its points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.run.trained import Trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.landscape.roughness import second_differences
from nonsingular.papers.li2018.parts import surfaces

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


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train every network, evaluate its surface, and the Hessian's extreme eigenvalues over it."""
    return surfaces.run_around(spec, workspace, measured, spec.settings["grid"] ** 2 + spec.settings["map"] ** 2)


def measured(networks: Sequence[Trained], folder: Path, on_points: Callable[[int], None]) -> xr.Dataset:
    """One network's surface, and the map of eigenvalues at every second of its points."""
    (trained,) = networks
    surface = surfaces.measured(networks, folder, on_points)
    settings = trained.spec.settings
    found = landscape.convexity(
        trained.network,
        F.cross_entropy,
        pieces(surfaces.on_images(trained)),
        *surfaces.directions(trained),
        grid=settings["map"],
        steps=settings["products"],
        linearise=settings["products"] > FEW,
        keep=folder / "map.npz",
        on_points=on_points,
    )
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
