"""Figure S7: figure 4 on SVHN and, with ``--data stl10``, on STL-10."""

from __future__ import annotations

from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec
from nonsingular.papers.orhan2018 import fig4

SIZES = fig4.SIZES | {"paper": (100, 50)}
"""Scale -> runs and epochs; 50 epochs in the paper."""


def specs(scale: str, data: str | None = None) -> Spec:
    """The networks of figure 4 on SVHN; on the digits at smoke scale, which needs no files."""
    return fig4.study("orhan2018/figS7", scale, data or (None if scale == "smoke" else "svhn"), SIZES)


EXPERIMENTS = (
    Experiment(
        "orhan2018/figS7",
        "Figure 4 on SVHN and STL-10",
        specs,
        fig4.run,
        fig4.draw,
        fig4.claims("figS7", "figure S7"),
        differs=("One data set a run: SVHN, or with --data stl10 the labelled images of STL-10.", *fig4.DIFFERS),
    ),
)
