"""Figure 4: the best and the worst of many equal plain networks, and how near singularities they are.

One kind of network is trained many times: plain, 30 layers of 128 units. A run is a seed, and nothing else is varied.
The runs are sorted by mean training accuracy over the epochs; the best tenth is compared with the worst. Overlap is
the correlation of incoming weights; linear dependence the share of the units' variance in three modes; degenerate are
eigenvalues of the Hessian within 0.1 of zero. Of gradients the norm with respect to a layer's activations is taken, at
the first over that at the last hidden layer. Claims in ``-correlation`` use all runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log10
from typing import Any

import numpy as np

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.quantities import first_over_last, of
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.experiments.verbs import average, claim
from nonsingular.papers.orhan2018.parts import best_and_worst, differences, eigenvalue_shares, protocol
from nonsingular.papers.orhan2018.parts.best_and_worst import best_minus_worst, correlated, with_speed

ALIKE = float(np.log10(2))
"""Gradients "similarly vanishing": within a factor of two of each other. The paper gives no number."""

SIZES: dict[str, Any] = {
    "runs": (6, 30, 100, 100),
    "epochs": (2, 15, 20, 100),
    "moment_epochs": ((1,), (3, LAST), (1, 3, 10, LAST), (1, 3, 10, 30, 50, LAST)),
    "lanczos_epochs": ((), (LAST,), (LAST,), (3, 30, LAST)),
}


def study(size: Size) -> Spec:
    """Equal plain networks of 30 layers and 128 units."""
    # At unit norm the worst never leave chance, and what has not moved is as it started; standardised, all train.
    scaling = {"scaling": "standardised"} if size.scale == "overnight" else {}
    measured = ("train_accuracy", "test_accuracy", "weight_norm", "mean_overlap", "linear_dependence", "gradient_norm")
    return protocol.study(
        size,
        protocol.networks("plain", depth=30),
        dict.fromkeys(measured) | {"below_epsilon": (0,)} | eigenvalue_shares.instruments(size),
        data=protocol.images(size.data, size.scale, **scaling),
    )


def figure(
    id: str, title: str, where: str, sizes: Mapping[str, Any], differs: tuple[str, ...] = (), data: str | None = None
) -> Figure:
    """Figure 4 or its replication on other images.

    Args:
        id: ``paper/figure``.
        title: for listings.
        where: the paper's figure.
        sizes: as of ``Scales``.
        differs: beside what both do.
        data: the images, if not those of the scale (the smoke test needs no files).
    """
    norms, overlap, dependence = of("weight_norm"), of("mean_overlap"), of("linear_dependence")

    return Figure(
        id,
        title,
        source=f"orhan2018 §2.4, {where}",
        sizes=Scales(**sizes),
        study=lambda size: study(replace(size, data=size.data or (data if size.scale != "smoke" else None))),
        run=best_and_worst.run,
        draw={
            "best-and-worst": Curves(
                "train_accuracy",
                "weight_norm",
                "mean_overlap",
                "linear_dependence",
                title="Best and worst of {runs} plain {layers}-layer networks (mean over layers)",
                view=best_and_worst.groups,
            ),
            **eigenvalue_shares.shares(
                "Eigenvalues of the best and the worst of {runs} networks", best_and_worst.groups
            ),
        },
        needs=protocol.STARTED,
        claims={
            "norms": claim("The best networks have larger incoming-weight norms", best_minus_worst(norms) > 0),
            "overlap": claim("The best networks have less overlap", best_minus_worst(overlap) < 0),
            "linear-dependence": claim(
                "The best networks are less linearly dependent", best_minus_worst(dependence) < 0
            ),
            **eigenvalue_shares.by_both(
                "degenerate",
                "The best networks are less degenerate",
                "degenerate",
                lambda v: best_minus_worst(of(v)) < 0,
            ),
            "norms-correlation": correlated(
                "Networks that train better have larger incoming-weight norms", with_speed(norms) > 0
            ),
            "overlap-correlation": correlated("Networks that train better have less overlap", with_speed(overlap) < 0),
            "linear-dependence-correlation": correlated(
                "Networks that train better are less dependent", with_speed(dependence) < 0
            ),
            "gradients-vanish": claim(
                "At the start gradients of plain networks vanish toward early layers",
                average(first_over_last(), "plain") < log10(1 / 2),
                source="orhan2018 §3 (i)",
            ),
            "gradients-alike": claim(
                "At the start gradients vanish alike in the best and in the worst",
                best_minus_worst(first_over_last()).between(-ALIKE, ALIKE),
                source="orhan2018 §3 (i)",
            ),
        },
        differs=(
            *differs,
            *differences.ESTIMATED,
            f"Best and worst are at least {best_and_worst.FEWEST} runs each, of six or more, also where a tenth is "
            "fewer.",
            "The paper says 'similarly' of the gradients at the start: within a factor of two is our reading.",
            differences.damped,
            *differences.IMAGES,
        ),
    )


FIGURE = figure(
    "orhan2018/fig4",
    "Best and worst of equal plain 30-layer networks: norms, overlap, linear dependence",
    "figure 4",
    SIZES,
)
