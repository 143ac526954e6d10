"""Pictures packed into a page: small in the file, unpacked by the reader's browser when they come into view.

Interactive figures need plotly's library, nearly 5 MB of script. Packed it is 2 MB, in the page once for all its
figures, and nothing but text until the first of them is looked at: a page opens as fast as one without, and stays one
file.
"""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.util
from importlib.resources import files
from typing import Any

from nonsingular.errors import MissingExtra
from nonsingular.policy import policy


def packed(content: bytes | str) -> str:
    """gzip, then base64: what ``unpack`` of `script` reads; equal content gives equal text.

    >>> packed("x" * 1000) == packed(b"x" * 1000)
    True
    """
    raw = content.encode() if isinstance(content, str) else content
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()


def available() -> bool:
    """Whether the library of interactive figures is installed (extra ``interactive``)."""
    return importlib.util.find_spec("plotly") is not None


@functools.cache
def library() -> str:
    """Plotly's script, `packed`.

    Raises:
        MissingExtra: plotly is not installed.
    """
    if not available():
        raise MissingExtra("interactive figures", "interactive")
    return packed(_plotly())


def allowed(*scripts: str, interactive: bool) -> str:
    """The policy of a page with these scripts, and with plotly's where it has interactive figures."""
    return policy(*scripts, *([_plotly()] if interactive else []))


def _plotly() -> str:
    return files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")


def script() -> str:
    """What unpacks pictures (``data-picture``) and interactive figures (``data-figure``) of a page."""
    return files("nonsingular.plots").joinpath("live.js").read_text(encoding="utf-8")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; background: Canvas; color: CanvasText; font-family: sans-serif; }}
.figure {{ height: 100vh; }}
</style>
</head>
<body>
<div class="figure" data-figure="{figure}"></div>
<script type="text/plain" id="plotly">{library}</script>
<script>{script}</script>
</body>
</html>
"""


def page(figure: Any, title: str) -> str:
    """One interactive figure as a page of its own.

    Args:
        figure: of plotly.
        title: of the page.

    Raises:
        MissingExtra: plotly is not installed.
    """
    import html

    parts = {"title": html.escape(title), "figure": packed(figure.to_json()), "library": library()}
    return _PAGE.format(**parts, script=script(), policy=allowed(script(), interactive=True))
