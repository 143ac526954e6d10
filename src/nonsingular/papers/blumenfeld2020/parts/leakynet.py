"""LeakyNet with more and more averaging layers: the study of table 2 and of figures 8, 9 and 10.

The items share it: the first that is run trains, the others take its results.
"""

from __future__ import annotations

from nonsingular.experiments.needs import trained
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.networks import LeakyNetSpec
from nonsingular.papers.blumenfeld2020.parts import protocol
from nonsingular.papers.blumenfeld2020.parts.protocol import LEFT_CHANCE, NOISE, WIDENING, WIDTH
from nonsingular.training import Member

SIZES = Scales(runs=(2, 3, 4, 4), epochs=(2, 60, 15, 200), width=WIDTH, widening=WIDENING)

STARTS = {
    "he": "H" * 13,
    "0-averages": "I" * 13,
    "1-average": "1" + "I" * 12,
    "3-averages": "1" + "IIII" + "11II" + "IIII",
    "5-averages": "1" + "IIII" + "1111" + "IIII",
    "7-averages": "1" + "II11" * 3,
    "13-averages": "1" * 13,
}
"""Network -> start of each layer, in the order that the authors' published scripts have."""

COUNTS = {name: float(starts.count("1")) for name, starts in STARTS.items() if name != "he"}
"""Network -> layers that start as averages."""

HAS_LEFT_CHANCE = trained(LEFT_CHANCE)
"""That every network that is spoken of has left chance: what has not moved is as its start made it."""

DIFFERS = (
    *protocol.DIFFERS,
    "Every pair of layers ends with a normalisation, since appendix H has it after every block that is the identity; "
    "the authors' code normalises after every layer, which undoes the identity.",
)


def study(size: Size) -> Spec:
    """Accuracies, weight correlations, and the size of what breaks the symmetry, after every epoch."""
    networks = [
        Member(name, LeakyNetSpec(13, size.width, size.widening, starts), breaker=NOISE)
        for name, starts in STARTS.items()
    ]
    return protocol.study(size, networks, "symmetry_breaking")
