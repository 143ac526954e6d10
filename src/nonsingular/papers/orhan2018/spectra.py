"""Figures of the shares of degenerate and negative eigenvalues that several experiments have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.run.instruments import LABELS
from nonsingular.plots import spectra
from nonsingular.plots.curves import Panel, over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def counted_over_epochs(results: xr.Dataset, what: str) -> Mapping[str, Figure]:
    """The same counted by Lanczos, as figure ``spectra-lanczos``; none where nothing was counted."""
    if "degenerate_lanczos" not in results or not results.degenerate_lanczos.notnull().any():
        return {}
    title = f"Shares of the Hessian's eigenvalues counted by Lanczos, {what}"
    return {"spectra-lanczos": shares_over_epochs(results, title, "lanczos")}
