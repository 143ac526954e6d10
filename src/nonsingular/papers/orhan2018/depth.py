"""Where trainability ends: plain and residual networks of 2 to 50 layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.effects import gradient_decay, per_run, speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import faster, require_started
from nonsingular.papers.orhan2018.differs import DAMPED, EVALUATED_ON
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("plain", "residual")
DEPTHS = (2, 5, 10, 20, 30, 50)
SIZES = {"smoke": (2, 2), "laptop": (3, 8), "overnight": (5, 20), "paper": (20, 100)}
"""Scale -> runs and epochs."""


def name(kind: str, depth: int) -> str:
    """The label of a network in the results."""
    return f"{kind}-{depth}"


def specs(scale: str, data: str | None = None) -> Spec:
    """Networks of 128 units, trained as in the paper's other figures."""
    images = protocol.images(data, scale)
    runs, epochs = at_scale(SIZES, scale)
    return Spec(
        "orhan2018/depth",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(name(k, d), named(k, depth=d)) for k in KINDS for d in DEPTHS),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None, "gradient_norm": (0,)},
    )


def gains(results: xr.Dataset, kind: str) -> xr.DataArray:
    """Training accuracy gained by the last epoch, in percentage points, by ``run`` and ``depth``.

    A run that diverged has gained nothing.
    """
    each = [per_run(results, "train_accuracy", name(kind, d)).drop_vars("network") for d in DEPTHS]
    accuracy = xr.concat(each, "depth").assign_coords(depth=list(DEPTHS))
    return 100 * (accuracy.isel(epoch=-1, drop=True) - accuracy.isel(epoch=0, drop=True)).fillna(0.0)


def trainable_depth(results: xr.Dataset, kind: str) -> xr.DataArray:
    """Depth at which training ends, by run: where the gain falls below half of the best gain of any network.

    The gain is interpolated between depths on a logarithmic scale. A run whose gain never falls so far counts with the
    largest depth, one that never gains so much with the smallest: the true end lies beyond.
    """
    best = np.maximum.reduce([gains(results, k).max("depth") for k in KINDS])
    share = (gains(results, kind) / np.where(best > 0, best, np.inf)).transpose("run", "depth")
    return xr.DataArray([_crossing(row) for row in share.values], {"run": share.run}, "run")


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


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy gained, and the decay of gradients at the start, against depth."""
    kinds = [k for k in KINDS if all(name(k, d) in results.network for d in DEPTHS)]
    if not kinds:
        return {}
    gained = xr.concat([gains(results, k) for k in kinds], xr.Variable("network", kinds))
    ends = {}
    if len(kinds) == len(KINDS):
        ends = {k: (e.value, e.low, e.high) for k in KINDS for e in [mean(trainable_depth(results, k))]}
    ratio = xr.concat([_decays(results, k) for k in kinds], xr.Variable("network", kinds))
    scans = [
        Scan(gained, "training accuracy gained (points)", ends=ends),
        Scan(10**ratio, "gradient at the start: first / last layer", log=True, marks={"equal": 1.0}),
    ]
    figure = over_numbers(
        scans,
        "depth",
        "hidden layers",
        "Depth with and without skips; vertical lines: where half the best gain is lost, 95 % interval",
        base=2,
        attributes=results.attrs,
    )
    return {"depth": figure}


def _decays(results: xr.Dataset, kind: str) -> xr.DataArray:
    each = [gradient_decay(results, name(kind, d)).drop_vars("network") for d in DEPTHS]
    return xr.concat(each, "depth").assign_coords(depth=list(DEPTHS))


def _trainable_depth(results: xr.Dataset, kind: str) -> xr.DataArray:
    """As ``trainable_depth``, where any network has trained."""
    ends = trainable_depth(results, kind)
    require_started(results, *(name(k, d) for k in KINDS for d in DEPTHS))
    return ends


def _limit(results: xr.Dataset, kind: str) -> Effect:
    ends = _trainable_depth(results, kind)
    beyond = int((ends == DEPTHS[-1]).sum())
    note = f"{beyond} of {ends.size} runs train at every depth"
    return mean(ends, note=note, within=(DEPTHS[0], DEPTHS[-1]))


def _loss_through_depth(results: xr.Dataset) -> Effect:
    """What residual networks lose from 10 to 50 layers, less half of what plain ones lose."""
    lost = {k: speed(results, name(k, 10)) - speed(results, name(k, 50)) for k in KINDS}
    require_started(results, *(name(k, 10) for k in KINDS))
    return mean(lost["residual"] - lost["plain"] / 2, within=(-150, 150))


def _outlasts(results: xr.Dataset) -> Effect:
    ends = [_trainable_depth(results, kind) for kind in ("residual", "plain")]
    most = DEPTHS[-1] - DEPTHS[0]
    return difference(*ends, paired=True, within=(-most, most))


SOURCE = "orhan2018 §1, §2.3 (skips make very deep networks trainable); the depths are ours"


def _claim(id: str, statement: str, effect: object, region: Region, unit: str = "percentage points") -> Claim:
    return Claim(f"orhan2018/depth/{id}", SOURCE, statement, effect, region, unit)  # type: ignore[arg-type]


def _ahead(depth: int) -> Claim:
    return _claim(
        f"residual-ahead-{depth}",
        f"Residual networks of {depth} layers train faster than plain ones (mean training accuracy over the epochs).",
        lambda r: faster(r, name("residual", depth), name("plain", depth)),
        POSITIVE,
    )


CLAIMS = (
    *(_ahead(depth) for depth in DEPTHS),
    _claim(
        "plain-falls",
        "Plain networks train worse with 50 layers than with 10 (mean training accuracy over the epochs).",
        lambda r: faster(r, name("plain", 50), name("plain", 10)),
        NEGATIVE,
    ),
    _claim(
        "residual-loses-less",
        "From 10 to 50 layers residual networks lose less than half of what plain ones lose "
        "(loss minus half of the plain networks' loss, in mean training accuracy).",
        _loss_through_depth,
        NEGATIVE,
    ),
    _claim(
        "plain-ends",
        "Training of plain networks ends before 50 layers (depth at which half of the best gain in accuracy is lost).",
        lambda r: _limit(r, "plain"),
        Region(high=float(DEPTHS[-1])),
        "layers",
    ),
    _claim(
        "residual-outlasts-plain",
        "Residual networks train at depths where plain ones do not (difference between the depths at which half of "
        "the best gain in accuracy is lost).",
        _outlasts,
        POSITIVE,
        "layers",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/depth",
        "Where trainability ends: plain and residual networks of 2 to 50 layers",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=("The paper has no such figure: it trains 20 and 30 layers.", DAMPED, EVALUATED_ON),
    ),
)
