"""Effects that several claims about population studies share."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, difference, exactly

ROUNDING = 1e-9
"""Identities between float64 numbers of order one hold to better than this."""


def require(results: xr.Dataset, *names: str) -> None:
    """Refuse results that lack a variable.

    Raises:
        NotMeasured: one of the names is not among the results.
    """
    for name in names:
        if name not in results:
            raise NotMeasured(f"{name} is not among the results")


def per_run(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """A variable of one network with dimensions ``run``, ``epoch`` and perhaps ``layer``.

    Raises:
        NotMeasured: the results lack the network or the variable, or hold nothing but NaN for it.
    """
    require(results, variable)
    if network not in results.network.values:
        raise NotMeasured(f"network {network} is not among the results")
    values = results[variable].sel(network=network)
    if not np.isfinite(values).any():
        raise NotMeasured(f"{variable} of {network} was never finite")
    return values


def speed(results: xr.Dataset, network: str) -> xr.DataArray:
    """Training speed of each run: its training accuracy in percent, averaged over all epochs after the start."""
    return 100 * per_run(results, "train_accuracy", network).isel(epoch=slice(1, None)).mean("epoch")


def faster(results: xr.Dataset, first: str, second: str) -> Effect:
    """Difference in training speed, in percentage points."""
    return difference(speed(results, first), speed(results, second))


def larger(results: xr.Dataset, variable: str, first: str, second: str, scale: float = 1.0) -> Effect:
    """Difference of a variable between two networks, averaged over layers and all epochs after the start."""
    a, b = (
        scale * per_run(results, variable, name).isel(epoch=slice(1, None)).mean(["epoch", *_layer(results, variable)])
        for name in (first, second)
    )
    return difference(a, b)


def _layer(results: xr.Dataset, variable: str) -> list[str]:
    return ["layer"] if "layer" in results[variable].dims else []


def hessian_gap(results: xr.Dataset) -> Effect:
    """The largest relative distance over the random points."""
    require(results, "hessian_gap")
    return exactly(float(results.hessian_gap.max()))
