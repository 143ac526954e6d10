"""Curves of measured quantities over epochs or layers: mean over runs, band of one standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from nonsingular.plots.style import colour, heading, legend_below, line, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


NARROWEST = 5.0  # inches: room for a title and a legend


@dataclass(frozen=True)
class Panel:
    """One set of axes: which variable, its label, and how it is shown.

    Attributes:
        variable: name in the data set; a ``layer`` dimension is averaged when the panel is over epochs.
        label: axis label with unit.
        percent: stored as a share, shown in percent.
        log: logarithmic axis.
    """

    variable: str
    label: str
    percent: bool = False
    log: bool = False


def over_epochs(results: xr.Dataset, panels: Sequence[Panel], title: str, group: str = "network") -> Figure:
    """One panel a variable against the epoch, one curve a network.

    Args:
        results: with dimensions ``group``, ``run``, ``epoch`` and for some variables ``layer``.
        panels: what to draw.
        title: above all panels.
        group: the dimension whose labels are the curves.
    """
    with style(map(str, results[group].values)):
        figure = new_figure(max(3.6 * len(panels), NARROWEST), 3.2)
        for ax, panel in zip(_axes(figure, len(panels)), panels, strict=True):
            values = results[panel.variable]
            if "layer" in values.dims:
                values = values.mean("layer", skipna=True)
            _curves(ax, values, "epoch", panel, group)
            ax.set_xlabel("epoch")
        return _finished(figure, title, results)


def over_layers(results: xr.Dataset, panel: Panel, epochs: Sequence[int], title: str, group: str = "network") -> Figure:
    """One panel an epoch, a variable against the layer, one curve a network."""
    with style(map(str, results[group].values)):
        figure = new_figure(max(3.6 * len(epochs), NARROWEST), 3.2)
        axes = _axes(figure, len(epochs), sharey=True)
        for ax, epoch in zip(axes, epochs, strict=True):
            _curves(ax, results[panel.variable].sel(epoch=epoch), "layer", panel, group)
            ax.set_xlabel("layer")
            if epoch != epochs[0]:
                ax.set_ylabel("")
            ax.set_title("at the start" if epoch == 0 else f"after epoch {epoch}")
        return _finished(figure, title, results)


def _axes(figure: Figure, count: int, sharey: bool = False) -> list[Axes]:
    return list(np.atleast_1d(figure.subplots(1, count, sharey=sharey)))


def _curves(ax: Axes, values: xr.DataArray, along: str, panel: Panel, group: str) -> None:
    scale = 100.0 if panel.percent else 1.0
    for name in values[group].values:
        runs = values.sel({group: name}).transpose("run", along) * scale
        runs = runs.dropna("run", how="all")
        if not runs.sizes["run"]:
            continue
        mean = runs.mean("run")
        alone = mean.sizes[along] == 1  # a point, where a line and its band would not be seen
        marker = "o" if alone else None
        ax.plot(values[along], mean, color=colour(str(name)), linestyle=line(str(name)), marker=marker, label=str(name))
        if runs.sizes["run"] > 1:
            error = runs.std("run", ddof=1) / np.sqrt(runs.notnull().sum("run"))
            low, high = mean - error, mean + error
            if panel.log:
                low = low.where(low > 0, mean)
            if alone:
                ax.vlines(values[along], low, high, color=colour(str(name)), alpha=0.5, linewidth=3)
            else:
                ax.fill_between(values[along], low, high, color=colour(str(name)), alpha=0.2, linewidth=0)
    if panel.log:
        ax.set_yscale("log")
    else:
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_ylabel(panel.label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if values.sizes[along] == 1:
        ax.set_xticks(values[along].values)


def _finished(figure: Figure, title: str, results: xr.Dataset) -> Figure:
    legend_below(figure)
    runs = results.sizes["run"]
    band = f"mean of {runs} runs; bands: ±1 standard error" if runs > 1 else "one run"
    images = "{data}, {scaling} inputs; ".format(**results.attrs) if "data" in results.attrs else ""
    heading(figure, title, images + band)
    return figure
