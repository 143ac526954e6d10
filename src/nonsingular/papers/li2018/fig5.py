"""Figure 5: filter-normalised surfaces of ResNets of growing depth, with and without skip connections.

On a laptop PlainNet-56 does not train in the time there is. 8 layers against 20, of which both kinds train, are as far
apart there as the paper's 20 and 56.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, mean, rank_correlation
from nonsingular.experiments.effects import require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.papers.li2018 import surfaces
from nonsingular.papers.li2018.surfaces import Size
from nonsingular.plots import landscape as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = (20, 56, 110)
"""The paper's depths."""
SIZES = {
    "smoke": (Size(2, 2, 7, 60), (8, 14), 4),
    "laptop": (Size(3, 30, 13, 128), (8, 20, 56), 8),
    "overnight": (Size(3, 15, 25, 500), (8, 20, 56), 8),
    "paper": (Size(5, 300, 51, None), PAPER, 16),
}
"""Scale -> size, layers of the networks, channels of the first stage."""


def specs(scale: str, data: str | None = None) -> Spec:
    """ResNets of growing depth, with and without skips; at paper scale ResNet-20, -56 and -110."""
    size, depths, width = at_scale(SIZES, scale)
    networks = tuple(m for layers in depths for m in surfaces.pair(layers, width))
    return surfaces.make_spec("li2018/fig5", scale, size, networks, data)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The first run's surfaces, skips above, and roughness of all."""
    title = plots.caption(f"{surfaces.title(results)} with and without skip connections", results)
    return {
        "contours": plots.contours(*plots.panels(results.isel(run=slice(1)), by_kind=True), title,
                                   columns=results.sizes["network"] // 2),
        "roughness": plots.roughness(results, surfaces.LABELS, title),
        "flatness": plots.flatness(results, surfaces.LABELS["sharpness"], title),
    }  # fmt: skip


def _added_without(results: xr.Dataset, variable: str) -> Effect:
    """What a doubling of the depth adds to a measure without skips."""
    layers, note = surfaces.several_depths(results, "plainnet")
    return mean(surfaces.by_depth(results, variable, "plainnet", layers), note=note)


def _saved_by_skips(results: xr.Dataset, variable: str) -> Effect:
    """What a doubling of the depth adds to a measure with skips, less half of what it adds without; run by run."""
    layers, note = surfaces.several_depths(results, *surfaces.KINDS)
    added = {kind: surfaces.by_depth(results, variable, kind, layers) for kind in surfaces.KINDS}
    return mean(added["resnet"] - added["plainnet"] / 2, note=note)


def _flatter_is_better(results: xr.Dataset) -> Effect:
    """Rank correlation of sharpness and test error over all networks that have trained and their runs."""
    require(results, "sharpness", "test_error")
    names = [str(n) for n in results.network.values if surfaces.came(results, str(n)) > HALFWAY]
    if not names:
        raise NotMeasured(f"no network has trained; {surfaces.left_out(results, *surfaces.KINDS)}")
    sharpness, error = (np.concatenate(surfaces.of_trained(results, v, *names)) for v in ("sharpness", "test_error"))
    return rank_correlation(sharpness, error, note=surfaces.left_out(results, *surfaces.KINDS))


CLAIMS = (
    *(
        Claim(
            f"li2018/fig5/skips-smooth-{layers}-{variable.replace('_', '-')}",
            "li2018 figure 5, section 5.2",
            f"With {layers} layers the surface is rougher without skip connections ({words}: without minus with).",
            lambda r, variable=variable, layers=layers: surfaces.more(  # type: ignore[misc]
                r, variable, f"plainnet-{layers}", f"resnet-{layers}"
            ),
            Region(low=0.0),
            surfaces.UNITS[variable],
        )
        for layers in PAPER
        for variable, words in surfaces.WORDS.items()
    ),
    *(
        Claim(
            f"li2018/fig5/depth-roughens-plain-{variable.replace('_', '-')}",
            "li2018 figure 5, section 5.2",
            f"Without skip connections depth makes the surface rougher ({words}: what a doubling of the depth adds, "
            "over the networks that trained).",
            lambda r, variable=variable: _added_without(r, variable),  # type: ignore[misc]
            Region(low=0.0),
            f"{surfaces.UNITS[variable]} a doubling",
        )
        for variable, words in surfaces.WORDS.items()
    ),
    *(
        Claim(
            f"li2018/fig5/skips-prevent-{variable.replace('_', '-')}",
            "li2018 figure 5, section 5.2",
            "With skip connections depth adds less than half of the roughness that it adds without them "
            f"({words}: what a doubling of the depth adds with skips, minus half of what it adds without, over the "
            "depths at which both trained).",
            lambda r, variable=variable: _saved_by_skips(r, variable),  # type: ignore[misc]
            Region(high=0.0),
            f"{surfaces.UNITS[variable]} a doubling",
        )
        for variable, words in surfaces.WORDS.items()
    ),
    Claim(
        "li2018/fig5/flatter-generalises",
        "li2018 figure 5, section 5.4",
        "Flatter minima go with lower test errors (rank correlation of sharpness and test error over all networks that "
        "trained).",
        _flatter_is_better,
        Region(low=0.0),
    ),
)

EXPERIMENTS = (
    Experiment(
        "li2018/fig5",
        "Filter-normalised surfaces of ResNet-20, -56, -110",
        specs,
        surfaces.run,
        draw,
        CLAIMS,
        differs=surfaces.DIFFERS,
        labels=surfaces.STORED,
    ),
)
