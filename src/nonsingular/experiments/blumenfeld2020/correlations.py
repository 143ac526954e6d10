"""ConstNet's weight correlations over training, from identical features and from a He start (figures 3, 4 and 7)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.blumenfeld2020.protocol import Measure
from nonsingular.experiments.claims import Effect, Region, difference, mean
from nonsingular.experiments.effects import per_run

DEPTH = 13
BOTH = ("random-order", "constnet-he")
"""The two starts that are compared."""

BY_CHANCE = Region(low=2 / 11)
"""Of ``grouped``: more than 3 random groups of 12 layers would give, 2 of 11 degrees of freedom."""


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
        return mean(end / start, note=note)

    return effect


def falls(variable: str) -> Measure:
    """The mean over layers at the last epoch less that at the first, from identical features."""

    def effect(results: xr.Dataset) -> Effect:
        values = per_run(results, variable, BOTH[0]).mean("layer")
        return difference(values.isel(epoch=-1), values.isel(epoch=0), paired=True)

    return effect


def grouped(variable: str) -> Measure:
    """Share of the variance of correlations over layers that lies between the stages (1: layers move as groups).

    At each run's epoch of largest variance, when the symmetry breaks; three random groups of layers would give about
    0.18 (2 of 11 degrees of freedom).
    """

    def effect(results: xr.Dataset) -> Effect:
        values = per_run(results, variable, BOTH[0])
        stages = groups()
        inside = xr.concat([values.sel(layer=list(layers)).var("layer") for layers in stages.values()], "stage")
        all_layers = values.sel(layer=[n for layers in stages.values() for n in layers])
        total = all_layers.var("layer")
        within = inside.mean("stage")
        when = total.fillna(0).argmax("epoch")
        share = 1 - within.isel(epoch=when) / total.isel(epoch=when)
        epochs = sorted({int(e) for e in results.epoch.values[when.values]})
        return mean(share, note=f"at epochs {epochs}, where layers differ most")

    return effect
