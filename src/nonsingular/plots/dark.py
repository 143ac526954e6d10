"""Pictures that follow the page they are on: black on a light one, light on a dark one."""

from __future__ import annotations

import re

INK, PAPER = 0xE8, 0x16
"""Of a dark page, as levels of grey: what takes the place of black, and what of (nearly) white."""

_GREY = re.compile(r"(fill|stroke|stop-color): #([0-9a-f]{2})\2\2\b")
_MARK = '<style id="dark">'


def dark_aware(svg: str) -> str:
    """A drawing of matplotlib's with a second set of greys for dark pages; colours, and light pages, are as before.

    Where the colour scheme is dark (``prefers-color-scheme``, which a picture takes from the page that embeds it), the
    white ground behind figure and axes is left out, text and lines are light, and greys are turned round. White lines
    and marks stay: they lie on something coloured. Programs that read no such style see the drawing unchanged.

    Args:
        svg: the text of the file, from ``Figure.savefig``; one that has the style already is returned as it is.

    >>> import io
    >>> from nonsingular.plots.style import new_figure
    >>> figure, file = new_figure(), io.StringIO()
    >>> lines = figure.subplots().plot([0, 1], color="black")
    >>> figure.savefig(file, format="svg")
    >>> "prefers-color-scheme: dark" in dark_aware(file.getvalue())
    True
    """
    if _MARK in svg:
        return svg
    rules = [
        f'text, [id^="text_"] {{ fill: {_grey(INK)} }}',
        '[id^="patch_"] > path[style*="fill: #ffffff"] { fill: none !important }',
    ]
    for name, level in sorted(set(_GREY.findall(svg))):
        if level != "ff":
            turned = INK + (PAPER - INK) * int(level, 16) / 255
            rules.append(f'[style*="{name}: #{level * 3}"] {{ {name}: {_grey(round(turned))} !important }}')
    style = f"{_MARK}@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    return re.sub(r"(<svg\b[^>]*>)", lambda found: found[1] + style, svg, count=1)


def _grey(level: int) -> str:
    return "#" + f"{level:02x}" * 3
