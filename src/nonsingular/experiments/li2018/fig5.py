"""Figure 5: filter-normalised surfaces of ResNets of growing depth, with and without skip connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, Region, mean, rank_correlation
from nonsingular.experiments.effects import require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.li2018 import surfaces
from nonsingular.experiments.li2018.surfaces import Size, of
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.plots import landscape as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (Size(2, 2, 7, 60), (("20", 8), ("56", 14)), 4),
    "laptop": (Size(3, 30, 13, 128), (("20", 20), ("56", 56)), 8),
    "paper": (Size(5, 300, 51, None), (("20", 20), ("56", 56), ("110", 110)), 16),
}
"""Scale -> size, (name, layers) of the networks, channels of the first stage."""


def specs(scale: str, data: str | None = None) -> Spec:
    """ResNet-20, -56 and at paper scale -110, with and without skips (8 and 14 layers for smoke)."""
    size, depths, width = at_scale(SIZES, scale)
    networks = tuple(m for name, layers in depths for m in surfaces.pair(name, layers=layers, width=width))
    return surfaces.make_spec("li2018/fig5", scale, size, networks, data)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The first run's surfaces, skips above, and roughness of all."""
    title = plots.caption("Depth, with and without skip connections", results)
    return {
        "contours": plots.contours(*plots.panels(results.isel(run=slice(1)), by_kind=True), title,
                                   columns=results.sizes["network"] // 2),
        "roughness": plots.roughness(results, surfaces.LABELS, title),
        "flatness": plots.flatness(results, surfaces.LABELS["sharpness"], title),
    }  # fmt: skip


def _saved_by_skips(results: xr.Dataset, variable: str) -> Effect:
    """What depth adds to a measure with skips, less half of what it adds without; run by run."""
    added = {kind: of(results, variable, f"{kind}-56") - of(results, variable, f"{kind}-20") for kind in surfaces.KINDS}
    return mean(added["resnet"] - added["plainnet"] / 2)


def _flatter_is_better(results: xr.Dataset) -> Effect:
    """Rank correlation of sharpness and test error over all networks and runs."""
    require(results, "sharpness", "test_error")
    return rank_correlation(results.sharpness.values, results.test_error.values)


CLAIMS = (
    *surfaces.rougher(
        "fig5", "depth-roughens-plain", "li2018 figure 5, section 5.2",
        "Without skip connections depth makes the surface rougher", "plainnet-56", "plainnet-20",
    ),
    *(
        Claim(
            f"li2018/fig5/skips-prevent-{variable.replace('_', '-')}",
            "li2018 figure 5, section 5.2",
            "With skip connections depth adds less than half of the roughness that it adds without them "
            f"({variable.replace('_', ' ')}: increase from 20 to 56 layers with skips, minus half of that without).",
            lambda r, variable=variable: _saved_by_skips(r, variable),  # type: ignore[misc]
            Region(high=0.0),
            surfaces.UNITS[variable],
        )
        for variable in surfaces.ROUGHNESS
    ),
    Claim(
        "li2018/fig5/flatter-generalises",
        "li2018 figure 5, section 5.4",
        "Flatter minima go with lower test errors (rank correlation of sharpness and test error over all networks).",
        _flatter_is_better,
        Region(low=0.0),
    ),
)  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "li2018/fig5",
        "Filter-normalised surfaces of ResNet-20, -56, -110",
        specs,
        surfaces.run,
        draw,
        CLAIMS,
        differs=surfaces.DIFFERS,
    ),
)
