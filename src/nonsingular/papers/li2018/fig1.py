"""Figure 1: the loss surface of ResNet-56 with and without skip connections, in three dimensions.

On a laptop PlainNet-56 does not train in the time there is, and there is nothing to compare its surface with a minimum
for; a pair of 20 layers, which trains, stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from nonsingular.experiments.claims import Claim, Region
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.papers.li2018 import surfaces
from nonsingular.papers.li2018.surfaces import Size
from nonsingular.plots import landscape as plots
from nonsingular.plots import landscape_interactive as interactive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (Size(2, 2, 7, 60), (14,), 4),
    "laptop": (Size(3, 30, 21, 128), (20, 56), 8),
    "overnight": (Size(3, 15, 31, 1000), (20,), 16),
    "paper": (Size(5, 300, 51, None), (56,), 16),
}
"""Scale -> size, layers, channels of the first stage."""


def specs(scale: str, data: str | None = None) -> Spec:
    """ResNet-56 with and without skips (14 layers for smoke, 20 too on a laptop)."""
    size, depths, width = at_scale(SIZES, scale)
    networks = tuple(m for layers in depths for m in surfaces.pair(layers, width))
    return surfaces.make_spec("li2018/fig1", scale, size, networks, data)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The first run's surfaces in three dimensions, all runs' contours, and roughness."""
    title = plots.caption(f"{surfaces.title(results)} with and without skip connections", results)
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


CLAIMS = tuple(
    Claim(
        f"li2018/fig1/skips-smooth-{variable.replace('_', '-')}",
        "li2018 figure 1",
        f"The surface is rougher without skip connections ({words}: without minus with, at the largest depth of the "
        "figure at which both networks trained).",
        lambda r, variable=variable: surfaces.rougher_without(r, variable),  # type: ignore[misc]
        Region(low=0.0),
        surfaces.UNITS[variable],
    )
    for variable, words in surfaces.WORDS.items()
)

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
        labels=surfaces.STORED,
    ),
)
