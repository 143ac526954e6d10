"""A search drawn: accuracy against each number searched, and the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from nonsingular.plots.style import BLACK, BLUE, GREEN, ORANGE, VERMILION, new_figure, style
from nonsingular.words import counted

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 0.04  # of the range searched, on either side


def draw(results: xr.Dataset) -> Figure:
    """One panel a number, one for the course of the search.

    Args:
        results: with dimension ``trial``: ``accuracy``, ``best`` (%), and the numbers, whose attributes give ``label``,
            ``log``, ``low``, ``high`` and, where the paper has one, its value ``paper``. The attribute ``reference``
            is the accuracy of the network with none of the numbers changed.
    """
    names = [n for n, v in results.items() if n not in ("accuracy", "best") and v.attrs["low"] < v.attrs["high"]]
    with style():
        figure = new_figure(max(3.0 * (len(names) + 1), 6.4), 3.5)
        axes = np.atleast_1d(figure.subplots(1, len(names) + 1, sharey=True))
        for ax, name in zip(axes, names, strict=False):
            _against(ax, results, str(name))
        _course(axes[-1], results)
        for ax in axes:
            if np.isfinite(results.attrs["reference"]):
                ax.axhline(results.attrs["reference"], color=GREEN, linewidth=1.2, label="none of these numbers set")
        axes[0].set_ylabel(results.accuracy.attrs["label"].replace(" over", "\nover"))
        handles: dict[str, Artist] = {}
        for ax in axes:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
        failed = int(results.accuracy.isnull().sum())
        tried = counted(results.sizes["trial"], "trial") + (f", {failed} diverged" if failed else "")
        runs = results.attrs["runs"]
        each = "one run each, all of the same seed" if runs == 1 else f"each the mean of the same {runs} seeds"
        figure.suptitle(
            "Search by the {sampler} sampler: {network} network\n{data}, {scaling} inputs; ".format(**results.attrs)
            + f"{tried}, {each}",
            fontsize=10,
        )
        return figure


def _against(ax: Axes, results: xr.Dataset, name: str) -> None:
    values = results[name]
    ax.scatter(values, results.accuracy, s=16, color=BLUE, alpha=0.8, linewidth=0, label="trial")
    if results.accuracy.notnull().any():
        best = int(np.nanargmax(results.accuracy))
        ax.scatter(values[best], results.accuracy[best], s=110, marker="*", color=VERMILION, zorder=3, label="best")
    if "paper" in values.attrs:
        ax.axvline(values.attrs["paper"], color=ORANGE, linestyle="--", label="the paper's value")
    low, high = values.attrs["low"], values.attrs["high"]
    if values.attrs["log"]:
        ax.set_xscale("log")
        ax.set_xlim(low * (low / high) ** MARGIN, high * (high / low) ** MARGIN)
    else:
        ax.set_xlim(low - MARGIN * (high - low), high + MARGIN * (high - low))
    ax.set_xlabel(values.attrs["label"])


def _course(ax: Axes, results: xr.Dataset) -> None:
    order = np.arange(1, results.sizes["trial"] + 1)
    ax.scatter(order, results.accuracy, s=16, color=BLUE, alpha=0.8, linewidth=0)
    ax.step(order, results.best, where="post", color=BLACK, label="best so far")
    ax.set_xlabel("trial")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
