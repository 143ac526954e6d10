"""Pictures of Hessian spectra: densities with the window shaded, null vectors, estimates against exact fractions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.curvature import Spectrum
from nonsingular.curvature.moments import PARAMETERS, Mixture
from nonsingular.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    colour,
    heading,
    line,
    new_figure,
    style,
    zero_at_foot,
)
from nonsingular.words import counted, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 1e-3  # eigenvalues per unit of asinh(eigenvalue / window) below which a smoothed density is nothing


def density(spectra: Mapping[str, Spectrum], title: str = "Hessian spectrum") -> Figure:
    """Eigenvalue densities on a logarithmic scale, with the window shaded and the counts beside them.

    Args:
        spectra: label -> spectrum with a density; all of the same window.
        title: above the axes.
    """
    window = next(iter(spectra.values())).window
    with style(spectra):
        figure = new_figure(7.2, 4.2)
        ax = figure.subplots()
        reach = max(_reach(s) for s in spectra.values())
        grid = window * np.sinh(np.linspace(-1, 1, 3001) * np.arcsinh(1.3 * reach / window))
        for label, s in spectra.items():
            values = s.density(grid)
            # Less than a thousandth of one eigenvalue is the tail of a smoothing kernel.
            shown = np.where(values * np.hypot(grid, window) * s.parameters > FLOOR, values, np.nan)
            ax.plot(grid, shown, color=colour(label), linestyle=line(label), label=f"{label}: {_in_words(s)}")
        _finish(figure, ax, grid, window, title)
        return figure


def fitted(results: xr.Dataset, title: str, window: float = 0.1) -> Figure:
    """Densities of the mixtures fitted to four moments (orhan2018 figure 3d): mean over runs and its standard error.

    Args:
        results: the parameters ``mixture_w`` and so on over ``network`` and ``run``, at one epoch.
        title: above the axes.
        window: half the width of the shaded window.
    """
    far = (np.abs(results.mixture_xi) + 4 * results.mixture_omega).max()
    reach = float(np.clip(np.nan_to_num(far), 10 * window, 1e5 * window))
    grid = window * np.sinh(np.linspace(-1, 1, 3001) * np.arcsinh(reach / window))
    with style():
        figure = new_figure(7.2, 4.2)
        ax = figure.subplots()
        for network in map(str, results.network.values):
            rows = np.stack([results[f"mixture_{name}"].sel(network=network).values for name in PARAMETERS], axis=1)
            rows = rows[np.isfinite(rows).all(1)]
            if not len(rows):
                continue
            values = np.stack([Mixture(*row).pdf(grid) for row in rows])
            middle = values.mean(0)
            ax.plot(
                grid,
                middle,
                color=colour(network),
                linestyle=line(network),
                label=f"{network}, {counted(len(rows), 'run')}",
            )
            if len(rows) > 1:
                error = values.std(0, ddof=1) / np.sqrt(len(rows))
                low = np.maximum(middle - error, 1e-3 * middle)  # the axis is logarithmic
                ax.fill_between(grid, low, middle + error, color=colour(network), alpha=0.25, linewidth=0)
        ax.set_ylim(1e-12, None)
        _finish(figure, ax, grid, window, title)
        return figure


def _finish(figure: Figure, ax: Axes, grid: np.ndarray, window: float, title: str) -> None:
    ax.axvspan(-window, window, color=GREY, alpha=0.18, linewidth=0, label=f"window ±{window:g}: degenerate")
    ax.set_xscale("symlog", linthresh=window, linscale=0.6)
    ax.set_xlim(grid[0], grid[-1])
    ax.set_yscale("log")
    ax.set_xlabel("eigenvalue (loss per unit parameter squared)")
    ax.set_ylabel("density (per unit of eigenvalue)")
    figure.legend(loc="outside lower center", ncols=1)
    figure.suptitle(title, fontsize=10)


def _reach(s: Spectrum) -> float:
    if np.isfinite(s.extremes).all():
        return max(map(abs, s.extremes))
    grid = s.window * np.sinh(np.linspace(0, 15, 400))
    both = s.density(grid) + s.density(-grid)
    return float(grid[np.flatnonzero(both * np.hypot(grid, s.window) * s.parameters > FLOOR)[-1]])


def _in_words(s: Spectrum) -> str:
    parts = (("degenerate", s.degenerate), ("negative", s.negative), ("positive", s.positive))
    counts = f"{s.method}, " + ", ".join(f"{significant(c.percent, 4)} % {name}" for name, c in parts)
    return f"{counts}\n{s.stopped}" if s.stopped else counts


def null_vectors(results: xr.Dataset) -> Figure:
    """|H v| of the predicted null vectors, plain against skip, and the nullities.

    Args:
        results: as ``experiments.singular_points`` returns them, over ``run``.
    """
    kinds = [str(k) for k in results.singularity.values]
    with style():
        figure = new_figure(9.6, 4.0)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        left.set_yscale("log")
        zero = zero_at_foot(left.yaxis, results[["product", "product_away"]].to_array().values)
        for offset, network, marker in ((-0.15, "plain", "o"), (0.15, "skip", "s")):
            chosen = results.sel(network=network)
            tint = GREEN if network == "plain" else BLUE
            for variable, words, filled in (
                ("product", "zero residual", True),
                ("product_away", "random targets", False),
            ):
                values = np.maximum(chosen[variable].transpose("singularity", "run").values, zero)
                at = np.arange(len(kinds))[:, None] + offset + (0.0 if filled else 0.1)
                left.plot(
                    np.broadcast_to(at, values.shape).ravel(), values.ravel(), marker, markersize=4, color=tint,
                    markerfacecolor=tint if filled else "none", alpha=0.7, linestyle="none",
                    label=f"{network}, {words}",
                )  # fmt: skip
            mean = chosen.nullity.mean("run")
            right.bar(np.arange(len(kinds)) + 1.3 * offset, mean, 0.36, color=tint, label=network)
        predicted = results.predicted.sel(network="plain").isel(run=0)
        right.plot(np.arange(len(kinds)), predicted, "_", color=BLACK, markersize=32, label="predicted null vectors")
        left.set_ylabel("largest |H v| / |H|, predicted v (0: exactly)")
        right.set_ylabel("nullity of H at zero residual")
        for ax in (left, right):
            ax.set_xticks(range(len(kinds)), [k.replace("-", "\n") for k in kinds])
            ax.grid(axis="x", visible=False)
        left.legend(fontsize=7.5, loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.16))
        right.legend(fontsize=7.5, loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.16), markerscale=0.4)
        more = [k.replace("-", " ") for k in kinds if float(_spare(results, k)) > 0.5]
        told = f"above their line ({', '.join(more)}): linear and dead units bring null vectors of their own"
        heading(
            figure,
            "Exact singularities and the Hessian in float64, "
            f"{counted(results.sizes['run'], 'random network')} (one point each)",
            *([told] if more else []),
        )
        return figure


def _spare(results: xr.Dataset, kind: str) -> xr.DataArray:
    """Null vectors of the plain network that were not predicted."""
    plain = results.sel(network="plain", singularity=kind)
    return (plain.nullity - plain.predicted).mean()


def estimates(points: xr.Dataset, at_least: float, networks: int) -> Figure:
    """Fractions by four moments and by Lanczos against exact ones.

    Args:
        points: over ``point``: ``PART_METHOD`` for degenerate and negative and the three methods, with the ends of the
            Lanczos intervals.
        at_least: degenerate fraction from which the paper compares.
        networks: how many networks the points are of, at several epochs each.
    """
    with style():
        figure = new_figure(8.8, 4.2)
        for ax, part in zip(figure.subplots(1, 2), ("degenerate", "negative"), strict=True):
            exact = 100 * points[f"{part}_exact"].values
            _identity(ax, exact)
            low, middle, high = (100 * points[f"{part}_lanczos{end}"].values for end in ("_low", "", "_high"))
            error = np.maximum(0, [middle - low, high - middle])
            ax.errorbar(exact, middle, error, fmt="o", color=BLUE, markersize=4, elinewidth=1, label="Lanczos, 95 %")
            ax.plot(
                exact, 100 * points[f"{part}_moments"].values, "D", color=ORANGE, markersize=4,
                label="four moments and mixture",
            )  # fmt: skip
            if part == "degenerate":
                ax.axvspan(100 * at_least, 100, color=VERMILION, alpha=0.1, linewidth=0, label="the paper's range")
            ax.set_xlabel(f"exact {part} eigenvalues (%)")
            ax.set_ylabel(f"estimated {part} eigenvalues (%)")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        shown = f"{counted(points.sizes['point'], 'point')}: {counted(networks, 'network')}, each after several epochs"
        title = f"Estimated against exact fractions; {shown}"
        figure.suptitle(title, fontsize=10)
        return figure


def _identity(ax: Axes, values: np.ndarray) -> None:
    ends = [np.nanmin(values), np.nanmax(values)]
    ax.plot(ends, ends, "--", color=GREY, linewidth=1, label="identity")
