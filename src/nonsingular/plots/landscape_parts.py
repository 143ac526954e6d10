"""What pictures of surfaces share: one scale of colours and heights for several of them, panels, bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nonsingular.plots.style import SEQUENTIAL, new_figure
from nonsingular.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = 24
DEEP = "by its logarithm every small loss is a deep pit"


@dataclass(frozen=True)
class Scale:
    """How a variable becomes height and colour, the same for all surfaces of a figure.

    Attributes:
        variable: of the results.
        logarithmic: heights are logarithms to base 10.
        low: lowest height.
        high: highest height that is told from others; what lies above is drawn as it.
        cut: whether something lies above.
    """

    variable: str
    logarithmic: bool
    low: float
    high: float
    cut: bool

    @classmethod
    def of(cls, surfaces: Sequence[xr.Dataset], variable: str = "loss", linear: bool = False) -> Scale:
        """The scale of ``variable`` over all surfaces.

        The loss is drawn by its logarithm where it is positive everywhere, and peaks that would leave the rest no
        colours are cut off.

        Args:
            surfaces: with ``variable`` over ``y`` and ``x``.
            variable: what is drawn.
            linear: the loss itself, cut where the bowl's bottom is still seen: at three times the median.
        """
        values = np.concatenate([s[variable].values.ravel() for s in surfaces])
        values = values[np.isfinite(values)]
        logarithmic = variable == "loss" and not linear and bool((values > 0).all()) and values.size > 0
        heights = np.log10(values) if logarithmic else values
        if not heights.size:
            return cls(variable, logarithmic, 0.0, 1.0, False)
        low, middle, most, top = (float(q) for q in np.quantile(heights, [0, 0.5, 0.99, 1]))
        high = top
        if linear and low >= 0:
            high = min(top, 3 * middle)
        elif top - low > 1.5 * (most - low) and variable == "loss":
            high = most
        high = max(high, low + 1e-3 * max(1.0, abs(low)))
        return cls(variable, logarithmic, low, high, top > high)

    @property
    def label(self) -> str:
        """Of an axis or a bar."""
        name = self.variable.replace("_", " ")
        if self.logarithmic:
            return f"{name} (log scale)"
        return f"{name} (linear, cut at {self.high:.3g})" if self.cut else name

    def heights(self, surface: xr.Dataset) -> np.ndarray:
        """Of one surface, ``[y, x]``; values that are not finite stand as the highest."""
        values = surface[self.variable].transpose("y", "x").values
        with np.errstate(divide="ignore", invalid="ignore"):
            heights = np.log10(values) if self.logarithmic else values
        heights = np.nan_to_num(heights, nan=self.high, posinf=self.high, neginf=self.low)
        return np.clip(heights, self.low, self.high)

    def above(self, surface: xr.Dataset) -> bool:
        """Whether a surface has values that are cut off."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = surface[self.variable].values
            return bool(np.nanmax(np.log10(values) if self.logarithmic else values) > self.high)

    def ticks(self, count: int) -> tuple[np.ndarray, list[str]]:
        """Heights and what is written beside them: values, with as many digits as tell them apart."""
        heights = np.linspace(self.low, self.high, count)
        values = 10**heights if self.logarithmic else heights
        for digits in range(2, 7):
            labels = [f"{float(f'{v:.{digits}g}'):g}" for v in values]  # 190, not 1.9e+02
            if len(set(labels)) == len(labels):
                break
        return heights, labels


def across(count: int, columns: int) -> int:
    """Panels in a row."""
    return columns or min(count, 4)


def frames(surfaces: Sequence[xr.Dataset], columns: int, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with one panel a surface."""
    width = across(len(surfaces), columns)
    rows = -(-len(surfaces) // width)
    single = len(surfaces) == 1
    figure = new_figure((4.6 if single else 2.9) * width + 0.9, (3.9 if single else 2.7) * rows + 0.6)
    grid = np.atleast_1d(figure.subplots(rows, width, sharex=shared, sharey=shared)).ravel()
    for ax in grid[len(surfaces) :]:
        ax.set_visible(False)
    return figure, list(grid[: len(surfaces)])


def filled(ax: Axes, surface: xr.Dataset, scale: Scale) -> Any:
    """Filled contours with thin lines between them."""
    ax.grid(False)
    Z = scale.heights(surface)
    levels = np.linspace(scale.low, scale.high, LEVELS)
    extend = "max" if scale.above(surface) else "neither"
    drawn = ax.contourf(surface.x, surface.y, Z, levels=levels, cmap=SEQUENTIAL, extend=extend)
    drawn.set_edgecolor("face")  # no hairlines between levels in vector formats
    ax.contour(
        surface.x, surface.y, Z, levels=levels[1:-1:2], colors="white", linewidths=0.5, linestyles="solid", alpha=0.7
    )
    return drawn


def bar(figure: Figure, drawn: Any, axes: Sequence[Axes], scale: Scale) -> None:
    """The bar of colours beside the panels."""
    beside = figure.colorbar(drawn, ax=list(axes), label=scale.label, pad=0.02, shrink=0.92)
    ticks, labels = scale.ticks(6)
    beside.set_ticks(list(ticks), labels=labels)
    beside.outline.set_visible(False)


def eigenvalue_ratios(ax: Axes, surface: xr.Dataset, levels: np.ndarray) -> Any:
    """The map of abs(smallest / largest eigenvalue), linear between the points where it was computed: the dots."""
    ax.grid(False)
    x, y = surface.curvature_x.values, surface.curvature_y.values
    ratio = surface.hessian_ratio.transpose("curvature_y", "curvature_x").values
    ratio = np.ma.masked_invalid(np.clip(ratio, levels[0], levels[-1]))
    drawn = ax.contourf(x, y, ratio, levels=levels, cmap=SEQUENTIAL)
    drawn.set_edgecolor("face")
    X, Y = np.meshgrid(x, y)
    ax.plot(X[~ratio.mask], Y[~ratio.mask], ".", color="white", ms=2.5, alpha=0.8)
    return drawn


def how(surfaces: Sequence[xr.Dataset]) -> str:
    """What was computed: the samples, those that they were drawn from, whose statistics normalise, and the mode."""
    attrs = surfaces[0].attrs
    samples = counted(attrs["samples"], "sample") if "samples" in attrs else ""
    if "total_samples" in attrs and attrs["samples"] < attrs["total_samples"]:
        samples += f" of {attrs['total_samples']:,}"
    if attrs.get("statistics") == "recomputed":
        samples += ", batch-norm statistics recomputed"
    if attrs.get("model_mode", "eval") != "eval":
        samples += f", mode: {attrs['model_mode']}"
    return samples
