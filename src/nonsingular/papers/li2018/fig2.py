"""Figure 2: the loss on the line between a solution of small batches and one of large batches.

Without weight decay the solution of small batches looks wide and the other sharp; with it they change places, while
small batches go on to generalise better. What changes is the scale of the weights: small batches make more steps, and
so weight decay shrinks their weights more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular import landscape
from nonsingular.data import Task, prepare
from nonsingular.experiments.claims import Claim, Effect, Region, difference
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.papers.li2018 import fig9
from nonsingular.papers.li2018.surfaces import STORED, marked, of_trained, on_images
from nonsingular.papers.li2018.trained import MEASURED, Trained, train
from nonsingular.plots import landscape as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = {"without weight decay": "", "with weight decay": "-decay"}
"""The two lines, and the ends of their networks' names."""
ENDS = ("small-batch", "large-batch")
"""Networks at 0 and at 1, without the ends of their names."""
SPAN = (-0.5, 1.5)
GRID = {"smoke": 9, "laptop": 41, "overnight": 81, "paper": 81}
NEAR = 0.25
"""Sharpness is measured within this share of the distance."""


def specs(scale: str, data: str | None = None) -> Spec:
    """The networks of figure 9: VGG-9 with a small and a large batch, without and with weight decay."""
    spec = fig9.specs(scale, data)
    return replace(spec, experiment="li2018/fig2", settings={**spec.settings, "grid": GRID[scale]})


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train, and evaluate the loss on the lines; one that lacks an end is left out."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    names = [m.name for m in spec.networks]
    found = {(names[row.network], row.run): trained for row, trained in train(spec, workspace, task).items()}
    pairs = {pair: [end + decay for end in ENDS] for pair, decay in PAIRS.items()}
    pairs = {pair: ends for pair, ends in pairs.items() if set(ends) <= set(names)}
    workspace.progress.start(f"{spec.experiment}: lines", len(pairs) * spec.runs * spec.settings["grid"], "points")
    measured = [[_network(found[name, r]) for r in range(spec.runs)] for name in names]
    results = xr.combine_nested(measured, ["network", "run"]).transpose("network", "run", ...)
    if pairs:
        lines = [[_line(spec, workspace, task, ends, r, found) for r in range(spec.runs)] for ends in pairs.values()]
        line = xr.combine_nested(lines, ["pair", "run"], combine_attrs="drop_conflicts").transpose("pair", "run", "x")
        results = results.assign(loss=line.loss).assign_attrs(line.attrs).assign_coords(pair=list(pairs))
        for number, ends in enumerate(pairs.values()):
            for end, name in enumerate(ends):
                results.sharpness[names.index(name)] = sharpness(line.loss[number], end)
    results = results.assign_coords(network=names, run=np.arange(spec.runs) + spec.seed)
    return marked(results.assign_attrs(data=spec.data.name, scaling=spec.data.scaling, scale=spec.scale))


def _network(trained: Trained) -> xr.Dataset:
    weights = [p.detach().double().square().sum() for p in trained.network.parameters() if p.ndim > 1]
    return xr.Dataset(
        {
            **{name: ("epoch", values) for name, values in trained.measured.items()},
            "test_error": 100 * (1 - trained.measured["test_accuracy"][-1]),
            "weight_norm": float(torch.stack(weights).sum().sqrt()),
            "sharpness": np.nan,
        },
        {"epoch": np.arange(len(trained.measured[MEASURED[0]]))},
    )


def _line(
    spec: Spec, workspace: Workspace, task: Task, ends: list[str], run: int, found: Mapping[tuple[str, int], Trained]
) -> xr.Dataset:
    first, second = (found[name, run].network for name in ends)
    path = workspace.folder / "checkpoints" / f"{ends[0]}-{run}-line.npz"
    line = landscape.line(
        first, F.cross_entropy, on_images(spec, task), landscape.between(first, second), span=SPAN,
        grid=spec.settings["grid"], keep=path, on_points=workspace.progress.advance,
    )  # fmt: skip
    kept = {k: line.attrs[k] for k in ("samples", "total_samples", "how") if k in line.attrs}
    return xr.Dataset({"loss": line.loss}, attrs=kept)


def sharpness(loss: xr.DataArray, end: int) -> np.ndarray:
    """Mean rise of the loss from an end of the line (0 or 1) to a quarter of the way to the other, in nats, ``[run]``.

    Outside of both ends the running variances of batch normalisation are extrapolated and may be negative.

    Args:
        loss: over ``run`` and ``x``.
        end: 0 or 1.
    """
    away = np.abs(loss.x - end)
    inside = (loss.x > -1e-9) & (loss.x < 1 + 1e-9)
    near = loss.where(inside & (away <= NEAR + 1e-9) & (away > 1e-9), drop=True)
    return np.asarray(near.mean("x", skipna=False) - loss.isel(x=int(np.argmin(away.values))))


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The lines of all runs, and sharpness, norms and test errors of the solutions."""
    title = plots.caption("VGG-9 between small batches (0) and large batches (1)", results)
    labels = {"sharpness": "rise of the loss within a\nquarter of the way (nats)", "weight_norm": "norm of the weights",
              "test_error": "test error (%)"}  # fmt: skip
    figures = {"solutions": plots.roughness(results, labels, title)}
    return {"lines": plots.lines(results, title), **figures} if "loss" in results else figures


def _larger(variable: str, decay: str) -> object:
    """Large batches minus small ones in a measure."""

    def effect(results: xr.Dataset) -> Effect:
        small, large = of_trained(results, variable, *(end + decay for end in ENDS))
        bounds = (-100, 100) if variable == "test_error" else (-np.inf, np.inf)
        return difference(large, small, within=bounds)

    return effect


SOURCE = "li2018 figure 2, section 3 (published paper)"
RISE = "mean rise of the loss within a quarter of the way: large batches minus small ones"
CLAIMS = (
    Claim("li2018/fig2/large-batch-sharp", SOURCE,
          f"Without weight decay the solution of large batches looks sharper than that of small ones ({RISE}).",
          _larger("sharpness", ""), Region(low=0.0), "nats"),  # type: ignore[arg-type]
    Claim("li2018/fig2/decay-turns-sides", SOURCE,
          f"With weight decay it is the solution of small batches that looks sharper ({RISE}).",
          _larger("sharpness", "-decay"), Region(high=0.0), "nats"),  # type: ignore[arg-type]
    Claim("li2018/fig2/decay-shrinks-small-batch", SOURCE,
          "With weight decay small batches end with smaller weights (norm: large batches minus small ones).",
          _larger("weight_norm", "-decay"), Region(low=0.0)),  # type: ignore[arg-type]
    *(
        Claim(f"li2018/fig2/small-batch-generalises{decay}", SOURCE,
              f"Small batches generalise better {pair} (test error: large batches minus small ones).",
              _larger("test_error", decay), Region(low=0.0), "percentage points")  # type: ignore[arg-type]
        for pair, decay in PAIRS.items()
    ),
)  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "li2018/fig2",
        "The line between solutions of small and of large batches",
        specs,
        run,
        draw,
        CLAIMS,
        differs=(
            "The slides at hand do not have this figure; its claims are the published paper's. How sharp an end of the "
            "line is, which the paper shows, is measured here, toward the other end: beyond both ends running "
            "variances of batch normalisation are extrapolated, and where they are negative the loss is not drawn.",
            "Only solutions that have trained are compared: whose training accuracy has come half of the way from "
            "guessing to no error.",
        ),
        labels=STORED
        | {"weight_norm": "norm of all weights", "x": "from the small batch at 0 to the large batch at 1"},
    ),
)
