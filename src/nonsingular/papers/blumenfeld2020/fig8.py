"""Figure 8 and table 2's largest correlation: which of LeakyNet's layers keep identical features.

LeakyNet has no skips: leaky rectifiers and convolutions that cancel in pairs, so that it is linear at the start. Each
layer starts as the identity ("I": channels stay apart) or as the average over channels ("1": channels become
identical); ``3-averages`` has three of the latter among 13 layers, ``he`` He's random start. Forward correlation, the
mean cosine of pairs of filters, is 1 where a layer's features are identical; "the most alike layer" is that with the
largest. A run is a seed.
"""

from __future__ import annotations

from nonsingular.experiments.drawings import labelled
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import all_of, given, trained
from nonsingular.experiments.quantities import CORRELATIONS, END, Quantity, of
from nonsingular.experiments.verbs import Declared, Needs, average, claim, larger
from nonsingular.papers.blumenfeld2020.parts.correlations import WORDS
from nonsingular.papers.blumenfeld2020.parts.leakynet import DIFFERS, HAS_LEFT_CHANCE, SIZES, study
from nonsingular.papers.blumenfeld2020.parts.protocol import CENTRED, FORMS
from nonsingular.plots import symmetry

TRAINED = trained(HALFWAY)
IDENTICAL = 0.95
NEARER = ((0.25 + 0.63) / 2, (0.63 + 1.0) / 2)
"""Values that are nearer to the paper's of three averages than to those of one and of five."""


def largest(variable: str) -> Quantity:
    """The largest correlation of a layer after the last epoch."""
    return Quantity(
        lambda results, network: per_run(results, variable, network).isel(epoch=-1).max("layer"),
        "largest forward correlation of a layer after the last epoch",
        within=CORRELATIONS,
    )


def apart(quantity: Quantity, bound: float) -> Needs:
    """That the network whose features start apart keeps them apart: else nothing is told by another's that are alike.

    The largest of many layers is near 1 where correlations are scattered widely, whatever the start was.
    """
    return given(average(quantity, "1-average") < bound, "starts are not told apart by the most alike layer")


def claims(form: str, ending: str) -> dict[str, Declared]:
    """The claims about correlations of one form."""
    end, words = largest(f"forward_{form}"), WORDS[form]
    return {
        **{
            f"stuck-with-{name}{ending}": claim(
                f"With {name.replace('-', ' ')} some layer keeps identical features to the end ({words})",
                average(end, name) > IDENTICAL,
                needs=all_of(HAS_LEFT_CHANCE, apart(end, IDENTICAL)),
            )
            for name in ("5-averages", "7-averages", "13-averages")
        },
        f"three-averages-between{ending}": claim(
            f"With three averages the most alike layer is between those of one and of five ({words}; 0.63 in the "
            "paper, against 0.25 and 1)",
            average(end, "3-averages").between(*NEARER),
            expected="0.63",
        ),
        f"apart-stays-apart{ending}": claim(
            f"With one average no layer keeps identical features ({words}; paper 0.25)", average(end, "1-average") < 0.5
        ),
        f"he-co-adapts{ending}": claim(
            f"From the He start correlations end higher than from the identity ({words})",
            larger(of(f"forward_{form}", epoch=END), "he", "1-average") > 0,
            source="blumenfeld2020 §5.2",
        ),
    }


FIGURE = Figure(
    "blumenfeld2020/fig8",
    "LeakyNet: correlations over training",
    source="blumenfeld2020 table 2, figure 8",
    sizes=SIZES,
    study=study,
    draw={
        name: drawing
        for form, ending in FORMS.items()
        for name, drawing in (
            (f"forward{ending}", labelled(symmetry.correlations_by_layer, f"forward_{form}")),
            (f"end{ending}", labelled(symmetry.by_layer_at_end, f"forward_{form}")),
        )
    },
    needs=TRAINED,
    claims=claims("correlation", FORMS["correlation"]) | claims("centred", FORMS["centred"]),
    differs=(*DIFFERS, CENTRED),
)
