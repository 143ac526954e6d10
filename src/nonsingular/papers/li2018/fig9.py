"""Figure 9: paths of SGD over the plane of their first two principal components, with and without weight decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.claims import Effect, mean
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.quantities import Quantity
from nonsingular.experiments.run.trained import Trained, run_trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, average, claim, more
from nonsingular.papers.li2018 import drawings, surfaces, vgg9
from nonsingular.papers.li2018.comparing import of_trained

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
    plane = landscape.trajectory(
        trained.network, F.cross_entropy, surfaces.on_images(trained), trained.states,
        grid=trained.spec.settings["grid"], keep=folder / "plane.npz", on_points=on_points,
    )  # fmt: skip
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
        attrs={k: plane.attrs[k] for k in ("samples", "total_samples", "how")},
    )


def beyond_a_walk(network: str) -> Measure:
    """How much more of a path's variance two directions hold than of a random walk's."""

    def effect(results: xr.Dataset) -> Effect:
        (share,), walk = of_trained(results, "in_plane", network), 100 * landscape.random_walk(results.sizes["epoch"])
        share = 100 * share
        note = f"path {float(np.nanmean(share)):.1f} %, random walk of {results.sizes['epoch']} points {walk:.1f} %"
        return mean(share - walk, within=(-walk, 100 - walk), note=note)

    words = f"{network.replace('-', ' ')}: their share minus that of a random walk with as many points"
    return Measure(effect, words, "percentage points", (network,))


LATE_CROSSING = Quantity(
    lambda results, network: xr.DataArray(of_trained(results, "late_crossing", network)[0], dims="run"),
    "mean absolute cosine between step and gradient in the last half", "cosine", (0, 1),
)  # fmt: skip
"""How steeply a path crosses isocurves late in training."""

FIGURE = Figure(
    "li2018/fig9",
    "Optimiser paths on the first two PCA directions",
    source="li2018 slides, the effect of the optimizer; figure 9",
    sizes=Scales(
        runs=(2, 10, 5, 5), epochs=(4, 16, 60, 300), network=vgg9.NETWORKS, batches=vgg9.BATCHES,
        grid=(9, 21, 31, 51), images=(60, 256, 1000, None), pixels=(None, 16, 16, None),
    ),
    study=vgg9.study,
    run=run,
    draw={"paths": drawings.paths, "crossing": drawings.crossing},
    interactive=drawings.each_path,
    claims=(
        *(
            claim(
                f"two-directions-{name}", "Paths lie in few dimensions: two directions hold much of their variance",
                beyond_a_walk(name) > 0, source="li2018 section 7.2", expected="40 to 90 % in two directions",
            )
            for name in vgg9.PROTOCOLS
        ),
        *(
            claim(
                f"decay-crosses-isocurves-{size}",
                "With weight decay the path crosses the isocurves late in training more than without",
                more(LATE_CROSSING, f"{size}-batch-decay", f"{size}-batch") > 0,
            )
            for size in ("small", "large")
        ),
        *(
            claim(
                f"along-isocurves-{size}",
                "Without weight decay the path runs along the isocurves late in training, more than a step of random "
                "direction",
                average(LATE_CROSSING, f"{size}-batch") < landscape.RANDOM,
                ours=True,
            )
            for size in ("small", "large")
        ),
    ),
    differs=(
        "The paper says that 40 to 90 % of the variance lies in two directions. A random walk has 76 % there: paths "
        "are held against a walk of as many points.",
        "The slides say that without weight decay paths often run in parallel with isocurves; what counts as that, a "
        "mean absolute cosine below the 0.64 of random directions, is ours.",
        "Directions are the first two principal components of all checkpoints minus the last, each of length one: this "
        "is how the normalised PCA directions of the slides are read. They are of all parameters, normalisation's "
        "included; the authors' code leaves those out. Running statistics stay those of the end.",
        "Only paths of networks that have trained are compared: whose training accuracy has come half of the way from "
        "guessing to no error.",
        "Both batch sizes train at rate 0.1, as in the names of the authors' files.",
        "At overnight scale images are 16 x 16 pixels, VGG-9 has 16 channels in its first stage and trains 60 epochs.",
    ),
    labels=surfaces.STORED | LABELS,
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
