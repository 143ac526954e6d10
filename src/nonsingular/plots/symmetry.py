"""Figures of networks that start with identical features: signals, kernels, counts, correlations (blumenfeld2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from nonsingular.data import SOURCES
from nonsingular.plots.style import (
    BLACK,
    GREY,
    SEQUENTIAL,
    colour,
    doublings,
    heading,
    legend_below,
    new_figure,
    style,
    zero_at_foot,
)
from nonsingular.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_SYMMETRIES = {"none": "plain", "one-to-one": "residual", "all-to-all": "hyper-residual"}


def subnetworks(results: xr.Dataset) -> Figure:
    """Logarithm of the number of sub-networks against the width, one curve a symmetry."""
    with style():
        figure = new_figure(5.5, 3.6)
        ax = figure.subplots()
        for name, like in _SYMMETRIES.items():
            bits = results.bits.sel(symmetry=name)
            ax.plot(results.width, bits, marker="o", markersize=4, color=colour(like), label=f"symmetry: {name}")
        ok = results.approximate_bits.where(results.approximate_bits > 0)
        ax.plot(results.width, ok, ":", color=GREY, label=r"$2^{NL} / N!$")
        doublings(ax, results.width.values)
        ax.set_yscale("log", base=2)
        ax.set_xlabel("width N (units a layer)")
        ax.set_ylabel("distinct sub-networks (bits)")
        legend_below(figure)
        heading(
            figure, f"Sub-networks of {counted(results.attrs['layers'], 'layer')} under each symmetry", "exact counts"
        )
        return figure


def kernels(results: xr.Dataset) -> Figure:
    """Entries of each network's tangent kernel against those of the linear model."""
    with style():
        names = list(map(str, results.network.values))
        figure = new_figure(3.1 * len(names), 3.2)
        for ax, name in zip(figure.subplots(1, len(names)), names, strict=True):
            ours, theirs = results.kernel.sel(network=name).isel({"class": 0}), results.linear.sel(network=name)
            ax.plot(theirs.values.ravel(), ours.values.ravel(), ".", markersize=2, color=colour(name))
            ends = [float(theirs.min()), float(theirs.max())]
            ax.plot(ends, ends, "-", linewidth=0.8, color=GREY)
            ax.set_title(name)
            ax.set_xlabel("kernel of a line in the image's mean")
        figure.axes[0].set_ylabel("tangent kernel (first class)")
        heading(
            figure, "Tangent kernels at the start, every pair of images", f"{results.attrs['data']}; grey: equality"
        )
        return figure


def kernel_spectra(results: xr.Dataset) -> Figure:
    """Eigenvalues of the kernels, from the largest down."""
    with style():
        figure = new_figure(5.5, 3.6)
        ax = figure.subplots()
        for model in map(str, results.model.values):
            values = results.spectrum.sel(model=model)
            dots = {"constnet": "o", "constnet+bn": "x"}.get(model, ".")
            ax.semilogy(results["mode"], values, dots, markersize=5, color=colour(model), label=model)
        ax.set_ylim(1e-18, 3)
        ax.set_xlabel("mode")
        ax.set_ylabel("eigenvalue / the largest")
        legend_below(figure)
        heading(
            figure, "Spectra of the tangent kernels at the start", f"{results.attrs['data']}; below 1e-16: rounding"
        )
        return figure


def signal_angles(results: xr.Dataset) -> Figure:
    """Cosines of pairs of images against the layer, one panel a kind of network."""
    return _through_depth(
        results, results.cosine.mean("run"), "cosine of two images' features", "Angles through depth", pairs=True
    )


def signal_gradients(results: xr.Dataset) -> Figure:
    """Norms of gradients by the features, relative to the last layer's, against the layer."""
    norms = results.gradient_norm / results.gradient_norm.isel(layer=-1)
    return _through_depth(
        results, norms.mean("run"), "gradient norm / last layer's", "Gradients by the features through depth", log=True
    )


