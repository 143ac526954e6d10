"""Variables read from the results of a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NotMeasured

ROUNDING = 1e-9
"""Identities between float64 numbers of order one hold to better than this."""
FLOAT32_ROUNDING = 1e-6
"""Those between float32 numbers."""


def require(results: xr.Dataset, *names: str) -> None:
    """Refuse results that lack a variable.

    Raises:
        NotMeasured: one of the names is not among the results.
    """
    for name in names:
        if name not in results:
            raise NotMeasured(f"{name} is not among the results")


def selected(results: xr.Dataset, variable: str, **where: Any) -> xr.DataArray:
    """A variable at labels along dimensions, as ``xarray.DataArray.sel`` takes them.

    Raises:
        NotMeasured: the results lack the variable, or one of the labels.
    """
    require(results, variable)
    try:
        return results[variable].sel(where)
    except KeyError:
        labels = ", ".join(map(str, where.values()))
        raise NotMeasured(f"{variable} of {labels} is not among the results") from None


def per_run(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """A variable of one network with dimensions ``run``, ``epoch`` and perhaps ``layer``.

    Raises:
        NotMeasured: the results lack the network or the variable, or hold nothing but NaN for it.
    """
    values = selected(results, variable, network=network)
    if not np.isfinite(values.values).any():
        raise NotMeasured(f"{variable} of {network} was never finite")
    return values
