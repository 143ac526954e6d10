"""Figure 1: the loss surface of ResNet-56 with and without skip connections, in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.li2018 import surfaces
from nonsingular.experiments.li2018.surfaces import Size
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.plots import landscape as plots
from nonsingular.plots import landscape_interactive as interactive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (Size(2, 2, 7, 60), 14, 4),
    "laptop": (Size(3, 30, 21, 128), 56, 8),
    "paper": (Size(5, 300, 51, None), 56, 16),
}
"""Scale -> size, layers, channels of the first stage."""


def specs(scale: str, data: str | None = None) -> Spec:
    """ResNet-56 with and without skips (14 layers for smoke)."""
    size, layers, width = at_scale(SIZES, scale)
    return surfaces.make_spec("li2018/fig1", scale, size, surfaces.pair("56", layers=layers, width=width), data)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The first run's surfaces in three dimensions, all runs' contours, and roughness."""
    title = plots.caption("ResNet-56 with and without skip connections", results)
    first = plots.panels(results.isel(run=slice(1)))
    return {
        "surface": plots.relief(*first, title),
        "contours": plots.contours(*plots.panels(results), title, columns=results.sizes["run"]),
        "roughness": plots.roughness(results, surfaces.LABELS, title),
    }


def live(results: xr.Dataset) -> Mapping[str, Any]:
    """The first run's surfaces, to turn with the mouse."""
    return {
        str(name): interactive.surface(results.sel(network=name).isel(run=0), str(name))
        for name in results.network.values
    }


CLAIMS = surfaces.rougher(
    "fig1", "skips-smooth", "li2018 figure 1", "The surface is rougher without skip connections",
    "plainnet-56", "resnet-56",
)  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "li2018/fig1",
        "3D loss surface of ResNet-56 with and without skips",
        specs,
        surfaces.run,
        draw,
        CLAIMS,
        live,
        differs=surfaces.DIFFERS,
    ),
)
