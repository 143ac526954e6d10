"""Figure 5: filter-normalised surfaces of ResNets of growing depth, with and without skip connections.

ResNets of several depths (layers with weights) are trained, and the same without their skips (``plainnet-N``). Around
what each run learned the training loss is evaluated over a plane of two random, filter-normalised directions, whose
roughness and sharpness are compared. On a laptop PlainNet-56 does not train in the time there is. 8 layers against 20,
of which both kinds train, are as far apart there as the paper's 20 and 56. A claim about a depth that a scale lacks
(20 and 56 at smoke, 110 below paper scale) is not judged there.
"""

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim
from nonsingular.papers.li2018.parts import surfaces
from nonsingular.papers.li2018.parts.comparisons import (
    NO_ROUGHNESS,
    ROUGHNESS,
    compared,
    correlated,
    doubled,
    saved_by_skips,
)
from nonsingular.papers.li2018.parts.drawings import contours_by_kind, flatness, roughness

PAPER = (20, 56, 110)
"""The paper's depths."""
BENIGN = 20
"""The depth at which the published paper finds the surface without skips benign, too."""
NAMES = {variable: variable.replace("_", "-") for variable in ROUGHNESS}

FIGURE = Figure(
    "li2018/fig5",
    "Filter-normalised surfaces of ResNets by depth, with and without skips",
    source="li2018 slides, the effect of depth; figure 5",
    sizes=Scales(
        runs=(2, 3, 3, 5),
        epochs=(2, 30, 20, 300),
        layers=((8, 14), (8, 20, 56), (8, 20, 56), PAPER),
        width=(4, 8, 8, 16),
        grid=(7, 13, 25, 51),
        images=(60, 128, 500, None),
        pixels=(None, 16, 16, None),
    ),
    study=lambda size: surfaces.study(size, *(m for layers in size.layers for m in surfaces.pair(layers, size.width))),
    run=surfaces.run,
    draw={"contours": contours_by_kind, "roughness": roughness, "flatness": flatness},
    claims={
        **{
            f"skips-smooth-{layers}-{NAMES[variable]}": claim(
                f"With {layers} layers the surface is rougher without skip connections",
                compared(variable, f"plainnet-{layers}", f"resnet-{layers}") > 0,
                ours=variable in NO_ROUGHNESS or layers == BENIGN,
            )
            for layers in PAPER
            for variable in ROUGHNESS
        },
        **{
            f"depth-roughens-plain-{NAMES[variable]}": claim(
                "Deeper networks without skip connections have more uneven surfaces with more minima",
                doubled(variable, "depth", "plainnet") > 0,
                ours=variable in NO_ROUGHNESS,
            )
            for variable in ROUGHNESS
        },
        **{
            f"skips-prevent-{NAMES[variable]}": claim(
                "With skip connections depth adds less than half of the roughness that it adds without them",
                saved_by_skips(variable) < 0,
                source="li2018 figure 5, section 5.2",
                ours=variable in NO_ROUGHNESS,
            )
            for variable in ROUGHNESS
        },
        "flatter-generalises": claim(
            "Flatter minima go with lower test errors", correlated("sharpness", "test_error") > 0
        ),
    },
    differs=(
        *surfaces.DIFFERS,
        "The published paper calls the surface of 20 layers without skips fairly benign; that it is rougher than with "
        "them is asked for our own information.",
    ),
    labels=surfaces.STORED,
)
