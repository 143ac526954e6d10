"""Figures 3 and 7: ConstNet's weight correlations over training from both starts, of one layer and of all.

ConstNet is a residual network whose skips each bypass a single convolution. Its features can all start identical: the
bypassed convolutions are zero then, those without a skip averages over channels. The same network is trained from
identical features, with noise of the computation to break their symmetry (``computation-noise``), and from He's random
start (``constnet-he``). Forward correlation is the mean cosine of pairs of filters that make a layer's channels,
backward that of those that read them. A run is a seed.
"""

from nonsingular.experiments.drawings import Curves, Only, labelled
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.papers.blumenfeld2020.parts.constnet import BOTH, SIZES, study
from nonsingular.papers.blumenfeld2020.parts.correlations import convergence
from nonsingular.papers.blumenfeld2020.parts.protocol import CENTRED, DIFFERS, FORMS, SIDES
from nonsingular.plots import symmetry

SHOWN = 11
"""A layer of the last stage, whose symmetry breaks first."""

BOTH_TRAINED = trained(HALFWAY)

FIG3 = Figure(
    "blumenfeld2020/fig3",
    "Weight correlations of one layer over training, from both starts",
    source="blumenfeld2020 §4.1, figure 3",
    sizes=SIZES,
    study=study,
    draw={
        "correlations": Curves(
            *(f"{side}_{form}" for form in FORMS for side in SIDES),
            title=f"Weight correlations of layer {SHOWN} of ConstNet",
            layer=SHOWN,
            view=Only(*BOTH),
        )
    },
    needs=BOTH_TRAINED,
    claims=convergence("forward", SHOWN),
    differs=(*DIFFERS, CENTRED, f"The text does not say which layer figure 3 shows; here layer {SHOWN} of 13."),
)

FIG7 = Figure(
    "blumenfeld2020/fig7",
    "Weight correlations of all layers from both starts",
    source="blumenfeld2020 figure 7",
    sizes=SIZES,
    study=study,
    draw={
        f"{side}{ending}": labelled(symmetry.correlations_by_layer, f"{side}_{form}", Only(*BOTH))
        for form, ending in FORMS.items()
        for side in SIDES
    },
    needs=BOTH_TRAINED,
    claims=convergence("forward") | convergence("backward"),
    differs=(*DIFFERS, CENTRED),
)
