"""§3 and appendices B, C, H: angles between signals, their norms, and gradients through depth at the start.

Nothing is trained. Images pass through deep stacks of equally wide layers at their start: ConstNet (skips around
zeros), LeakyNet from averages ("1") and identities ("I"), the isometric start of appendix B, and for comparison He,
delta-orthogonal and Fixup. Layer by layer, in float64, the cosine of two images' features is measured, the norm of
features, and the norm of the loss's gradients. A run is a seed of the weights.
"""

from __future__ import annotations

from nonsingular.experiments.effects import FLOAT32_ROUNDING  # random orthogonal weights are float32
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim
from nonsingular.networks.stacks import KINDS
from nonsingular.papers.blumenfeld2020.parts.protocol import few_images
from nonsingular.papers.blumenfeld2020.parts.signal_measures import (
    fixup_inner,
    gradient_ratio,
    lost_angle,
    on_average,
    worst_drift,
)
from nonsingular.papers.blumenfeld2020.parts.signals import run
from nonsingular.plots import symmetry

STABLE = ("constnet", "leakynet-1", "leakynet-I", "isometric")
SECTIONS = "blumenfeld2020 §3.1, appendices B, C, H"
CLAIM = "blumenfeld2020 §3.1 claim, appendix C"


def study(size: Size) -> Spec:
    """Equally wide stacks of every kind, at one depth and several widths."""
    return size.spec(data=few_images(size), settings={"depth": size.depth, "widths": size.widths, "kinds": list(KINDS)})


FIGURE = Figure(
    "blumenfeld2020/signal",
    "Forward angles and gradient norms against depth",
    source=SECTIONS,
    sizes=Scales(
        runs=(2, 3, 10),
        samples=(10, 8, 32),
        pixels=(8, 8, None),
        depth=(13, 25, 101),
        widths=([4, 16], [8, 16, 32], [8, 32, 128, 256]),
    ),
    study=study,
    run=run,
    draw={"angles": symmetry.signal_angles, "gradients": symmetry.signal_gradients},
    claims={
        "angles-stay": claim(
            "In ConstNet, LeakyNet and the isometric start angles between signals do not change with depth, at any "
            "width",
            worst_drift("cosine", *STABLE) < FLOAT32_ROUNDING,
        ),
        "angles-stay-on-average": claim(
            "Where ConstNet's strides take pixels away angles are preserved in distribution, for inputs that "
            "translations do not change",
            on_average < FLOAT32_ROUNDING,
            source=CLAIM,
        ),
        "norms-stay": claim(
            "In ConstNet, LeakyNet and the isometric start the signals' norms do not change with depth",
            worst_drift("norm", *STABLE) < FLOAT32_ROUNDING,
        ),
        "gradients-stay": claim(
            "In ConstNet, LeakyNet and the isometric start the norms of gradients with respect to the features do not "
            "change with depth",
            worst_drift("gradient_norm", *STABLE) < FLOAT32_ROUNDING,
        ),
        "constnet-weight-gradients": claim(
            "The gradients with respect to ConstNet's weights do not depend on depth when the width is constant",
            gradient_ratio < FLOAT32_ROUNDING,
            source=CLAIM,
        ),
        "he-angles-collapse": claim(
            "Under He initialisation angles are not preserved", lost_angle("he") > 0.1, source="blumenfeld2020 §3"
        ),
        "delta-orthogonal-angles": claim(
            "With rectifiers a delta-orthogonal start alone does not preserve angles either: it takes the doubled "
            "channels of appendix B",
            lost_angle("delta-orthogonal") > 0.1,
            source="blumenfeld2020 §3 (Xiao et al. 2018)",
        ),
        "fixup-angles": claim(
            "Fixup, whose blocks end in zeros, preserves angles",
            worst_drift("cosine", "fixup") < FLOAT32_ROUNDING,
            source="blumenfeld2020 §1 (Zhang et al. 2019)",
        ),
        "fixup-gradients": claim(
            "Fixup's gradients are not stable: those with respect to the first convolution of every block are zero "
            "at the start",
            fixup_inner < 1e-30,
            source="blumenfeld2020 §3",
        ),
    },
    differs=(
        "Equally wide stacks at one image size and a random readout: with a readout of zeros every gradient but "
        "its own is zero. Where strides take pixels away angles stay only on average: that is judged in a ConstNet "
        "of 13 layers, over all shifts of the images by less than the four pixels that its strides skip.",
    ),
    labels={
        "cosine": "cosine of two images' features",
        "norm": "norm of the features",
        "gradient_norm": "norm of the loss's gradient with respect to features (nats)",
        "weight_gradient_norm": "norm of the loss's gradient with respect to weights (nats)",
        "inner_gradient_norm": "norm of the loss's gradient with respect to the weights before a block's last (nats)",
        "strided_cosine": "cosine of two images' features, mean products over translations",
        "shifted_cosine": "cosine of two images' features, at one translation",
        "width": "channels",
    },
)
