"""Pictures of skip matrices: their eigenvalues, and how correlated their eigenvectors and skip vectors are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.plots.style import GREY, colour, heading, legend_below, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def skip_matrices(results: xr.Dataset, taus: Mapping[str, float], title: str) -> Figure:
    """How far eigenvalues are from the unit circle, and the spectra of the correlations against what Note 6 asks for.

    Args:
        results: with the variables of the instrument ``skip_matrix``, measured at the start.
        taus: network -> its tau.
        title: above all panels.
    """
    start = results.isel(epoch=0)
    with style():
        figure = new_figure(10.8, 3.6)
        circle, eigenvectors, rows = figure.subplots(1, 3)
        for name in reversed(list(taus)):  # the least orthogonal, which scatter most, behind
            of = start.sel(network=name)
            angle, modulus = of.skip_angle.values.ravel(), of.skip_modulus.values.ravel()
            circle.plot(angle, modulus - 1, ".", color=colour(name), markersize=2)
        circle.set_title("skip eigenvalues")
        circle.set_xlabel("angle (radians)")
        circle.set_ylabel("modulus - 1")
        _falling(eigenvectors, start.eigenvector_correlation, taus, "correlations of the eigenvectors")
        _falling(rows, start.skip_correlation, taus, "correlations of the skip vectors")
        legend_below(figure, eigenvectors)
        heading(figure, title, "lines: mean; dotted: proportional to exp(-tau (i-1))")
        return figure


def _falling(ax: Axes, values: xr.DataArray, taus: Mapping[str, float], title: str) -> None:
    for name, tau in taus.items():
        mean = values.sel(network=name).mean(["run", "layer"])
        ax.plot(mean.mode, mean, color=colour(name), label=name)
        target = np.exp(-tau * (mean.mode.values - 1.0))
        ax.plot(mean.mode, target * len(target) / target.sum(), ":", color=GREY, linewidth=1)
    ax.set_yscale("log")
    ax.set_xlabel("index i")
    ax.set_ylabel("eigenvalue")
    ax.set_title(title)
