"""Where trainability ends: the depth at which half of the gain in accuracy is lost, of each kind of networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.experiments.effects import per_run
from nonsingular.experiments.quantities import Quantity
from nonsingular.experiments.verbs import Measure

KINDS = ("plain", "residual")
DEPTHS = (2, 5, 10, 20, 30, 50)
SERIES = {kind: {f"{kind}-{depth}": float(depth) for depth in DEPTHS} for kind in KINDS}
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