def _through_depth(
    results: xr.Dataset, values: xr.DataArray, label: str, title: str, pairs: bool = False, log: bool = False
) -> Figure:
    names = list(map(str, results.network.values))
    columns = (len(names) + 1) // 2
    with style():
        figure = new_figure(2.6 * columns, 5.2)
        axes = figure.subplots(2, columns, sharex=True, sharey=True)
        for ax in axes.ravel()[len(names) :]:
            ax.set_visible(False)
        for ax, name in zip(axes.ravel(), names, strict=False):
            for width, dashes in zip(results.width.values, DASHES, strict=False):
                chosen = values.sel(network=name, width=width)
                lines = chosen.transpose("layer", "pair").values[:, :6] if pairs else chosen.values[:, None]
                for number, curve in enumerate(lines.T):
                    text = f"width {width}" if number == 0 else None
                    ax.plot(results.layer, curve, dashes, linewidth=1, color=colour(name), label=text)
            ax.set_title(name)
            if log:
                ax.set_yscale("log")
        for ax in axes[-1]:
            ax.set_xlabel("layer")
        figure.supylabel(label, fontsize=9)
        _widths_legend(figure, results)
        runs = results.sizes["run"]
        shown = "six pairs of images; " if pairs else ""
        heading(figure, f"{title}, at the start", f"{results.attrs['data']}; {shown}mean of {counted(runs, 'start')}")
        return figure


