"""What figure 9 measures: paths of training, the loss over their planes, and how steeply they cross its isocurves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.run.trained import Trained, run_trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.papers.li2018.parts import surfaces

LATE = 0.5
"""The last half of the path is late."""
LABELS = {
    "path_x": "path along the first component",
    "path_y": "path along the second component",
    "explained": "share of the variance",
    "in_plane": "share of the variance in the plane",
    "crossing": "cosine of step and gradient, in magnitude",
    "late_crossing": "cosine of step and gradient late in training, in magnitude",
    "interpolation_error": "error of interpolated points / range of the loss",
}


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train, find the plane of each path, and evaluate the loss over it."""
    return surfaces.marked(run_trained(spec, workspace, measured, spec.settings["grid"] ** 2))


def measured(networks: Sequence[Trained], folder: Path, on_points: Callable[[int], None]) -> xr.Dataset:
    """One path, the loss over its plane, and how steeply it crosses the isocurves."""
    (trained,) = networks
    around = surfaces.evaluated(landscape.trajectory, trained, trained.states)
    plane = around(keep=folder / "plane.npz", on_points=on_points)
    angles = landscape.crossing(plane)
    late = angles[int(LATE * len(angles)) :]
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
            "late_crossing": float(np.nanmean(late)) if np.isfinite(late).any() else np.nan,
            "in_plane": float(plane.explained.sum()),
            "interpolation_error": plane.attrs["interpolation_error"],
        },
        attrs=surfaces.how(plane),
    )
