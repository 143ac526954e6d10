"""Claims of a paper, and the judge that decides whether measured results bear them out.

A claim names an *effect* (a number computed from the results, with an interval) and the *region* in which the
paper says it lies. The verdict is

- ``holds`` when the whole interval lies in the region,
- ``fails`` when none of it does,
- ``inconclusive`` when the interval straddles the region's edge, when it is a difference that is zero in all runs
  (nothing was there to compare), or when the effect was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import xarray as xr

from nonsingular.checks import checked
from nonsingular.intervals import EQUAL, Effect, difference, erring_with, exactly, in_words, mean, rank_correlation

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "Claim",
    "Effect",
    "Judgement",
    "NotMeasured",
    "Region",
    "difference",
    "exactly",
    "is_ours",
    "judge",
    "mean",
    "rank_correlation",
]


@dataclass(frozen=True)
class Region:
    """The open range of values that a claim allows (open: no difference at all is not a positive one)."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"< {self.high:g}"
        if math.isinf(self.high):
            return f"> {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def verdict(self, effect: Effect) -> str:
        """Where the effect's interval lies: ``holds``, ``fails`` or ``inconclusive``."""
        if not (effect.low <= effect.high):  # also catches NaN
            return "inconclusive"
        if effect.runs > 1 and effect.low == effect.high == 0 and 0 in (self.low, self.high):
            return "inconclusive"
        above = self.low < effect.low or self.low == -math.inf  # where a region has no end an interval needs none
        below = effect.high < self.high or self.high == math.inf
        if above and below:
            return "holds"
        if effect.high <= self.low or self.high <= effect.low:
            return "fails"
        return "inconclusive"


POSITIVE = Region(low=0.0)
NEGATIVE = Region(high=0.0)


class NotMeasured(Exception):
    """Raised by a claim's effect when the results lack what it needs (a network left out, too few epochs)."""


@checked
@dataclass(frozen=True)
class Claim:
    """One sentence of a paper, the effect that tests it and the region where the paper puts that effect.

    Attributes:
        id: ``paper/figure/name``.
        source: paper, section or figure.
        statement: the claim in one sentence, with the sign convention of the effect.
        effect: results -> effect.
        region: the values under which the claim is true.
        unit: unit of the effect, ``""`` where it has none.
        expected: the paper's own value in words, where it gives one.
        ours: whether it is no claim of the paper but a question of ours about its experiment: judged, and not counted
            in the paper's score.

    >>> import xarray as xr
    >>> import nonsingular as ns
    >>> from nonsingular.experiments.claims import judge, mean
    >>> gain = ns.Claim("mine/gain", "my notes", "Accuracy grows", lambda results: mean(results.gain.values))
    >>> results = xr.Dataset({"gain": ("run", [0.9, 1.1, 1.0, 1.2, 0.8, 1.0, 1.1, 0.9])})
    >>> judge(gain, results, scale="smoke", data="none").verdict
    'holds'
    """

    id: str
    source: str
    statement: str
    effect: Callable[[xr.Dataset], Effect]
    region: Region = POSITIVE
    unit: str = ""
    expected: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Judgement:
    """One row of the scoreboard: the fields of ``claims.json``.

    ``region`` is the range in which the claim holds; ``share`` the parts of the paper's training ``steps`` (None where
    nothing is trained) and of its ``runs`` that the verdict rests on.
    """

    id: str
    paper: str
    source: str
    statement: str
    expected: str
    measured: float | None
    interval: tuple[float, float] | None
    unit: str
    runs: int
    scale: str
    data: str
    verdict: str
    note: str
    region: tuple[float, float] | None = None
    share: Mapping[str, float | None] | None = None

    def to_json(self) -> dict[str, object]:
        """A plain dictionary, infinities and NaN (which JSON lacks) as null."""

        def finite(x: float | None) -> float | None:
            return x if x is not None and math.isfinite(x) else None

        row = asdict(self)
        row["measured"] = finite(self.measured)
        for name in ("interval", "region"):
            row[name] = None if row[name] is None else [finite(x) for x in getattr(self, name)]
        return row


def judge(
    claim: Claim, results: xr.Dataset, *, scale: str, data: str, share: Mapping[str, float | None] | None = None
) -> Judgement:
    """Measure the claim's effect in ``results`` and say whether it holds, fails or cannot be told."""
    try:
        with erring_with():
            effect = claim.effect(results)
    except NotMeasured as reason:
        effect = Effect(math.nan, math.nan, math.nan, 0, f"{NOT_MEASURED}{reason}")
    return Judgement(
        id=claim.id,
        paper=claim.id.split("/")[0],
        source=OURS + claim.source if claim.ours else claim.source,
        statement=claim.statement,
        expected=claim.expected or str(claim.region),
        measured=effect.value,
        interval=(effect.low, effect.high),
        unit=claim.unit,
        runs=effect.runs,
        scale=scale,
        data=data,
        verdict=claim.region.verdict(effect),
        note=effect.note,
        region=(claim.region.low, claim.region.high),
        share=share,
    )


def interval_in_words(row: Mapping[str, Any], none: str = "–") -> str:
    """The interval of a row of the scoreboard, as `intervals.in_words` tells it; "exact" where nothing was sampled.

    >>> interval_in_words({"interval": [1.0, None], "runs": 8})
    '1 or more'
    >>> [interval_in_words({"interval": [0.0, 0.0], "runs": runs}) for runs in (1, 8)]
    ['exact', 'all runs equal']
    """
    low, high = row["interval"] or (None, None)
    told = in_words(low, high, none)
    if told == EQUAL:
        return "exact" if row["runs"] <= 1 else "all runs equal"
    return told


NOT_MEASURED = "not measured: "
"""How the note of a claim begins that the results lack something for."""


def is_measured(row: Mapping[str, Any]) -> bool:
    """Whether a row of the scoreboard has anything to go by: it may be undecided all the same."""
    return not str(row["note"]).startswith(NOT_MEASURED)


OURS = "ours, on "
"""How the source of a question of ours begins; what follows is the part of the paper that it is about."""


BESIDE = "not the paper's claim"
"""What is said before the statement of such a question."""


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether a row of the scoreboard is no claim of the paper."""
    return str(row["source"]).startswith(OURS)


def source_in_words(row: Mapping[str, Any]) -> str:
    """Where the paper says it; of what is no claim of the paper, the part that it is about.

    >>> source_in_words({"source": "ours, on figure 3"})
    'about figure 3'
    """
    source = str(row["source"])
    return f"about {source.removeprefix(OURS)}" if is_ours(row) else source
