"""Networks by their layers and their depth: accuracies at the end, distributions, condition numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from nonsingular.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    colour,
    heading,
    legend_below,
    line,
    new_figure,
    style,
)
from nonsingular.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND_COLOURS = (BLUE, ORANGE, PURPLE, GREEN)


def accuracies(results: xr.Dataset, title: str) -> Figure:
    """Training and test accuracy at the last epoch: one point a run, a bar at the mean; diverged runs are named."""
    with style():
        names = [str(n) for n in results.network.values]
        figure = new_figure(max(4.2, 1.1 * len(names) + 1.5), 3.2)
        ax = figure.subplots()
        for place, name in enumerate(names):
            for split, shift, marker in (("train", -0.15, "o"), ("test", 0.15, "s")):
                values = 100 * results[f"{split}_accuracy"].sel(network=name).isel(epoch=-1)
                x = place + shift + np.linspace(-0.05, 0.05, len(values))
                fill = colour(name) if split == "train" else "white"
                ax.plot(x, values, marker, color=colour(name), markerfacecolor=fill, markersize=5)
                ax.hlines(values.mean(), place + shift - 0.12, place + shift + 0.12, colour(name), linewidth=1)
            lost = int(results.train_loss.sel(network=name).isel(epoch=-1).isnull().sum())
            if lost:
                ax.annotate(f"{lost} diverged", (place, 2), ha="center", fontsize=8, color=GREY)
        ax.set_xticks(range(len(names)), names)
        ax.set_ylabel("accuracy (%)")
        ax.set_ylim(0, 102)
        ax.grid(visible=False, axis="x")
        key = [
            ax.plot([], [], "o", color=GREY, label="training images")[0],
            ax.plot([], [], "s", color=GREY, markerfacecolor="white", label="test images")[0],
        ]
        figure.legend(handles=key, loc="outside lower center", ncols=2)
        figure.suptitle(f"{title}\n{_images(results)}points: runs, line: their mean", fontsize=10)
        return figure


def distributions(results: xr.Dataset, network: str, quantiles: Sequence[str], what: str, title: str) -> Figure:
    """Quantiles of what a layer holds, by layer, one panel an epoch: median, middle half, middle nine tenths.

    Args:
        results: with the five variables of ``quantiles`` by network, run, epoch and layer.
        network: which.
        quantiles: names of the variables, ascending.
        what: axis label.
        title: above all panels.
    """
    with style():
        mean = [results[q].sel(network=network).mean("run").dropna("epoch", how="all") for q in quantiles]
        epochs = [int(e) for e in mean[0].epoch.values]
        figure = new_figure(3.4 * len(epochs), 3.2)
        axes = np.atleast_1d(figure.subplots(1, len(epochs), sharey=True))
        for ax, epoch in zip(axes, epochs, strict=True):
            low, quarter, middle, upper, high = (q.sel(epoch=epoch) for q in mean)
            layer = middle.layer.values
            ax.fill_between(layer, low, high, color=colour(network), alpha=0.18, linewidth=0, label="5 to 95 %")
            ax.fill_between(layer, quarter, upper, color=colour(network), alpha=0.4, linewidth=0, label="25 to 75 %")
            ax.plot(layer, middle, color=colour(network), linewidth=1, label="median")
            ax.set_title(_when(epoch))
            ax.set_xlabel("layer")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel(what)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        runs = int(results[quantiles[2]].sel(network=network).notnull().any(["epoch", "layer"]).sum())
        figure.suptitle(f"{title}\n{_images(results)}quantiles, mean of {counted(runs, 'run')}", fontsize=10)
        return figure


def conditioning(results: xr.Dataset, networks: Sequence[str], title: str, block: int = 1) -> Figure:
    """Condition numbers of both matrices and effective ranks by layer, one column an epoch; infinite: crosses on top.

    Args:
        results: of the instrument ``representations``.
        networks: those to draw, as far as the results have them.
        title: above all panels.
        block: layers of a block, of which the last is drawn: layers of different width, and before and after an
            addition, would alternate.
    """
    results = results.isel(layer=slice(None, None, block))
    with style():
        rows = ("sample_condition_number", "streamed_condition_number")
        epochs = [int(e) for e in results[rows[0]].dropna("epoch", how="all").epoch.values]
        networks = [name for name in networks if name in results.network.values]
        figure = new_figure(max(3.4 * len(epochs), 5.0), 7.4)
        axes = figure.subplots(3, len(epochs), sharex=True, sharey="row", squeeze=False)
        for row, variable in enumerate(rows):
            finite = results[variable].where(np.isfinite(results[variable]))
            top = 10 ** np.ceil(float(np.log10(finite.max())) + 0.5)
            for column, epoch in enumerate(epochs):
                for name in networks:
                    _conditions(axes[row, column], results[variable].sel(network=name, epoch=epoch), top, name)
                axes[row, column].set_yscale("log")
                axes[row, column].axhline(top, color=GREY, linewidth=0.6)
        for column, epoch in enumerate(epochs):
            for name in networks:
                _band(axes[2, column], results.streamed_effective_rank.sel(network=name, epoch=epoch), name)
            axes[0, column].set_title(_when(epoch))
            axes[2, column].set_xlabel("layer")
            axes[2, column].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].set_ylabel("condition number,\nsamples by features")
        axes[1, 0].set_ylabel("condition number,\nplaces by channels")
        axes[2, 0].set_ylabel("effective rank\nof the channels")
        legend_below(figure)
        told = "condition numbers: one thin line a run, crosses: infinite; ranks: mean ±1 standard error"
        told += "; layers after an addition" if block > 1 else ""
        heading(figure, title, f"{_images(results)}{told}")
        return figure


def _conditions(ax: Axes, values: xr.DataArray, top: float, name: str) -> None:
    for number, run in enumerate(values.transpose("run", "layer")):
        label = name if number == 0 else None
        ax.plot(run.layer, run.where(np.isfinite(run)), color=colour(name), linewidth=0.7, alpha=0.8, label=label)
        infinite = run.layer.values[np.isinf(run.values)]
        ax.plot(infinite, np.full(len(infinite), top), "x", color=colour(name), markersize=4)


def _band(ax: Axes, values: xr.DataArray, name: str) -> None:
    runs = values.dropna("run", how="all")
    if not runs.sizes["run"]:
        return
    mean = runs.mean("run")
    ax.plot(mean.layer, mean, color=colour(name), linestyle=line(name), linewidth=1)
    if runs.sizes["run"] > 1:
        error = runs.std("run", ddof=1) / np.sqrt(runs.sizes["run"])
        ax.fill_between(mean.layer, mean - error, mean + error, color=colour(name), alpha=0.2, linewidth=0)


def over_depth(
    results: xr.Dataset,
    families: Mapping[str, Mapping[str, int]],
    title: str,
    splits: Sequence[str] = ("train", "test"),
) -> Figure:
    """Accuracy at the end against the number of layers, one curve a family; runs as points, their mean as a line.

    Args:
        results: of a study with one network a family and depth.
        families: label -> network -> its layers.
        title: above all panels.
        splits: one panel each.
    """
    with style():
        figure = new_figure(4.0 * len(splits), 3.4)
        axes = np.atleast_1d(figure.subplots(1, len(splits), sharey=True))
        for ax, split in zip(axes, splits, strict=True):
            for family, members in families.items():
                there = {n: d for n, d in members.items() if n in results.network.values}
                values = 100 * results[f"{split}_accuracy"].isel(epoch=-1).sel(network=list(there)).transpose(
                    "run", ...
                )
                depth = list(there.values())
                ax.plot(depth, values.mean("run"), color=colour(family), linestyle=line(family), label=family)
                for run in values:
                    ax.plot(depth, run, ".", color=colour(family), markersize=5, alpha=0.6)
            ax.set_xscale("log")
            ticks = _apart({d for members in families.values() for d in members.values()})
            ax.set_xticks(ticks, [str(t) for t in ticks], fontsize=7)
            ax.minorticks_off()
            ax.set_xlabel("layers")
            ax.set_title({"train": "training images", "test": "test images"}[split])
        axes[0].set_ylabel("accuracy (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.suptitle(f"{title}\n{_images(results)}points: runs, lines: their mean", fontsize=10)
        return figure


def _apart(depths: set[float]) -> list[float]:
    """Depths whose labels do not touch on a logarithmic axis: of near ones the smallest."""
    kept: list[float] = []
    for depth in sorted(depths):
        if not kept or depth > 1.15 * kept[-1]:
            kept.append(depth)
    return kept


def changes(results: xr.Dataset, categories: Mapping[str, str], baseline: str, title: str, chance: float) -> Figure:
    """Training accuracy at the end for each change of a baseline, one row a change: points are runs, bars their mean.

    Args:
        results: of a study with one network a change.
        categories: change -> what kind of change it is.
        baseline: the network without any change; its mean is the vertical line.
        title: above the panel.
        chance: accuracy of guessing, in percent.
    """
    with style():
        rows = [n for n in (baseline, *categories) if n in results.network.values]
        figure = new_figure(6.4, 0.27 * len(rows) + 1.4)
        ax = figure.subplots()
        kinds = list(dict.fromkeys(categories.values()))
        for place, name in enumerate(rows):
            values = 100 * results.train_accuracy.sel(network=name).isel(epoch=-1)
            tone = GREY if name == baseline else KIND_COLOURS[kinds.index(categories[name]) % len(KIND_COLOURS)]
            ax.plot(values, np.full(len(values), place), "o", color=tone, markersize=4, alpha=0.7)
            ax.vlines(values.mean(), place - 0.35, place + 0.35, tone, linewidth=2)
            lost = int(results.train_loss.sel(network=name).isel(epoch=-1).isnull().sum())
            if lost:  # they learnt nothing: crosses at guessing, in the colour of their kind
                ax.plot(np.full(lost, chance), np.full(lost, place), "x", color=tone, markersize=6, mew=1.5)
                ax.annotate(f"{lost} of {len(values)} diverged", (chance + 2, place), va="center", fontsize=8)
        ax.axvline(chance, color=GREY, lw=0.8, ls=":")
        if baseline in rows:
            ax.axvline(
                float(100 * results.train_accuracy.sel(network=baseline).isel(epoch=-1).mean()), color=GREY, lw=0.8
            )
        ax.set_yticks(range(len(rows)), rows)
        ax.invert_yaxis()
        ax.set_xlim(0, 100)
        ax.set_xlabel("training accuracy at the end (%)")
        for kind in kinds:
            ax.plot([], [], "o", color=KIND_COLOURS[kinds.index(kind) % len(KIND_COLOURS)], label=kind)
        figure.legend(loc="outside lower center", ncols=len(kinds), fontsize=8)
        told = "points: runs, bars: their mean, dotted: guessing; crosses: diverged"
        figure.suptitle(f"{title}\n{_images(results)}{told}", fontsize=10)
        return figure


def backward_identity(results: xr.Dataset) -> Figure:
    """Norm of the gradient at each block's input and of its two parts, one network a panel.

    The axis is logarithmic: shown is the geometric mean over runs, and one standard error of the logarithms.
    """
    parts = {
        "whole": ("dL/dx by autograd", BLACK, "-"),
        "through_skip": ("dL/dh, through the skip", BLUE, "--"),
        "through_block": ("dL/dh dF/dx, through the block", VERMILION, ":"),
    }
    with style():
        names = [str(n) for n in results.network.values]
        figure = new_figure(3.8 * len(names), 3.4)
        for ax, name in zip(np.atleast_1d(figure.subplots(1, len(names), sharey=True)), names, strict=True):
            for part, (label, tone, dashes) in parts.items():
                values = results[part].sel(network=name)
                logs = xr.apply_ufunc(np.log10, values.where(values > 0))  # without skips nothing comes through them
                mean = logs.mean("run")
                ax.plot(results.block, 10**mean, color=tone, linestyle=dashes, label=label)
                if values.sizes["run"] > 1:
                    error = logs.std("run", ddof=1) / np.sqrt(values.sizes["run"])
                    ends = 10 ** (mean - error), 10 ** (mean + error)
                    ax.fill_between(results.block, *ends, color=tone, alpha=0.15, linewidth=0)
            ax.set_yscale("log")
            ax.set_xlabel("block")
            ax.set_title(f"{name}, {counted(results.attrs['layers'], 'layer')}")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.axes[0].set_ylabel("gradient norm (nats)")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
        runs = results.sizes["run"]
        told = f"geometric mean of {counted(runs, 'network')}; bands: ±1 standard error of the logarithms"
        figure.suptitle(f"Gradients at the inputs of blocks\n{_images(results)}{told}", fontsize=10)
        return figure


def _when(epoch: int) -> str:
    return "at the start" if epoch == 0 else f"after epoch {epoch}"


def _images(results: xr.Dataset) -> str:
    return f"{results.attrs['data']}; " if "data" in results.attrs else ""
