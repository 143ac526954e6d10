"""The points along an axis of a surface: even, and with the solutions among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nonsingular.errors import InputError

Span = tuple[float, float]
Axis = Float[np.ndarray, " point"]
CENTRE = (0.0,)
ENDS = (0.0, 1.0)
"""Coordinates of the two solutions on a line from one to the other."""


def axis(span: Span, grid: int, marks: Sequence[float] = CENTRE) -> Axis:
    """Points from one end of a span to the other, as even as they can be with every mark inside it among them.

    Args:
        span: coordinates of the first and the last point.
        grid: how many points; more where the marks alone are more.
        marks: coordinates of solutions, of which those outside the span are left out.

    Raises:
        InputError: fewer than two points, or no span.

    >>> axis((-1, 1), 4).round(3).tolist()
    [-1.0, -0.5, 0.0, 1.0]
    """
    low, high = span
    if grid < 2:
        raise InputError(f"grid must be at least 2 points, got {grid}")
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"span must be two finite numbers, the smaller first, got {low:g} and {high:g}")
    fixed = np.array([low, *sorted(m for m in marks if low < m < high), high])
    even = np.linspace(low, high, grid)
    if (np.abs(even[:, None] - fixed).min(0) <= 1e-9 * (high - low)).all():
        even[[np.abs(even - m).argmin() for m in fixed]] = fixed  # but for rounding
        return even
    lengths = np.diff(fixed)
    steps = np.ones(len(lengths), int)
    while steps.sum() < grid - 1:
        steps[(lengths / steps).argmax()] += 1  # where the points are furthest apart
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(fixed, fixed[1:], steps, strict=False)]
    return np.concatenate([*parts, [high]])


def marked(points: Axis, marks: Sequence[float]) -> list[int]:
    """Where on an axis the marks lie, of those that it reaches."""
    return [int(np.flatnonzero(points == m)[0]) for m in marks if m in points]
