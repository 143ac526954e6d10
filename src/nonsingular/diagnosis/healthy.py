"""What healthy networks show: limits of every statistic, from the table that ``bench-diagnosis --calibrate`` makes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from nonsingular.diagnosis.rules import RULES

TABLE = "healthy.json"
MARGIN = 0.25
"""Beyond the outermost quantile, as a part of its distance from the median: other networks vary more than ours."""

MOST = {rule.statistic: rule.most for rule in RULES}
MATERIAL = {rule.statistic: rule.material for rule in RULES}
"""Below this a number is not worth a finding, however narrow the healthy networks' own range is."""


@dataclass(frozen=True)
class Limit:
    """The range of a statistic in healthy networks, widened by the margin."""

    low: float
    high: float


@cache
def limits() -> dict[str, Limit]:
    """The limits in force: from the committed table, and the material size alone where no network was measured."""
    text = resources.files("nonsingular.diagnosis").joinpath(TABLE).read_text(encoding="utf-8")
    unmeasured = {name: Limit(-size, size) for name, size in MATERIAL.items()}
    return unmeasured | from_table(json.loads(text)["quantiles"])


def from_table(table: Mapping[str, Mapping[str, float]]) -> dict[str, Limit]:
    """Limits from quantiles: name -> {"q0.005", "q0.5", "q0.995"}."""
    found = {}
    for name, q in table.items():
        low, middle, high = q["q0.005"], q["q0.5"], q["q0.995"]
        material = MATERIAL[name]
        found[name] = Limit(
            min(low - MARGIN * (middle - low), -material),
            max(min(high + MARGIN * (high - middle), MOST[name]), material),
        )
    return found


def quantiles(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """The table: quantiles of every statistic over the healthy networks that have it."""
    table = {}
    for name, samples in values.items():
        known = np.array([v for v in samples if not math.isnan(v)])
        if known.size:
            table[name] = {f"q{q:g}": float(np.quantile(known, q)) for q in (0.005, 0.5, 0.995)}
    return table
