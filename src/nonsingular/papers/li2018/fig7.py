"""Figure 7: where the loss is convex in all of weight space, not only in the plane that is drawn.

A ResNet, the same without its skips, and a DenseNet are trained. Over the plane of two random, filter-normalised
directions around what a run learned the loss is evaluated as in figure 5; and on a coarser grid the smallest and the
largest eigenvalue of the full Hessian, by Lanczos. Their ratio |smallest / largest| tells how much the loss bends down
in any direction, those included that no picture shows. A run is a seed.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, mean
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim
from nonsingular.networks import DenseSpec
from nonsingular.papers.li2018.parts import curvature, drawings, surfaces
from nonsingular.papers.li2018.parts.comparisons import OF_SURFACES, over_trained, without_skips
from nonsingular.training import Member


def study(size: Size) -> Spec:
    """A ResNet with and without skips, and a DenseNet."""
    dense = Member(f"densenet-{size.dense.layers}", size.dense)
    return surfaces.study(size, *surfaces.pair(size.layers, size.width), dense, map=size.map, products=size.products)


@over_trained(
    "mean |smallest / largest eigenvalue|, where it looks non-convex minus where it looks convex; all networks that "
    "trained"
)
def looks(results: xr.Dataset, names: list[str]) -> Effect:
    """How much looks tell: ``curvature.bends``, mean over networks."""
    found = np.mean([OF_SURFACES["bends"](results, name) for name in names], axis=0)  # networks of a run share its seed
    if not np.isfinite(found).any():
        raise NotMeasured("every surface looks convex at all points of its map, or at none")
    return mean(found)


@over_trained(
    "share of the map where negative eigenvalues are below 1 % of the positive ones; half of it counts as large here",
    "%",
)
def dense_share(results: xr.Dataset, names: list[str]) -> Effect:
    """Of the DenseNet."""
    dense = [n for n in map(str, results.network.values) if n.startswith("densenet")]
    if not dense:
        raise NotMeasured("no DenseNet is among the results")
    return mean(OF_SURFACES["near_convex"](results, dense[0]), note=dense[0], within=(0, 100))


FIGURE = Figure(
    "li2018/fig7",
    "Extreme eigenvalues of the Hessian over the loss surface",
    source="li2018 figure 7, section 6 (published paper)",
    sizes=Scales(
        runs=(2, 3, 3, 5),
        epochs=(2, 30, 15, 300),
        layers=(8, 20, 20, 56),
        width=(4, 8, 8, 16),
        dense=(DenseSpec(10, growth=2, width=4), *(DenseSpec(22, growth=6, width=8),) * 2, DenseSpec(100)),
        grid=(5, 13, 25, 51),
        map=(3, 7, 13, 26),
        products=(6, 20, 20, 40),
        images=(40, 64, 256, None),
        pixels=(None, 16, 16, None),
    ),
    study=study,
    run=curvature.run,
    draw={"contours": drawings.contours_of_first, "convexity": drawings.convexity, "share": drawings.shares},
    claims={
        "looks-tell": claim(
            "Where a surface looks convex, the Hessian's negative eigenvalues are less significant than elsewhere",
            looks > 0,
        ),
        "densenet-near-convex": claim(
            "Over a large region of DenseNet's surface the negative eigenvalues stay extremely small", dense_share > 50
        ),
        "skips-convex": claim(
            "Without skip connections less of the surface is nearly convex", without_skips("near_convex") < 0
        ),
    },
    differs=(
        *surfaces.DIFFERS,
        "The slides at hand do not have this figure; its claims are the published paper's. Its DenseNet-121 is one "
        "of 100 layers without bottlenecks here.",
        "Eigenvalues are Lanczos' after as many products as the settings say: the ratio is of numbers inside the "
        "spectrum, and the results hold a bound on their distance from eigenvalues.",
    ),
    labels=surfaces.STORED | curvature.LABELS,
)
