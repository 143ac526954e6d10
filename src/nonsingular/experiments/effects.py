"""Variables read from the results of a study, and effects that several claims share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, exactly, mean

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


Measure = Callable[[xr.Dataset, str], xr.DataArray]
"""(results, network) -> one number a run."""


def slope(results: xr.Dataset, places: Mapping[str, float], measure: Measure) -> Effect:
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


def hessian_gap(results: xr.Dataset) -> Effect:
    """The largest relative distance over the random points."""
    require(results, "hessian_gap")
    return exactly(float(results.hessian_gap.max()))
