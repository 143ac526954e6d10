"""Pictures of a diagnosis: signals and gradients through depth, and what treatments did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nonsingular.plots.drawn import Drawing, log_lines
from nonsingular.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    legend_below,
    new_figure,
    style,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW)  # the untreated copies are black
DRAWN = [(colour, *how) for how in (("-", "o"), ("--", "s"), (":", "^")) for colour in COLOURS]
"""Colour, line and marker of the copies one after another: no two alike."""


def through_depth(names: Sequence[str], measures: Mapping[str, Sequence[float]]) -> Drawing:
    """Measures of every layer on a logarithmic axis, from the input to the output.

    Args:
        names: of the layers.
        measures: label -> one number a layer; what is not positive and finite is left out.
    """
    titles = "layer, in the order of the forward pass", "size (activation and loss units)"
    return log_lines([_short(n) for n in names], measures, COLOURS, titles)


def training(points: Sequence[int], paths: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Training loss on the way: the mean of all runs, and the range between the best and the worst as a band.

    Where the means span over 30 times, as where one copy diverges for a while, the axis is logarithmic.

    Args:
        points: steps.
        paths: copy -> [point, run].
    """
    with style():
        figure = new_figure(7, 3.2 + 0.07 * len(paths))  # the legend stands below
        axes = figure.subplots()
        low, high = math.inf, 0.0
        for i, (label, path) in enumerate(paths.items()):
            values = np.array(path, float)
            values[~np.isfinite(values)] = np.nan
            colour, line, marker = (BLACK, "-", "o") if i == 0 else DRAWN[(i - 1) % len(DRAWN)]
            seen = np.isfinite(values).any(1)
            at = np.array(points[: len(values)])[seen]
            if not len(at):
                continue
            mean = np.nanmean(values[seen], 1)
            low, high = min(low, np.nanmin(values)), max(high, mean.max())
            axes.plot(at, mean, linestyle=line, marker=marker, ms=3, color=colour, label=label)
            axes.fill_between(
                at, np.nanmin(values[seen], 1), np.nanmax(values[seen], 1), color=colour, alpha=0.15, lw=0
            )
        if 0 < 30 * low < high:
            axes.set_yscale("log")
        axes.set_xlabel("steps")
        axes.set_ylabel("training loss (mean; band: all runs)")
        legend_below(figure)
        return figure


def gains(names: Sequence[str], effects: Sequence[tuple[float, float, float]], helped: Sequence[bool]) -> Figure:
    """What treated copies learned more than untreated ones, in points, with its 95 % interval; right is better."""
    with style():
        figure = new_figure(7, 0.9 + 0.36 * len(names))
        axes = figure.subplots()
        for y, ((value, low, high), good) in enumerate(zip(effects, helped, strict=True)):
            known = all(math.isfinite(x) for x in (value, low, high))
            colour = COLOURS[2] if good else COLOURS[1] if known and high < 0 else GREY
            if known:
                axes.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3)
        axes.axvline(0, color=BLACK, lw=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("learned, treated minus untreated (points; 95 % interval)")
        return figure


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"…{name[-17:]}"
