"""Effects that several claims about population studies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, Region, difference, exactly, mean
from nonsingular.intervals import EVERYWHERE

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


def larger(
    results: xr.Dataset,
    variable: str,
    first: str,
    second: str,
    scale: float = 1.0,
    within: tuple[float, float] = EVERYWHERE,
) -> Effect:
    """Difference of a variable between two networks, averaged over layers and all epochs after the start."""
    a, b = (
        scale * per_run(results, variable, name).isel(epoch=slice(1, None)).mean(["epoch", *_layer(results, variable)])
        for name in (first, second)
    )
    return difference(a, b, within=within)


Measure = Callable[[xr.Dataset, str], xr.DataArray]
"""(results, network) -> one number a run."""


def slope(results: xr.Dataset, places: Mapping[str, float], measure: Measure = speed) -> Effect:
    """How a measure changes along a series of networks: the least-squares slope of each run, averaged over runs.

    Args:
        results: of a study.
        places: network -> its place in the series, such as its depth.
        measure: what is followed; networks in which a run diverged are left out of that run's slope.
    """
    values = np.stack([np.asarray(measure(results, name), float) for name in places], axis=1)
    x = np.array(list(places.values()))
    finite = np.isfinite(values)
    slopes = [np.polyfit(x[ok], y[ok], 1)[0] if ok.sum() > 1 else np.nan for y, ok in zip(values, finite, strict=True)]
    return mean(slopes)


def log_gradient(results: xr.Dataset, network: str, epoch: int = 0) -> xr.DataArray:
    """log10 of the gradient norm by layer and run; NaN where a gradient is zero.

    Raises:
        NotMeasured: nothing was measured at that epoch.
    """
    norms = per_run(results, "gradient_norm", network)
    if epoch not in norms.epoch:
        raise NotMeasured(f"needs {epoch} epochs")
    norms = norms.sel(epoch=epoch)
    return xr.apply_ufunc(np.log10, norms.where(norms > 0))


def gradient_decay(results: xr.Dataset, network: str, epoch: int = 0) -> xr.DataArray:
    """log10 of the gradient norm at the first over that at the last hidden layer, for each run."""
    log = log_gradient(results, network, epoch).dropna("layer", how="all")  # shallower networks have fewer layers
    return log.isel(layer=0, drop=True) - log.isel(layer=-1, drop=True)


HALF = float(np.log10(0.5))
NO_DECAY = Region(low=HALF)
"""Of ``gradient_decay``: the first layer's gradient is at least half of the last one's."""


def _layer(results: xr.Dataset, variable: str) -> list[str]:
    return ["layer"] if "layer" in results[variable].dims else []


def hessian_gap(results: xr.Dataset) -> Effect:
    """The largest relative distance over the random points."""
    require(results, "hessian_gap")
    return exactly(float(results.hessian_gap.max()))
