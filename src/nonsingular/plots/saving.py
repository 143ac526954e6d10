"""Finished figures as files: whole ones or none, in dots for print and as drawings that follow their page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nonsingular.files import write_whole
from nonsingular.plots.dark import dark_aware
from nonsingular.plots.room import give_room

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 200
"""Of pictures in dots, an inch: for print."""


WRITTEN: dict[Any, Any] = {"axes.formatter.min_exponent": 3, "svg.hashsalt": "nonsingular"}
"""On logarithmic axes 0.4, 4 and 40 instead of powers of ten; one drawing is one file, without names drawn at random.

Read when a figure is written, not when it is made.
"""


def write_figure(folder: Path, name: str, figure: Figure) -> Path:
    """Write ``name.png`` and ``name.svg``, each whole or not at all; the path of the former."""
    content = io.BytesIO()
    _put(figure, content, format="png", dpi=DOTS)
    write_whole(folder / f"{name}.png", content.getvalue())
    write_whole(folder / f"{name}.svg", svg(figure))
    return folder / f"{name}.png"


def svg(figure: Figure) -> str:
    """The drawing as text of an SVG file, which follows light and dark pages (``plots.dark``)."""
    content = io.StringIO()
    _put(figure, content, format="svg", metadata={"Date": None})
    return dark_aware(content.getvalue())


def _put(figure: Figure, content: IO[Any], **how: Any) -> None:
    import matplotlib as mpl

    with mpl.rc_context(WRITTEN):
        _arrange(figure)
        figure.savefig(content, **how)


def _arrange(figure: Figure) -> None:
    """Lay a figure out once for all its files; a figure with a layout is drawn twice, and laid out twice, for each."""
    import matplotlib as mpl

    give_room(figure)
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        with mpl.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)
