"""What figure 8 measures of skip matrices: their eigenvalues, and how fast those of correlations fall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from nonsingular.experiments.effects import per_run
from nonsingular.experiments.quantities import START, Quantity, of
from nonsingular.experiments.spec import LAST
from nonsingular.experiments.verbs import Test, across


def off_circle(results: xr.Dataset, network: str) -> xr.DataArray:
    """The largest distance of an eigenvalue's modulus from 1 over a run's matrices."""
    return abs(per_run(results, "skip_modulus", network).isel(epoch=0) - 1).max(["layer", "mode"])


OFF_CIRCLE = Quantity(
    off_circle, "largest | |eigenvalue| - 1 | of the skip matrices", within=(0.0, np.inf), before=True
)
LAST_OVER_FIRST = of("activation_norm", epoch=START, layer=LAST, log=True) - of(
    "activation_norm", epoch=START, layer=1, log=True
)
"""Of activation norms before training, in log10: how much they grow through the layers."""


def decay_rate(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """Rate at which the eigenvalues fall, ``-d log(eigenvalue) / d index`` by least squares, of each run's matrices."""
    log = xr.apply_ufunc(np.log, per_run(results, variable, network).isel(epoch=0))
    index = log.mode - log.mode.mean()
    return -((log * index).sum("mode", skipna=False) / (index**2).sum()).mean("layer")


def falls_as_tau(variable: str, taus: Mapping[str, float]) -> Test:
    """That the rate is tau on average: the mean over all tau but 0 of their ratio lies within a tenth of 1."""

    def ratio(results: xr.Dataset, network: str) -> xr.DataArray:
        return decay_rate(results, variable, network) / taus[network]

    quantity = Quantity(ratio, "rate at which the eigenvalues of the correlations fall, over tau", before=True)
    return across(quantity, [name for name, tau in taus.items() if tau], "mean").between(0.9, 1.1)
