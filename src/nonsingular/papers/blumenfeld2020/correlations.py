"""ConstNet's weight correlations over training, from identical features and from a He start (figures 3, 4 and 7)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from nonsingular.experiments.claims import Effect, NotMeasured, Region, difference, mean
from nonsingular.experiments.effects import per_run
from nonsingular.papers.blumenfeld2020.protocol import Measure

DEPTH = 13
BOTH = ("computation-noise", "constnet-he")
"""The two starts that are compared."""

STEPS = Region(low=2 / 3)
"""Of ``grouped``: steps at the borders are more than twice those inside; half is a smooth trend's share."""

FORMS = {"correlation": "cosine", "centred": "centred"}
"""How a correlation is measured: as the text defines it, and as the authors measured it. Suffix -> name."""


def groups() -> dict[str, tuple[int, ...]]:
    """Layers by stage, counted from 1: the input layer has no skip and is left out."""
    size = (DEPTH - 1) // 3
    return {f"stage {s + 1}": tuple(range(2 + s * size, 2 + (s + 1) * size)) for s in range(3)}


def distance(results: xr.Dataset, variable: str, epoch: int) -> xr.DataArray:
    """Mean over layers of the distance between the correlations from both starts, one number a run."""
    zero, he = (per_run(results, variable, name).isel(epoch=epoch) for name in BOTH)
    return xr.DataArray(np.abs(zero - he)).mean("layer")


def converge(variable: str) -> Measure:
    """The distance between both starts at the last epoch over that at the first."""

    def effect(results: xr.Dataset) -> Effect:
        end, start = distance(results, variable, -1), distance(results, variable, 0)
        note = f"{float(start.mean()):.2f} apart at the start, {float(end.mean()):.2f} at the end"
        return mean(end / start, note=note, within=(0, np.inf))

    return effect


def falls(variable: str) -> Measure:
    """The mean over layers at the last epoch less that at the first, from identical features."""

    def effect(results: xr.Dataset) -> Effect:
        values = per_run(results, variable, BOTH[0]).mean("layer")
        return difference(values.isel(epoch=-1), values.isel(epoch=0), paired=True, within=(-2, 2))

    return effect


APART = 1e-6
"""Standard deviation over layers below which correlations differ by rounding alone."""


def grouped(variable: str) -> Measure:
    """Steps of a correlation at the stages' borders, over those at the borders and inside (1: layers move as groups).

    At each run's epoch of largest variance over layers, when the symmetry breaks. A step is the distance between the
    means over half a stage before and after: at the two borders, and in the middle of each of the three stages. A trend
    that is smooth over all layers has equal steps, a share of 1/2, and so have layers that differ without order.
    """

    def effect(results: xr.Dataset) -> Effect:
        layers = [n for stage in groups().values() for n in stage]
        values = per_run(results, variable, BOTH[0]).sel(layer=layers)
        spread = values.std("layer").fillna(0)
        when = spread.argmax("epoch")
        if not (spread.max("epoch") > APART).any():
            raise NotMeasured(f"{variable} is the same in all layers: no symmetry was broken")
        chosen = values.isel(epoch=when).where(spread.isel(epoch=when) > APART).transpose("run", "layer").values
        border, inside = steps(chosen, len(layers) // len(groups()))
        epochs = sorted({int(e) for e in results.epoch.values[when.values]})
        note = f"at epochs {epochs}, where layers differ most"
        with np.errstate(invalid="ignore"):
            share = border / (border + inside)
        return mean(share, note=note, within=(0, 1))

    return effect


def steps(values: Float[np.ndarray, "run layer"], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean step at the borders of stages of ``size`` layers, and mean step in their middles, one number a run each."""
    half = size // 2
    means = np.stack([values[:, i : i + half].mean(1) for i in range(0, values.shape[1], half)], 1)
    found = np.abs(np.diff(means, axis=1))
    return found[:, 1::2].mean(1), found[:, ::2].mean(1)
