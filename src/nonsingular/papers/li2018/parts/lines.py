"""What figure 2 measures: the loss on the lines between trained networks, and how sharp their ends are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.run.trained import Trained, run_trained
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.papers.li2018.parts import surfaces
from nonsingular.papers.li2018.parts.comparisons import of_trained

PAIRS = {
    "without weight decay": ("small-batch", "large-batch"),
    "with weight decay": ("small-batch-decay", "large-batch-decay"),
}
"""The two lines, and the networks at 0 and at 1."""
SPAN = (-0.5, 1.5)
NEAR = 0.25
"""Sharpness is measured within this share of the distance."""
SHARPNESS = of_trained("sharpness", "mean rise of the loss within a quarter of the way to the other end", "nats")
LABELS = {
    "sharpness": "mean rise of the loss within a\nquarter of the way to the other end (nats)",
    "weight_norm": "norm of the weights but biases\nand normalisation",
    "test_error": "test error (%)",
}


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
    way = landscape.between(first.network, second.network)
    line = surfaces.evaluated(landscape.line, first, way, span=SPAN)(keep=folder / "line.npz", on_points=on_points)
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
        attrs=surfaces.how(line),
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
