"""§4: ConstNet from identical features at higher and higher learning rates, beside its He start.

ConstNet (``fig3``) is trained at six learning rates, from identical features with noise of the computation
(``identical rate 0.1``) and from He's random start (``He rate 0.1``). The highest rate at which a run still trains is
compared. A run is a seed, the same for all rates.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, difference, mean
from nonsingular.experiments.figure import Figure, OverNumbers
from nonsingular.experiments.fit import fitted
from nonsingular.experiments.quantities import reached
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim, measured
from nonsingular.networks import ConstNetSpec
from nonsingular.papers.blumenfeld2020.parts import protocol
from nonsingular.papers.blumenfeld2020.parts.constnet import BOTH
from nonsingular.papers.blumenfeld2020.parts.protocol import DIFFERS, NOISE, WIDENING, WIDTH
from nonsingular.training import Member

RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STARTS = {"identical": "zero", "He": "he"}
TRAINS = 25.0
"""Percent of the way from guessing to no error from which on a network trains; identical features alone reach 16."""


def name(start: str, rate: float) -> str:
    """A network's name."""
    return f"{start} rate {rate:g}"


WHERE = "where most runs of both starts train at some rate and not all at every rate"


def study(size: Size) -> Spec:
    """Both starts at every rate; identical features with noise of the computation."""
    return protocol.study(
        size,
        {
            Member(
                name(start, rate),
                ConstNetSpec(13, size.width, size.widening, start=STARTS[start]),
                breaker=NOISE if start == "identical" else None,
            ): {"learning_rate": rate}
            for start in STARTS
            for rate in RATES
        },
    )


def highest(results: xr.Dataset, start: str) -> np.ndarray:
    """log10 of the highest rate at which each run of a start trains; minus infinity where it trains at none.

    Raises:
        NotMeasured: a rate was left out.
    """
    came = np.stack([fitted(results, name(start, rate)) for rate in RATES], axis=1)  # [run, rate]
    return np.where(came > TRAINS, np.log10(RATES), -np.inf).max(axis=1)


def _both(results: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """``highest`` of identical features and of the He start.

    Raises:
        NotMeasured: a start trains at no rate, or both at every rate: there was no time, or higher ones are needed.
    """
    zero, he = (highest(results, start) for start in STARTS)
    for start, found in zip(STARTS, (zero, he), strict=True):
        if np.isfinite(found).mean() < 0.5:  # identical features need longer at any rate
            raise NotMeasured(f"most runs of {start} train at none of the rates: there was no time to")
    if (he == np.log10(RATES[-1])).all() and (zero == he).all():
        raise NotMeasured(f"both starts train at every rate up to {RATES[-1]:g}")
    return zero, he


@measured(
    f"log10 of the highest rate at which a run comes more than {TRAINS:g} % of the way, {WHERE}: identical minus He",
    "log10",
)
def withstood(results: xr.Dataset) -> Effect:
    """The highest rate of identical features less that of the He start, in the same runs."""
    below = np.log10(RATES[0]) - np.log10(RATES[1] / RATES[0])  # one step below the lowest stands for none
    zero, he = (np.maximum(rates, below) for rates in _both(results))
    most = np.log10(RATES[-1]) - below
    return difference(zero, he, paired=True, within=(-most, most))


@measured(
    f"how far identical features come at that rate, on the way from guessing = 0 to no error = 100, {WHERE}",
    "percent of the way",
)
def left(results: xr.Dataset) -> Effect:
    """How far identical features come at the highest rate that the He start of the same run withstands."""
    _, he = _both(results)
    came = np.stack([fitted(results, name("identical", rate)) for rate in RATES], axis=1)
    place = np.abs(np.log10(RATES)[None] - np.where(np.isfinite(he), he, 0)[:, None]).argmin(1)
    chosen = np.where(np.isfinite(he), came[np.arange(len(he)), place], np.nan)
    return mean(chosen, note=f"at rates {sorted({RATES[p] for p in place})}", within=(-100.0, 100.0))


FIGURE = Figure(
    "blumenfeld2020/learning-rates",
    "ConstNet from identical features at high learning rates",
    source="blumenfeld2020 §4",
    sizes=Scales(runs=(2, 3, 4, 4), epochs=(2, 30, 5, 200), width=WIDTH, widening=WIDENING),
    study=study,
    draw={
        "rates": OverNumbers(
            reached(),
            series={c: {name(start, r): r for r in RATES} for c, start in zip(BOTH, STARTS, strict=True)},
            label="learning rate",
            title="ConstNet from identical features and from He at {epochs} epochs",
        )
    },
    claims={
        "withstands-less": claim("Identical features withstand lower learning rates than the He start", withstood < 0),
        "fails-where-he-trains": claim(
            "At the highest rate that the He start withstands identical features fail completely", left < TRAINS / 2
        ),
    },
    differs=(*DIFFERS, f"The text names no rates: {', '.join(f'{rate:g}' for rate in RATES)}."),
)
