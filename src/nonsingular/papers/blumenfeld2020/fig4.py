"""Figure 4: layers of equal width break their symmetry as groups."""

from __future__ import annotations

from functools import partial

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.experiments.verbs import claim
from nonsingular.papers.blumenfeld2020.constnet import SIZES, study
from nonsingular.papers.blumenfeld2020.correlations import WORDS, grouped
from nonsingular.papers.blumenfeld2020.drawings import groups
from nonsingular.papers.blumenfeld2020.protocol import CENTRED, DIFFERS, FORMS, SIDES

TWICE = 2 / 3
"""Of ``grouped``: steps at the borders are more than twice those inside."""

FIGURE = Figure(
    "blumenfeld2020/fig4",
    "Layers of equal width break their symmetry as groups",
    source="blumenfeld2020 §4.2, figure 4",
    sizes=SIZES,
    study=study,
    run=run_shared,
    draw={f"groups{ending}": partial(groups, form=form) for form, ending in FORMS.items()},
    claims=tuple(
        claim(
            f"{side}-groups{ending}",
            f"Layers of equal width move as groups: {side} correlations ({WORDS[form]}) make larger steps from stage "
            "to stage than inside the stages",
            grouped(f"{side}_{form}") > TWICE,
        )
        for side in SIDES
        for form, ending in FORMS.items()
    ),
    differs=(*DIFFERS, CENTRED),
)

EXPERIMENTS = (FIGURE,)
