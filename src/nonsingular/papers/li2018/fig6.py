"""Figure 6: width smooths the surface, with and without skip connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, rank_correlation
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.papers.li2018 import surfaces
from nonsingular.papers.li2018.surfaces import Size
from nonsingular.plots import landscape as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (Size(2, 2, 7, 60), 14, 2, (1, 2, 4)),
    "laptop": (Size(3, 30, 13, 128), 20, 4, (1, 2, 4)),
    "overnight": (Size(3, 15, 21, 500), 20, 4, (1, 2, 4)),
    "paper": (Size(5, 300, 51, None), 56, 16, (1, 2, 4, 8)),
}
"""Scale -> size, layers, channels of the first stage at k = 1, the widths k."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Wide-ResNet-56 of growing width, with and without skips; below paper scale fewer layers, so that they train.

    The first layer is k times as wide, too: a ResNet k times as wide throughout.
    """
    size, layers, width, factors = at_scale(SIZES, scale)
    networks = tuple(m for k in factors for m in surfaces.pair(layers, width * k, f"k{k}"))
    return surfaces.make_spec("li2018/fig6", scale, size, networks, data)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The first run's surfaces, skips above, and roughness of all."""
    layers = int(results.layers.values[0])
    title = plots.caption(f"Wide-ResNet-{layers}: k times as many channels", results)
    return {
        "contours": plots.contours(*plots.panels(results.isel(run=slice(1)), by_kind=True), title,
                                   columns=results.sizes["network"] // 2),
        "roughness": plots.roughness(results, surfaces.LABELS, title),
    }  # fmt: skip


def _with_width(results: xr.Dataset, variable: str, kind: str) -> Effect:
    """Rank correlation of a measure with the width, over the widths at which networks trained and their runs."""
    names = [str(n) for n in results.network.values if str(n).startswith(f"{kind}-k")]
    names = [n for n in names if surfaces.came(results, n) > HALFWAY]
    lost = surfaces.left_out(results, kind)
    if len(names) < 2:
        raise NotMeasured(f"fewer than two widths at which {kind} trained" + (f"; {lost}" if lost else ""))
    measured = surfaces.of_trained(results, variable, *names)
    repeated = [np.full(len(m), float(n.rsplit("-k", 1)[1])) for n, m in zip(names, measured, strict=True)]
    return rank_correlation(np.concatenate(measured), np.concatenate(repeated), note=lost)


CLAIMS = tuple(
    Claim(
        f"li2018/fig6/width-{verb}-{kind}-{variable.replace('_', '-')}",
        "li2018 figure 6, section 5.3",
        f"Wider networks {words} skip connections have {what} surfaces (rank correlation of "
        f"{variable.replace('_', ' ')} with the width).",
        lambda r, variable=variable, kind=kind: _with_width(r, variable, kind),  # type: ignore[misc]
        Region(high=0.0),
    )
    for kind, words in surfaces.KINDS.items()
    for variable, verb, what in (
        *((v, "smooths", "smoother") for v in surfaces.ROUGHNESS),
        ("sharpness", "flattens", "flatter"),
    )
)

EXPERIMENTS = (
    Experiment(
        "li2018/fig6",
        "Width smooths the surface: Wide-ResNet-56",
        specs,
        surfaces.run,
        draw,
        CLAIMS,
        differs=surfaces.DIFFERS,
        labels=surfaces.STORED,
    ),
)
