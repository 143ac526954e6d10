"""Room for the words of a finished figure: none leaves the paper, no label of a tick lies on its neighbour."""

from __future__ import annotations

import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLER = 7.5
"""Points, of labels that touch each other in their own size."""
TURNED = 30.0
"""Degrees, of labels that touch each other even so."""


def give_room(figure: Figure) -> None:
    """Break what is too wide of a title, and shrink, then turn, named ticks that touch each other.

    Args:
        figure: finished, with a layout engine or laid out; it is changed in place.

    >>> from nonsingular.plots.style import new_figure
    >>> figure = new_figure(3, 2)
    >>> ax = figure.subplots()
    >>> ticks = ax.set_xticks(range(4), ["linearly dependent"] * 4)
    >>> give_room(figure)
    >>> ax.get_xticklabels()[0].get_rotation()
    30.0
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.ticker import FixedLocator

    break_title(figure)
    named = [ax.xaxis for ax in figure.axes if isinstance(ax.xaxis.get_major_locator(), FixedLocator)]
    changes: tuple[dict[str, Any], ...] = ({"labelsize": SMALLER}, {"labelrotation": TURNED})
    for change in changes:
        if not named:
            return
        if (layout := figure.get_layout_engine()) is not None:
            layout.execute(figure)
        renderer = FigureCanvasAgg(figure).get_renderer()
        named = [axis for axis in named if _touch(axis, renderer)]
        for axis in named:
            axis.set_tick_params(which="major", **change)
            if "labelrotation" in change:
                for label in axis.get_ticklabels():
                    label.set(horizontalalignment="right", rotation_mode="anchor")


def _touch(axis: Any, renderer: Any) -> bool:
    labels = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
    if any(label.get_rotation() % 180 for label in labels):
        return False
    boxes = sorted((label.get_window_extent(renderer) for label in labels), key=lambda box: box.x0)
    return any(left.x1 + 2 > right.x0 for left, right in pairwise(boxes))


def break_title(figure: Figure) -> None:
    """Break the lines of a figure's title that are wider than the paper."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    title = figure._suptitle  # type: ignore[attr-defined]  # matplotlib has no other way to it
    if title is None or not title.get_text():
        return
    renderer = FigureCanvasAgg(figure).get_renderer()
    share = title.get_window_extent(renderer).width / (0.98 * figure.bbox.width)
    if share > 1:
        lines = title.get_text().split("\n")
        letters = int(max(map(len, lines)) / share)
        title.set_text("\n".join(part for line in lines for part in textwrap.wrap(line, letters)))