def _widths_legend(figure: Figure, results: xr.Dataset) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=BLACK, linestyle=style_, label=f"width {w}")
        for w, style_ in zip(results.width.values, DASHES, strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


# --- trained networks ---------------------------------------------------------------------------------------


def accuracies(results: xr.Dataset, title: str) -> Figure:
    """Test accuracy of every run after the last epoch, one row a network, with the mean."""
    names = list(map(str, results.network.values))[::-1]
    with style():
        figure = new_figure(5.5, 1.4 + 0.3 * len(names))
        ax = figure.subplots()
        for row, name in enumerate(names):
            values = 100 * results.test_accuracy.sel(network=name).isel(epoch=-1).values
            ax.plot(values, np.full(len(values), row), "o", markersize=4, alpha=0.5, color=colour(name))
            if np.isfinite(values).any():
                ax.plot([np.nanmean(values)] * 2, [row - 0.3, row + 0.3], color=colour(name), linewidth=2)
        ax.axvline(100 / _classes(results), color=GREY, linestyle=":", linewidth=1)
        ax.set_yticks(range(len(names)), names)
        ax.set_xlabel("test accuracy at the end (%); dotted: chance")
        ax.set_ylabel("network")
        heading(figure, title, _about(results, "points: runs, bars: their mean"))
        return figure


def _classes(results: xr.Dataset) -> int:
    """Of the data set that was trained on."""
    source = SOURCES[results.attrs["data"]]
    return 10 if source is None else source.classes


def correlations_by_layer(results: xr.Dataset, variable: str, title: str) -> Figure:
    """A correlation against the epoch, one panel a network, one curve a layer."""
    names = list(map(str, results.network.values))
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    with style():
        figure = new_figure(max(2.5 * columns + 0.6, 5.5), 2.4 * rows + 0.7)
        axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
        for ax in axes[len(names) :]:
            ax.set_visible(False)
        layers = results.layer.values
        for ax, name in zip(axes, names, strict=False):
            for layer in layers:
                curve = results[variable].sel(network=name, layer=layer).mean("run")
                ax.plot(results.epoch, curve, linewidth=1.1, color=_shade(layer, layers))
            ax.set_title(name)
            _epochs(ax)
        figure.supylabel(title.split(": ")[-1].lower(), fontsize=9)
        _layer_bar(figure, axes[: len(names)], layers)
        heading(figure, title, _about(results, "mean over runs"))
        return figure


def correlation_groups(results: xr.Dataset, groups: Mapping[str, Sequence[int]], suffix: str, form: str) -> Figure:
    """Forward and backward correlations against the epoch, one curve a layer, coloured by the layer's stage.

    Args:
        results: of one network.
        groups: stage -> layers.
        suffix: of the variables, after ``forward_`` and ``backward_``.
        form: of the correlation, for the axis.
    """
    with style():
        figure = new_figure(7.0, 3.4)
        for ax, side in zip(figure.subplots(1, 2, sharey=True), ("forward", "backward"), strict=True):
            for (stage, layers), like in zip(groups.items(), ("plain", "residual", "hyper-residual"), strict=True):
                for number, layer in enumerate(layers):
                    curve = results[f"{side}_{suffix}"].sel(layer=layer).mean("run")
                    label = stage if number == 0 else None
                    ax.plot(results.epoch, curve, linewidth=1.2, color=colour(like), label=label)
            _epochs(ax)
            ax.set_ylabel(f"{side} correlation ({form})")
        legend_below(figure)
        network = str(results.network.values)
        heading(figure, f"ConstNet ({network}): one curve a layer", _about(results, "mean over runs"))
        return figure


def by_layer_at_end(results: xr.Dataset, variable: str, title: str) -> Figure:
    """A variable after the last epoch against the layer, one curve a network."""
    with style():
        figure = new_figure(6.0, 3.6)
        ax = figure.subplots()
        for name in map(str, results.network.values):
            values = results[variable].sel(network=name).isel(epoch=-1)
            ax.plot(results.layer, values.mean("run"), marker=".", color=colour(name), label=name)
        ax.set_xlabel("layer")
        ax.set_ylabel(title.split(": ")[-1].replace(" after training", ""))
        legend_below(figure)
        heading(figure, title, _about(results, "mean over runs"))
        return figure


def breaking(results: xr.Dataset, variable: str, starts: Mapping[str, str], what: str) -> Figure:
    """The symmetry-breaking part's relative size by layer, early and late; circles: layers that began as averages."""
    epochs = [int(results.epoch[1]), int(results.epoch[-1])]
    names = [n for n in map(str, results.network.values) if n in starts and n != "he"]
    with style():
        figure = new_figure(7.4, 3.8)
        for ax, epoch in zip(figure.subplots(1, 2, sharey=True), epochs, strict=True):
            for name in names:
                values = results[variable].sel(network=name, epoch=epoch).mean("run")
                ax.semilogy(results.layer, values.where(values > 0), linewidth=1.2, color=colour(name), label=name)
                averages = [layer for layer, letter in enumerate(starts[name], 1) if letter == "1"]
                ax.semilogy(averages, values.sel(layer=averages), "o", markersize=3.5, color=colour(name))
            ax.set_xlabel("layer")
            ax.set_title(f"after epoch {epoch}")
        figure.axes[0].set_ylabel(f"symmetry-breaking part / norm of {what}")
        legend_below(figure)
        heading(
            figure, f"What breaks the symmetry of {what} in LeakyNet", _about(results, "circles: began as averages")
        )
        return figure


def _epochs(ax: Axes) -> None:
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.ticklabel_format(axis="y", useOffset=False)


def _shade(layer: int, layers: np.ndarray) -> tuple[float, ...]:
    import matplotlib as mpl

    low, high = float(min(layers)), float(max(layers))
    return tuple(mpl.colormaps[SEQUENTIAL]((layer - low) / max(high - low, 1.0)))


def _layer_bar(figure: Figure, axes: np.ndarray, layers: np.ndarray) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    mapped = ScalarMappable(Normalize(float(min(layers)), float(max(layers))), SEQUENTIAL)
    bar = figure.colorbar(mapped, ax=list(axes), label="layer", aspect=30)
    bar.ax.set_label("<colorbar>")


def _about(results: xr.Dataset, what: str) -> str:
    runs = results.sizes.get("run", 1)
    return f"{results.attrs['data']}, {results.attrs['scaling']} inputs, {counted(runs, 'run')}; {what}"


def perturbation(results: xr.Dataset) -> Figure:
    """What one layer leaves of a perturbation, and of its symmetry-breaking part, against the width."""
    panels = {"perturbation": "norm, after / before", "breaking": "symmetry-breaking part,\nafter / before"}
    with style():
        figure = new_figure(7.4, 3.4)
        for ax, (variable, label) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            ax.set_yscale("log")
            doublings(ax, results.width.values)
            zero = zero_at_foot(ax.yaxis, results[variable].mean("run").values)
            for kind, like in zip(results.layer_kind.values, ("leakynet-I", "leakynet-1", "fixup"), strict=True):
                values = results[variable].sel(layer_kind=kind).mean("run")
                shown = np.maximum(values, zero)
                ax.plot(results.width, shown, marker="o", markersize=4, color=colour(like), label=f'"{kind}" layer')
            if variable == "perturbation":
                ax.plot(results.width, results.width.astype(float) ** -0.5, ":", color=GREY, label=r"$1/\sqrt{N}$")
            ax.set_xlabel("width N (channels)")
            ax.set_ylabel(label)
        legend_below(figure)
        heading(figure, "A perturbation that breaks the symmetry, through one layer", _draws(results))
        return figure


def _draws(results: xr.Dataset) -> str:
    return f"mean of {counted(results.sizes['run'], 'draw')}"
