"""Figure 1: the loss surface of a deep ResNet with and without skip connections, in three dimensions.

A ResNet is trained, and what is left of it without its skips (``plainnet``). Around what a run learned the training
loss is evaluated over a plane of two random directions, filter-normalised: each filter of a direction has the norm of
the network's own. How rough that surface is, is compared. The paper's networks have 56 layers with weights, and so has
the paper scale; networks of 20 layers (smoke: 14) train in the time that the other scales have, and the laptop scale
tries 56 beside them.
"""

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim
from nonsingular.papers.li2018.parts import surfaces
from nonsingular.papers.li2018.parts.comparisons import NO_ROUGHNESS, ROUGHNESS, without_skips
from nonsingular.papers.li2018.parts.drawings import contours, each_surface, relief, roughness

SLIDES = "li2018 slides, smoothing the loss surface; figure 1"

FIGURE = Figure(
    "li2018/fig1",
    "Loss surface of a ResNet with and without skips, in three dimensions",
    source=SLIDES,
    sizes=Scales(
        runs=(2, 3, 3, 5),
        epochs=(2, 30, 15, 300),
        layers=((14,), (20, 56), (20,), (56,)),
        width=(4, 8, 16, 16),
        grid=(7, 21, 31, 51),
        images=(60, 128, 500, None),
        pixels=(None, 16, 16, None),
    ),
    study=lambda size: surfaces.study(size, *(m for layers in size.layers for m in surfaces.pair(layers, size.width))),
    run=surfaces.run,
    draw={"surface": relief, "contours": contours, "roughness": roughness},
    interactive=each_surface,
    claims={
        **{
            f"skips-smooth-{variable.replace('_', '-')}": claim(
                "The surface is rougher without skip connections",
                without_skips(variable) > 0,
                ours=variable in NO_ROUGHNESS,
            )
            for variable in ROUGHNESS
        },
        "skips-guide": claim(
            "With skip connections gradients point more nearly to a good minimum", without_skips("guidance") < 0
        ),
        "skips-keep-round": claim(
            "Removing skip connections elongates the surface",
            without_skips("elongation") > 0,
            source="li2018 slides, the effect of depth",
        ),
    },
    differs=(
        *surfaces.DIFFERS,
        "The slides say that gradients are more representative of the direction to good minima; here that is measured "
        "in the plane that is drawn, where the lowest point is the minimum. That removing skips fragments the surface "
        "is measured by its local minima.",
    ),
    labels=surfaces.STORED,
)
