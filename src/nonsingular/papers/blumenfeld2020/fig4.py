"""Figure 4: whether layers of equal width break their symmetry as groups.

The ConstNet of figure 3 that starts from identical features, with noise of the computation (``computation-noise``).
Its three stages have four layers of equal width each. Correlations of the weights are followed layer by layer over
training, and steps between neighbours at the borders of stages are held against those inside a stage. A run is a seed.
"""

from __future__ import annotations

from functools import partial

import xarray as xr

from nonsingular.experiments.drawings import Picture
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.verbs import claim
from nonsingular.papers.blumenfeld2020.parts.constnet import BOTH, SIZES, stages, study
from nonsingular.papers.blumenfeld2020.parts.correlations import WORDS, grouped
from nonsingular.papers.blumenfeld2020.parts.protocol import CENTRED, DIFFERS, FORMS, SIDES
from nonsingular.plots import symmetry

TWICE = 2 / 3
"""Of ``grouped``: steps at the borders are more than twice those inside."""


def groups(results: xr.Dataset, form: str) -> Picture:
    """Every layer's correlations from identical features, coloured by the layer's stage."""
    return symmetry.correlation_groups(results.sel(network=BOTH[0]), stages(), form, WORDS[form])


FIGURE = Figure(
    "blumenfeld2020/fig4",
    "Correlations of ConstNet's layers over training, by stage of equal width",
    source="blumenfeld2020 §4.2, figure 4",
    sizes=SIZES,
    study=study,
    draw={f"groups{ending}": partial(groups, form=form) for form, ending in FORMS.items()},
    claims={
        f"{side}-groups{ending}": claim(
            f"Layers of equal width move as groups: {side} correlations ({WORDS[form]}) make larger steps from stage "
            "to stage than inside the stages",
            grouped(f"{side}_{form}") > TWICE,
        )
        for side in SIDES
        for form, ending in FORMS.items()
    },
    differs=(*DIFFERS, CENTRED),
)
