"""Differences between two results, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nonsingular.plots.style import GREY, colour, heading, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """One panel a variable, one row a network: the difference as a point, its interval as a bar, zero as a line.

    Args:
        rows: with ``variable``, ``label``, ``network``, ``value`` and ``interval`` (two numbers, or None).
        title: above all panels.
    """
    variables = list(dict.fromkeys(row["variable"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    columns = min(len(variables), 4)
    lines = -(-len(variables) // columns)
    with style(networks):
        figure = new_figure(1.2 + 2.6 * columns, 1.1 + lines * (0.7 + 0.3 * len(networks)))
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for ax, variable in zip(axes, variables, strict=False):
            ax.axvline(0, color=GREY, linewidth=1)
            mine = {row["network"]: row for row in rows if row["variable"] == variable}
            for place, network in enumerate(networks):
                row = mine[network]
                if row["interval"] is not None:
                    ax.plot(row["interval"], [place, place], color=colour(network), linewidth=2.5)
                ax.plot(row["value"], place, "o", color=colour(network))
            ax.set_xlabel(f"{row['label']}: B minus A")
        for ax in axes[len(variables) :]:
            ax.set_axis_off()
        axes[0].set_yticks(range(len(networks)), [name or "all" for name in networks])
        axes[0].set_ylim(len(networks) - 0.5, -0.5)
        heading(figure, title)
        return figure
