"""Measures of trained networks against a number that was varied: depth, skip vectors, input scale."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.plots.style import GREY, colour, doublings, heading, legend_below, line, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dvp"


@dataclass(frozen=True)
class Scan:
    """One set of axes.

    Attributes:
        values: what is drawn, with dimensions ``network`` (one curve each), ``run`` and the varied number.
        label: axis label with unit.
        log: logarithmic axis.
        levels: networks outside the series, drawn as horizontal lines: name -> one value a run.
        marks: further horizontal lines without a network: label -> value.
        ends: vertical lines, name of a network -> (place, low, high) of its interval.
    """

    values: xr.DataArray
    label: str
    log: bool = False
    levels: Mapping[str, xr.DataArray] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    ends: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


def over_numbers(
    scans: Sequence[Scan],
    along: str,
    label: str,
    title: str,
    base: int = 10,
    ticks: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
) -> Figure:
    """One panel a scan: mean over runs with one standard error, and every run as a point.

    Args:
        scans: what to draw.
        along: dimension of the varied number.
        label: its axis label with unit.
        title: above all panels.
        base: of the logarithmic axis of the varied number; 0 makes it linear.
        ticks: names of the numbers, where they stand for something that has a name.
        attributes: of the results, for the line that says what the networks were trained on.
    """
    with style():
        figure = new_figure(max((4.8 if ticks else 4.0) * len(scans), 5.0), 4.0)
        axes = list(np.atleast_1d(figure.subplots(1, len(scans))))
        for ax, scan in zip(axes, scans, strict=True):
            _curves(ax, scan, along)
            _finish(ax, scan, along, label, base, ticks)
        legend_below(figure)
        runs = scans[0].values.sizes["run"]
        spread = f"mean ±1 standard error of {runs} runs (points)" if runs > 1 else "one run"
        images = "{data}, {scaling} inputs; ".format(**attributes) if attributes else ""
        heading(figure, title, images + spread)
        return figure


def _curves(ax: Axes, scan: Scan, along: str) -> None:
    x = scan.values[along].values.astype(float)
    for name, marker in zip(map(str, scan.values.network.values), MARKERS, strict=False):
        runs = scan.values.sel(network=name).transpose("run", along).values
        if not np.isfinite(runs).any():
            continue
        mean, error = _mean_and_error(runs)
        ax.errorbar(
            x, mean, error, color=colour(name), linestyle=line(name), marker=marker, markersize=4, capsize=2, label=name
        )
        ax.plot(np.broadcast_to(x, runs.shape).ravel(), runs.ravel(), ".", color=colour(name), alpha=0.35, markersize=3)
    for name, values in scan.levels.items():
        mean, error = _mean_and_error(np.asarray(values, float)[:, None])
        ax.axhline(mean[0], color=colour(name), linestyle="--", label=name)
        if np.isfinite(error[0]):
            ax.axhspan(mean[0] - error[0], mean[0] + error[0], color=colour(name), alpha=0.15, linewidth=0)
    for name, value in scan.marks.items():
        ax.axhline(value, color=GREY, linestyle=":", linewidth=1)
        ax.annotate(name, (0.02, value), xycoords=("axes fraction", "data"), fontsize=7.5, va="bottom")
    for name, (place, low, high) in scan.ends.items():
        ax.axvline(place, color=colour(name), linestyle="--", linewidth=1)
        ax.axvspan(low, high, color=colour(name), alpha=0.12, linewidth=0)


def _mean_and_error(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis, leaving out runs that diverged; no error from fewer than two."""
    ok = np.isfinite(runs)
    count = ok.sum(0)
    mean = np.where(count > 0, np.where(ok, runs, 0.0).sum(0) / np.maximum(count, 1), np.nan)
    square = np.where(ok, (runs - mean) ** 2, 0.0).sum(0) / np.maximum(count - 1, 1)
    return mean, np.where(count > 1, np.sqrt(square / np.maximum(count, 1)), np.nan)


def _finish(ax: Axes, scan: Scan, along: str, label: str, base: int, ticks: Sequence[str]) -> None:
    if base == 2:
        doublings(ax, scan.values[along].values)
    elif base:
        ax.set_xscale("log", base=base)
    if ticks:
        ax.set_xticks(scan.values[along].values, ticks, fontsize=7)
    if scan.log:
        ax.set_yscale("log")
    else:
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_xlabel(label)
    ax.set_ylabel(textwrap.fill(scan.label, 44))
