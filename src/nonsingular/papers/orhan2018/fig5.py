"""Figure 5: bias regularisation and the malicious start on 30 layers; how degenerate each network's Hessian is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, Region, mean
from nonsingular.experiments.effects import speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import (
    PERCENTAGES,
    faster,
    larger_share,
    largest,
    require_started,
    smallest,
)
from nonsingular.papers.orhan2018.differs import DAMPED, ESTIMATED, EVALUATED_ON, both_data_sets
from nonsingular.papers.orhan2018.fig6 import BATCH, BIAS, PENALTY_DIFFERS, STRENGTH, bias_penalty, require_treated
from nonsingular.papers.orhan2018.spectra import counted_over_epochs
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import BiasPenalty, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {
    "smoke": (2, 2, (2,)),
    "laptop": (4, 24, (2, 8, 24)),
    "overnight": (10, 40, (1, 3, 10, 40)),
    "paper": (50, 100, (1, 3, 10, 30, 100)),
}
"""Scale -> runs, epochs, and the epochs after which the Hessian's spectrum is estimated."""

COUNTED = {"laptop": (24,), "overnight": (40,), "paper": (3, 30, 100)}
"""Epochs after which eigenvalues are counted by Lanczos too."""


def specs(scale: str, data: str | None = None) -> Spec:
    """30-layer networks, 50 runs on CIFAR-10 and CIFAR-100 in the paper."""
    images = protocol.images(data, scale)
    runs, epochs, spectra = at_scale(SIZES, scale)
    plain, residual, malicious = (named(name, depth=30) for name in ("plain", "residual", "malicious"))
    return Spec(
        "orhan2018/fig5",
        scale,
        runs=runs,
        data=images,
        networks=(
            Member("residual", residual),
            Member("malicious", malicious),
            Member("bias-regularised", plain, bias_penalty(images.name)),
            Member("bias-l2", plain, BiasPenalty(strength=STRENGTH)),
            Member("plain", plain),
        ),
        training=protocol.training(images, epochs, BATCH[scale]),
        instruments={"train_accuracy": None, "bias_gap": None, "below_epsilon": (0,), "hessian_moments": spectra}
        | ({} if scale == "smoke" else {"hessian_few_lanczos": COUNTED[scale]}),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a or b (whichever data set), and c."""
    accuracy = Panel("train_accuracy", LABELS["train_accuracy"], percent=True)
    degenerate = Panel("degenerate_moments", LABELS["degenerate_moments"], percent=True)
    measured = results.dropna("epoch", how="all", subset=["degenerate_moments"])
    return {
        "accuracy": over_epochs(results, [accuracy], "30-layer networks"),
        "degeneracy": over_epochs(measured, [degenerate], "30-layer networks"),
        **counted_over_epochs(results, "30-layer networks"),
    }


def _ahead_of(results: xr.Dataset, first: str, others: Sequence[str]) -> Effect:
    """Training speed of one network less that of the fastest of the others, named in the note."""
    found = {f"least ahead of {name}": faster(results, first, name) for name in others}
    require_treated(results, *(n for n in (first, *others) if n == BIAS))
    return smallest(found)


def _behind_all(results: xr.Dataset, last: str, others: Sequence[str]) -> Effect:
    """Training speed of the slowest of the others, named in the note, less that of one network."""
    found = {f"{name} is least ahead": faster(results, name, last) for name in others}
    require_treated(results, *(n for n in (last, *others) if n == BIAS))
    return smallest(found)


def _costs_little(results: xr.Dataset) -> Effect:
    """The larger of what the malicious start gains, and of what it costs beyond ``LITTLE`` of the residual lead.

    Below zero where it costs something, but little.
    """
    residual, malicious, plain = (speed(results, name) for name in ("residual", "malicious", "plain"))
    require_started(results, "residual", "malicious", "plain")
    cost, lead = residual - malicious, residual - plain
    most = 100 * (1 + LITTLE)
    return largest(
        {
            "cost less half the lead": mean(cost - LITTLE * lead, within=(-most, most)),
            "gain": mean(-cost, within=PERCENTAGES),
        }
    )


def _more_degenerate(results: xr.Dataset, variable: str, first: str, second: str) -> Effect:
    found = larger_share(results, variable, first, second)
    require_treated(results, *(n for n in (first, second) if n == BIAS))
    return found


def _speed_claim(name: str, statement: str, effect: object, region: Region) -> Claim:
    return Claim(
        f"orhan2018/fig5/{name}",
        "orhan2018 §2.5, §2.6, figure 5a, b",
        f"{statement} (mean training accuracy over the epochs).",
        effect,  # type: ignore[arg-type]
        region,
        "percentage points",
    )


MORE = Region(low=0.0)
NO_MORE = Region(high=1.0)  # not a percentage point ahead
LITTLE = 0.5
"""Share of the residual networks' lead over plain ones that "a small adverse effect" may take; the number is ours."""

NETWORKS = ("residual", "malicious", BIAS, "bias-l2", "plain")

CLAIMS = (
    _speed_claim(
        "residual-best",
        "Residual networks perform best: ahead of all others, also of the nearest",
        lambda r: _ahead_of(r, "residual", NETWORKS[1:]),
        MORE,
    ),
    _speed_claim(
        "plain-worst",
        "Plain networks perform worst: behind all others, also behind the nearest",
        lambda r: _behind_all(r, "plain", NETWORKS[:-1]),
        MORE,
    ),
    _speed_claim(
        "residual-above-plain",
        "Residual networks are ahead of plain ones",
        lambda r: faster(r, "residual", "plain"),
        MORE,
    ),
    _speed_claim(
        "bias-beats-plain",
        "Bias-regularised networks are ahead of plain ones",
        lambda r: _ahead_of(r, BIAS, ("plain",)),
        MORE,
    ),
    _speed_claim(
        "l2-no-help",
        "L2 regularisation of the biases is no help: it is not ahead of plain",
        lambda r: faster(r, "bias-l2", "plain"),
        NO_MORE,
    ),
    _speed_claim(
        "malicious-costs-little",
        "The malicious start costs something, but little: less than half of the residual networks' lead over plain "
        "ones; the larger of what it gains, and of its cost less half the lead",
        _costs_little,
        Region(high=0.0),
    ),
    *(
        Claim(
            f"orhan2018/fig5/{first}-more-degenerate" + ("-lanczos" if method == "lanczos" else ""),
            "orhan2018 §2.6, figure 5c" + ("; counted otherwise than there" if method == "lanczos" else ""),
            f"The Hessian of {first} networks is more degenerate than that of {second} ones "
            f"(share of eigenvalues within 0.1 of zero, {how}).",
            partial(_more_degenerate, variable=f"degenerate_{method}", first=first, second=second),
            MORE,
            "percentage points",
        )
        for method, how in (("moments", "by the paper's moments"), ("lanczos", "counted by Lanczos"))
        for first, second in (("plain", BIAS), (BIAS, "residual"))
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig5",
        "Bias regularisation and the malicious start on 30 layers",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            *PENALTY_DIFFERS,
            "The penalty that breaks no symmetry (mean and deviation 0) has the same strength.",
            "What the paper calls a small adverse effect is put at less than half of the residual networks' lead.",
            "The malicious start leaves the first layer and the readout alone, which have no skip to cancel.",
            both_data_sets("orhan2018/fig5"),
            ESTIMATED,
            DAMPED,
            EVALUATED_ON,
        ),
    ),
)
