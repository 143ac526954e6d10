"""Effects and figures of the shares of degenerate and negative eigenvalues that several experiments have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import Effect
from nonsingular.experiments.effects import larger
from nonsingular.experiments.instruments import LABELS
from nonsingular.plots import spectra
from nonsingular.plots.curves import Panel, over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def larger_share(results: xr.Dataset, variable: str, first: str, second: str) -> Effect:
    """First minus second network's share, averaged over the measured epochs after the start, in percentage points."""
    return larger(results, variable, first, second, 100.0)


FITTED_AFTER = 3  # epochs, as in orhan2018 figure 3d


def fitted_spectra(results: xr.Dataset, title: str) -> Figure:
    """Densities fitted to the moments after three epochs, or after the last of a shorter training."""
    measured = results.dropna("epoch", how="all", subset=["mixture_w"])
    epoch = FITTED_AFTER if FITTED_AFTER in measured.epoch else int(measured.epoch[-1])
    words = f"{title} after {epoch} {'epoch' if epoch == 1 else 'epochs'}; bands: standard errors over runs"
    return spectra.fitted(measured.sel(epoch=epoch), words)


def shares_over_epochs(results: xr.Dataset, title: str, method: str = "moments") -> Figure:
    """Shares of degenerate and negative eigenvalues over the epochs at which they were measured."""
    names = [f"{part}_{method}" for part in ("degenerate", "negative")]
    measured = results.dropna("epoch", how="all", subset=names[:1])
    return over_epochs(measured, [Panel(n, LABELS[n], percent=True) for n in names], title)
