"""Figure 6: whether width smooths the surface, with and without skip connections.

ResNets of one depth are trained that are k = 1, 2, 4 (8) times as wide, with skips and without (``plainnet-kN``).
Around what a run learned the training loss is evaluated over a plane of two random, filter-normalised directions. What
a doubling of the width takes from the roughness and the sharpness of that surface is measured. A run is a seed.
"""

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim
from nonsingular.papers.li2018.parts import surfaces
from nonsingular.papers.li2018.parts.comparisons import KINDS, NO_ROUGHNESS, ROUGHNESS, doubled
from nonsingular.papers.li2018.parts.drawings import contours_by_kind, roughness

FIGURE = Figure(
    "li2018/fig6",
    "Surfaces of Wide-ResNets by width, with and without skips",
    source="li2018 slides, the effect of depth in wider architectures; figure 6",
    sizes=Scales(
        runs=(2, 3, 3, 5),
        epochs=(2, 30, 15, 300),
        layers=(14, 20, 20, 56),
        width=(2, 4, 8, 16),
        factors=((1, 2, 4), (1, 2, 4), (1, 2, 4), (1, 2, 4, 8)),
        grid=(7, 13, 21, 51),
        images=(60, 128, 500, None),
        pixels=(None, 16, 16, None),
    ),
    study=lambda size: surfaces.study(
        size, *(m for k in size.factors for m in surfaces.pair(size.layers, size.width * k, f"k{k}"))
    ),
    run=surfaces.run,
    draw={"contours": contours_by_kind, "roughness": roughness},
    claims={
        f"width-{verb}-{kind}-{variable.replace('_', '-')}": claim(
            f"Wider networks {words} skip connections have {what} surfaces",
            doubled(variable, "width", kind) < 0,
            ours=variable in NO_ROUGHNESS,
        )
        for kind, words in KINDS.items()
        for variable, verb, what in (
            *((v, "smooths", "smoother") for v in ROUGHNESS),
            ("sharpness", "flattens", "flatter"),
        )
    },
    differs=(
        *surfaces.DIFFERS,
        "The first layer is k times as wide, too: a ResNet k times as wide throughout.",
    ),
    labels=surfaces.STORED,
)
