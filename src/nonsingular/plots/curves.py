"""Curves of measured quantities over epochs or layers: mean over runs, band of one standard error.

On a logarithmic axis both are those of the logarithms: an error of the size of the mean would reach to zero there.
"""

from __future__ import annotations

import warnings
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


FEW = 3
"""Epochs or layers up to which there are points to be shown, and no curve between them."""


def _curves(ax: Axes, values: xr.DataArray, along: str, panel: Panel, group: str) -> None:
    values = values.dropna(along, how="all")
    shown = _Shown.of(panel, values)
    places = values[along].values.astype(float)
    few = len(places) <= FEW
    names = list(map(str, values[group].values))
    for number, name in enumerate(names):
        runs = shown.transformed(values.sel({group: name}).transpose("run", along).values)
        runs = runs[np.isfinite(runs).any(1)]
        if not len(runs):
            continue
        middle, low, high = shown.interval(runs)
        if few:
            at = places + (number - (len(names) - 1) / 2) * _dodge(places, len(names))
            ax.plot(at, middle, "o", color=colour(name), markersize=4.5, label=name)
            ax.vlines(at, low, high, color=colour(name), linewidth=1.6)
        else:
            ax.plot(places, middle, color=colour(name), linestyle=line(name), label=name)
            ax.fill_between(places, low, high, color=colour(name), alpha=0.2, linewidth=0)
    if shown.log:
        ax.set_yscale("log")
    else:
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_ylabel(shown.label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if few:
        ax.set_xticks(places, [f"{x:g}" for x in places])
        ax.margins(x=0.2)


def _dodge(places: np.ndarray, count: int) -> float:
    """How far points of different networks are apart, so that their errors can be told from each other."""
    gap = float(np.diff(places).min()) if len(places) > 1 else 1.0
    return 0.4 * gap / max(count, 1)


NEAR_ALL = 0.95
"""Shares that are all above this are shown by what they lack, on a logarithmic axis: 99.985 and 99.995 % are a factor
of three apart."""


@dataclass(frozen=True)
class _Shown:
    """How numbers of a panel are shown.

    Attributes:
        label: of the axis.
        log: whether it is logarithmic; means and errors are then those of the logarithms.
        percent: whether they are shares.
        lacking: whether what they lack of all is shown.
    """

    label: str
    log: bool
    percent: bool
    lacking: bool

    @classmethod
    def of(cls, panel: Panel, values: xr.DataArray) -> _Shown:
        finite = values.values[np.isfinite(values.values)]
        lacking = panel.percent and finite.size > 0 and bool(NEAR_ALL < finite.min() <= finite.max() < 1)
        if not lacking:
            return cls(panel.label, panel.log, panel.percent, False)
        return cls(f"not {panel.label}", True, True, True)

    def transformed(self, runs: np.ndarray) -> np.ndarray:
        runs = (100.0 if self.percent else 1.0) * (1 - runs if self.lacking else runs)
        return np.where(runs > 0, runs, np.nan) if self.log else runs

    def interval(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean over runs, and the ends of one standard error around it; of fewer than two runs the mean alone."""
        runs = np.log10(runs) if self.log else runs
        count = np.isfinite(runs).sum(0)
        with warnings.catch_warnings():  # of places where no run has a number, or one alone
            warnings.simplefilter("ignore", RuntimeWarning)
            mean = np.nanmean(runs, 0)
            error = np.where(count > 1, np.nanstd(runs, 0, ddof=1) / np.sqrt(count), 0.0)
        ends = (mean, mean - error, mean + error)
        return tuple(10.0**x for x in ends) if self.log else ends


def _finished(figure: Figure, title: str, results: xr.Dataset) -> Figure:
    legend_below(figure)
    runs = results.sizes["run"]
    of_logs = ", of logarithms on logarithmic axes" if any(ax.get_yscale() == "log" for ax in figure.axes) else ""
    band = f"mean of {runs} runs ±1 standard error{of_logs}" if runs > 1 else "one run"
    images = "{data}, {scaling} inputs; ".format(**results.attrs) if "data" in results.attrs else ""
    heading(figure, title, images + band)
    return figure
