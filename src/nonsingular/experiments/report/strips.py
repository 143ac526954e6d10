"""A claim's interval drawn small: where it lies, and where the paper says it should."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nonsingular.experiments.claims import interval_in_words

WIDTH = 140.0
MARGIN = 8.0


@dataclass(frozen=True)
class Strip:
    """Positions along a line of ``WIDTH`` units; None for what was not measured or not said.

    Attributes:
        value: the measured effect.
        interval: ends of its interval.
        allowed: ends of the region in which the claim holds.
        edges: where that region ends.
        words: the same for those who do not see it.
        width: of the whole line.
    """

    value: float | None
    interval: tuple[float, float] | None
    allowed: tuple[float, float] | None
    edges: tuple[float, ...]
    words: str
    width: float = WIDTH


def strip(row: Mapping[str, Any]) -> Strip | None:
    """The drawing of a row of ``claims.json``; None where nothing was measured."""
    value = _number(row["measured"])
    low, high = (_number(x) for x in (row["interval"] or (None, None)))
    measured = [x for x in (value, low, high) if x is not None]
    if not measured:
        return None
    region = row.get("region")  # rows of earlier versions have none
    ends = [float(x) for x in region or () if x is not None]
    least, most = min(measured + ends), max(measured + ends)
    room = most - least or abs(most) or 1.0

    def place(x: float) -> float:
        scaled = MARGIN + (x - least) / room * (WIDTH - 2 * MARGIN)
        return round(min(max(scaled, 0.0), WIDTH), 2)

    interval = None if low is high is None else (place(_or(low, -math.inf)), place(_or(high, math.inf)))
    words = f"measured {value:.3g}" if value is not None else "not measured"
    told = interval_in_words(row, "")
    words += f", interval: {told}" if told else ", no interval"
    return Strip(
        None if value is None else place(value),
        interval,
        (place(_or(region[0], -math.inf)), place(_or(region[1], math.inf))) if region else None,
        tuple(place(x) for x in ends),
        f"{words}; the claim: {row['expected']}",
    )


def _or(bound: object, otherwise: float) -> float:
    return float(bound) if isinstance(bound, int | float) else otherwise


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
