"""Table 2: LeakyNet's accuracy with more and more layers of identical features.

LeakyNet (``fig8``) is trained, 13 layers without skips, of which 0 to 13 start as averages over channels, which makes
their features identical, and the others as the identity, which keeps them apart; ``he`` has He's random start. A run
is a seed.
"""

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.experiments.verbs import claim, larger, slope
from nonsingular.papers.blumenfeld2020.parts.leakynet import COUNTS, DIFFERS, SIZES, study
from nonsingular.papers.blumenfeld2020.parts.protocol import ACCURACY, drawn

TITLE = "LeakyNet, 13 layers of which some start as averages"

FIGURE = Figure(
    "blumenfeld2020/table2",
    "LeakyNet with more and more identical-feature layers",
    source="blumenfeld2020 §5.2, table 2",
    sizes=SIZES,
    study=study,
    draw=drawn(TITLE),
    needs=trained(HALFWAY, "he", "0-averages"),
    claims={
        "accuracy-falls": claim(
            "Test accuracy falls as more layers start as averages", slope(ACCURACY, COUNTS, "a layer") < 0
        ),
        "one-average-is-enough-to-train": claim(
            "Identical features in the first layer alone cost little: within 2 points of all layers apart, or beyond",
            larger(ACCURACY, "1-average", "0-averages") > -2.0,
            needs=trained(HALFWAY, "0-averages"),
        ),
        "all-averages-fail": claim(
            "With averages in all layers LeakyNet trains worse than with one",
            larger(ACCURACY, "13-averages", "1-average") < 0,
        ),
        "he-is-best": claim(
            "The He start does better than layers kept apart", larger(ACCURACY, "he", "0-averages") > 0
        ),
    },
    differs=DIFFERS,
)
