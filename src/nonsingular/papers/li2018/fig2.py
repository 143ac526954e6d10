"""Figure 2: the loss on the line between a solution of small batches and one of large batches.

Without weight decay the solution of small batches looks wide and the other sharp; with it they change places, while
small batches go on to generalise better. What changes is the scale of the weights: small batches make more steps, and
so weight decay shrinks their weights more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.trained import Trained, run_trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim
from nonsingular.papers.li2018 import drawings, surfaces, vgg9
from nonsingular.papers.li2018.comparing import compared

PAIRS = {
    "without weight decay": ("small-batch", "large-batch"),
    "with weight decay": ("small-batch-decay", "large-batch-decay"),
}
"""The two lines, and the networks at 0 and at 1."""
SPAN = (-0.5, 1.5)
NEAR = 0.25
"""Sharpness is measured within this share of the distance."""


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train, and evaluate the loss on the lines; one that lacks an end is left out."""
    results = run_trained(spec, workspace, measured, spec.settings["grid"], PAIRS, "pair")
    if "pair" in results.coords:
        results = results.assign(
            {name: by_network(results[f"{name}_of_ends"]) for name in ("sharpness", "weight_norm")}
        ).drop_vars(["sharpness_of_ends", "weight_norm_of_ends"])
    return surfaces.marked(results)


def measured(networks: Sequence[Trained], folder: Path, on_points: Callable[[int], None]) -> xr.Dataset:
    """One line: its loss, and of both ends how sharp they are and the norm of their weights."""
    first, second = networks
    line = landscape.line(
        first.network, F.cross_entropy, surfaces.on_images(first), landscape.between(first.network, second.network),
        span=SPAN, grid=first.spec.settings["grid"], keep=folder / "line.npz", on_points=on_points,
    )  # fmt: skip
    norms = [
        float(torch.stack([p.detach().double().square().sum() for p in n.network.parameters() if p.ndim > 1]).sum())
        for n in networks
    ]
    return xr.Dataset(
        {
            "loss": line.loss,
            "sharpness_of_ends": ("end", [float(sharpness(line.loss, end)) for end in (0, 1)]),
            "weight_norm_of_ends": ("end", np.sqrt(norms)),
        },
        attrs={k: line.attrs[k] for k in ("samples", "total_samples", "how")},
    )


def sharpness(loss: xr.DataArray, end: int) -> np.ndarray:
    """Mean rise of the loss from an end of the line (0 or 1) to a quarter of the way to the other, in nats, ``[run]``.

    Outside of both ends the running variances of batch normalisation are extrapolated and may be negative.

    Args:
        loss: over ``x`` and whatever else.
        end: 0 or 1.
    """
    away = np.abs(loss.x - end)
    inside = (loss.x > -1e-9) & (loss.x < 1 + 1e-9)
    near = loss.where(inside & (away <= NEAR + 1e-9) & (away > 1e-9), drop=True)
    return np.asarray(near.mean("x", skipna=False) - loss.isel(x=int(np.argmin(away.values))))


def by_network(of_ends: xr.DataArray) -> xr.DataArray:
    """What is known of the lines' ends, by the networks there: ``pair``, ``run``, ``end`` -> ``network``, ``run``."""
    ends = {
        name: of_ends.sel(pair=pair, end=end, drop=True)
        for pair in of_ends.pair.values
        for end, name in enumerate(PAIRS[str(pair)])
    }
    return xr.concat(list(ends.values()), xr.Variable("network", list(ends)))


SHARP = compared("sharpness", "large-batch", "small-batch")
SHARP_WITH_DECAY = compared("sharpness", "large-batch-decay", "small-batch-decay")

FIGURE = Figure(
    "li2018/fig2",
    "The line between solutions of small and of large batches",
    source="li2018 figure 2, section 3 (published paper)",
    sizes=Scales(
        runs=(2, 10, 5, 5), epochs=(4, 16, 60, 300), network=vgg9.NETWORKS, batches=vgg9.BATCHES,
        grid=(9, 41, 81, 81), images=(60, 256, 1000, None), pixels=(None, 16, 16, None),
    ),
    study=vgg9.study,
    run=run,
    draw={"lines": drawings.lines, "solutions": drawings.solutions},
    claims=(
        claim(
            "large-batch-sharp",
            "Without weight decay the solution of large batches looks sharper than that of small ones", SHARP > 0,
        ),
        claim(
            "decay-turns-sides", "With weight decay it is the solution of small batches that looks sharper",
            SHARP_WITH_DECAY < 0,
        ),
        claim(
            "decay-shrinks-small-batch", "With weight decay small batches end with smaller weights",
            compared("weight_norm", "large-batch-decay", "small-batch-decay") > 0,
        ),
        *(
            claim(
                f"small-batch-generalises{end}", f"Small batches generalise better {pair}",
                compared("test_error", f"large-batch{end}", f"small-batch{end}") > 0,
            )
            for end, pair in zip(("", "-decay"), PAIRS, strict=True)
        ),
    ),
    differs=(
        "The slides at hand do not have this figure; its claims are the published paper's. How sharp an end of the "
        "line is, which the paper shows, is measured here by the mean rise of the loss within a quarter of the way "
        "toward the other end: beyond both ends running variances of batch normalisation are extrapolated, and where "
        "they are negative the loss is not drawn.",
        "Only solutions that have trained are compared: whose training accuracy has come half of the way from "
        "guessing to no error.",
        "Both batch sizes train at rate 0.1. At overnight scale images are 16 x 16 pixels, VGG-9 has 16 channels in "
        "its first stage and trains 60 epochs.",
    ),
    labels=surfaces.STORED
    | {"weight_norm": "norm of all weights", "x": "from the small batch at 0 to the large batch at 1"},
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
