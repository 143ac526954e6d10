"""A chart drawn as text, without matplotlib, which takes half a second to load: as much as a diagnosis itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 700, 328
LEFT, RIGHT, TOP, BOTTOM = 72, 12, 30, 92  # around the axes
NAMES, DECADES = 12, 8  # most of them along an axis
STYLE = (
    "text { font: 10.5px system-ui, sans-serif; fill: #1b1b1b } .frame { fill: none; stroke: #1b1b1b } "
    ".grid { stroke: #ddd } @media (prefers-color-scheme: dark) "
    "{ text { fill: #e8e8e8 } .frame { stroke: #e8e8e8 } .grid { stroke: #3a3d42 } }"
)


class Drawing(str):
    """The text of an SVG file, which notebooks show as what it draws."""

    def _repr_svg_(self) -> str:
        return str(self)


def log_lines(
    names: Sequence[str], lines: Mapping[str, Sequence[float]], colours: Sequence[str], titles: tuple[str, str]
) -> Drawing:
    """Lines on a logarithmic axis over places that have names, with a legend above.

    Args:
        names: of the places; a dozen of them are written.
        lines: label -> one number a place; what is not positive and finite is left out.
        colours: of the lines.
        titles: of the horizontal and of the vertical axis.

    >>> print(log_lines(["a", "b"], {"size": [1.0, 100.0]}, ["blue"], ("layer", ""))[:4])
    <svg
    """
    logs = {label: [_log(v) for v in values] for label, values in lines.items()}
    known = [y for ys in logs.values() for y in ys if y is not None] or [0.0]
    low, high = math.floor(min(known)), max(math.ceil(max(known)), math.floor(min(known)) + 1)
    inner = WIDTH - LEFT - RIGHT - 28

    def x(i: int) -> float:
        return LEFT + 14 + inner * (i / (len(names) - 1) if len(names) > 1 else 0.5)

    def y(log: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - log) / (high - low)

    parts = [f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{inner + 28}" height="{HEIGHT - TOP - BOTTOM}"/>']
    for decade in range(low, high + 1, -(-(high - low) // DECADES)):
        parts.append(f'<path class="grid" d="M{LEFT} {y(decade):.1f}H{WIDTH - RIGHT}"/>')
        power = f'10<tspan dy="-4" font-size="8">{decade}</tspan>'
        parts.append(f'<text x="{LEFT - 6}" y="{y(decade) + 4:.1f}" text-anchor="end">{power}</text>')
    for i in range(0, len(names), max(1, len(names) // NAMES)):
        at = f"{x(i):.1f} {HEIGHT - BOTTOM + 14}"
        parts.append(f'<text transform="translate({at}) rotate(-40)" text-anchor="end">{escape(names[i])}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(titles[0])}</text>')
    turned = f'transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {turned}>{escape(titles[1])}</text>")
    apart = min(170, (WIDTH - LEFT) / max(len(logs), 1))
    for number, ((label, values), colour) in enumerate(zip(logs.items(), colours[: len(logs)], strict=True)):
        points = [None if v is None else (x(i), y(v)) for i, v in enumerate(values)]
        key = LEFT + apart * number
        parts.append(f'<path stroke="{colour}" stroke-width="2" d="M{key:g} 16h20"/>')
        parts.append(f'<text x="{key + 26:g}" y="20">{escape(label)}</text>')
        for run in _runs(points):
            through = " ".join(f"{a:.1f},{b:.1f}" for a, b in run)
            parts.append(f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.2" fill="{colour}"/>' for a, b in run]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return Drawing(f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{"".join(parts)}</svg>')


def _log(value: float) -> float | None:
    return math.log10(value) if value > 0 and math.isfinite(value) else None


def _runs(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    """Neighbours without a gap."""
    run: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []
