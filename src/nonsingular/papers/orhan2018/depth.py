"""Where trainability ends: plain and residual networks of 2 to 50 layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.experiments.effects import per_run
from nonsingular.experiments.figure import Figure, OverNumbers
from nonsingular.experiments.quantities import SPEED, Quantity, first_over_last
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import Measure, average, faster, larger, question, weighted_sum
from nonsingular.networks import named
from nonsingular.papers.orhan2018.parts import protocol
from nonsingular.papers.orhan2018.parts.differences import DAMPED, EVALUATED_ON, scaled
from nonsingular.training import Member

KINDS = ("plain", "residual")
DEPTHS = (2, 5, 10, 20, 30, 50)
SERIES = {kind: {f"{kind}-{depth}": float(depth) for depth in DEPTHS} for kind in KINDS}
ENDED = 40
"""Layers, between the last two depths: a run that ends nowhere counts with the largest, which no mean exceeds."""
ALL = tuple(name for series in SERIES.values() for name in series)


def gain(results: xr.Dataset, network: str) -> xr.DataArray:
    """Training accuracy gained by the last epoch, in percentage points; a run that diverged has gained nothing."""
    accuracy = per_run(results, "train_accuracy", network)
    return 100 * (accuracy.isel(epoch=-1, drop=True) - accuracy.isel(epoch=0, drop=True)).fillna(0.0)


GAIN = Quantity(gain, "training accuracy gained", "percentage points", (-100.0, 100.0), tells_training=True)


def trainable_depth(results: xr.Dataset, kind: str) -> xr.DataArray:
    """Depth at which training ends, by run: where the gain falls below half of the best gain of any network.

    The gain is interpolated between depths on a logarithmic scale. A run whose gain never falls so far counts with the
    largest depth, one that never gains so much with the smallest: the true end lies beyond.
    """
    gains = {k: np.stack([GAIN(results, name).values for name in SERIES[k]], axis=1) for k in KINDS}
    best = np.maximum.reduce([g.max(1) for g in gains.values()])
    share = gains[kind] / np.where(best > 0, best, np.inf)[:, None]
    return xr.DataArray([_crossing(row) for row in share], dims="run")


def _crossing(share: np.ndarray, level: float = 0.5) -> float:
    """First depth at which the interpolated share falls below the level."""
    below = np.flatnonzero(share < level)
    if not below.size:
        return float(DEPTHS[-1])
    k = int(below[0])
    if k == 0:
        return float(DEPTHS[0])
    part = (share[k - 1] - level) / (share[k - 1] - share[k])
    return float(np.exp(np.interp(part, [0, 1], np.log([DEPTHS[k - 1], DEPTHS[k]]))))


TRAINABLE_DEPTH = Quantity(
    trainable_depth,  # of ``plain`` or ``residual``: of a kind, from its networks of all depths
    "depth at which half of the best gain in accuracy is lost",
    "layers",
    (DEPTHS[0], DEPTHS[-1]),
    tells_training=True,
)


def of_kinds(measure: Measure) -> Measure:
    """A measure of ``plain`` and ``residual`` as kinds, which needs one of all networks to have trained."""
    return replace(measure, networks=ALL)


FIGURE = Figure(
    "orhan2018/depth",
    "Where trainability ends: plain and residual networks of 2 to 50 layers",
    source="orhan2018 §1, §2.3 (skips make very deep networks trainable); the depths are ours",
    sizes=Scales(runs=(2, 3, 5, 20), epochs=(2, 8, 20, 100)),
    study=lambda size: protocol.study(
        size,
        [Member(f"{kind}-{d}", named(kind, depth=d)) for kind in KINDS for d in DEPTHS],
        {"train_accuracy": None, "gradient_norm": (0,)},
    ),
    draw={
        "depth": OverNumbers(
            GAIN,
            first_over_last(),
            series=SERIES,
            label="hidden layers",
            title="Depth with and without skips, {epochs} epochs",
            base=2,
            ends=TRAINABLE_DEPTH,
        )
    },
    needs=protocol.STARTED,
    claims={
        **{
            f"residual-ahead-{d}": question(
                f"Residual networks of {d} layers train faster than plain ones",
                faster(f"residual-{d}", f"plain-{d}") > 0,
            )
            for d in DEPTHS
        },
        "plain-falls": question(
            "Plain networks train worse with 50 layers than with 10", faster("plain-50", "plain-10") < 0
        ),
        "residual-loses-less": question(
            "From 10 to 50 layers residual networks lose less than half of what plain ones lose",
            weighted_sum(SPEED, {"residual-10": 1, "residual-50": -1, "plain-10": -0.5, "plain-50": 0.5}) < 0,
        ),
        "plain-ends": question(
            f"Training of plain networks ends before {ENDED} layers",
            of_kinds(average(TRAINABLE_DEPTH, "plain")) < ENDED,
        ),
        "residual-outlasts-plain": question(
            "Residual networks train at depths where plain ones do not",
            of_kinds(larger(TRAINABLE_DEPTH, "residual", "plain")) > 0,
        ),
    },
    differs=("The paper has no such figure: it trains 20 and 30 layers.", scaled, DAMPED, EVALUATED_ON),
)
