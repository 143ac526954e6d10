"""What claims say of networks: each verb computes an effect and words it, so that both cannot drift apart.

``faster("residual", "plain") > 0`` is a test: the difference in training speed lies above 0. Its claim's statement ends
in what is computed, "(mean training accuracy over the epochs: residual minus plain)".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr

from nonsingular.experiments import effects
from nonsingular.experiments.claims import Claim, Effect, Region, difference
from nonsingular.experiments.run.instruments import LABELS, PERCENT

POINTS = "percentage points"
PERCENTAGES = (-100.0, 100.0)
BOUNDS = {"mean_overlap": (-2.0, 2.0), "maximum_overlap": (-2.0, 2.0)}
"""What differences of two networks are possible, in variables that are bounded and no shares."""

Needs = Callable[..., None]
"""(results, networks...) -> nothing, or NotMeasured where the networks cannot be compared."""


@dataclass(frozen=True)
class Measure:
    """Something measured of the results.

    Attributes:
        effect: results -> the number with its interval.
        words: what is computed.
        unit: of the number; empty where it has none.
        networks: those it is measured of, which the experiment's ``needs`` are about.
    """

    effect: Callable[[xr.Dataset], Effect]
    words: str
    unit: str
    networks: tuple[str, ...]

    def __gt__(self, bound: float) -> Test:
        return Test(self, Region(low=bound))

    def __lt__(self, bound: float) -> Test:
        return Test(self, Region(high=bound))

    def between(self, low: float, high: float) -> Test:
        """That it lies between two numbers."""
        return Test(self, Region(low, high))


@dataclass(frozen=True)
class Test:
    """A measure and where it should lie."""

    __test__ = False  # no test of pytest's

    measure: Measure
    region: Region


@dataclass(frozen=True)
class Declared:
    """A claim as a figure declares it; its id, source and needs are the figure's."""

    name: str
    statement: str
    test: Test
    source: str | None = None
    expected: str = ""

    def claim(self, experiment: str, source: str, needs: Needs | None) -> Claim:
        """The claim of an experiment."""
        measure, region = self.test.measure, self.test.region

        def effect(results: xr.Dataset) -> Effect:
            if needs is not None:
                needs(results, *measure.networks)
            return measure.effect(results)

        words = measure.words if region in (Region(low=0.0), Region(high=0.0)) else f"{measure.words}; {region}"
        return Claim(
            f"{experiment}/{self.name}", self.source or source, f"{self.statement} ({words}).", effect, region,
            measure.unit, self.expected,
        )  # fmt: skip


def claim(name: str, statement: str, test: Test, *, source: str | None = None, expected: str = "") -> Declared:
    """A claim of a figure.

    Args:
        name: the last part of its id.
        statement: what the paper says, without a full stop; what is computed is added.
        test: from a verb.
        source: where the paper says it, if not where it has the figure.
        expected: the paper's own value in words, where it gives one.
    """
    return Declared(name, statement, test, source, expected)


def faster(first: str, second: str) -> Measure:
    """By how much the first network trains faster: its mean training accuracy over the epochs."""
    return Measure(
        lambda results: difference(
            effects.speed(results, first), effects.speed(results, second), within=PERCENTAGES
        ),
        f"mean training accuracy over the epochs: {first} minus {second}", POINTS, (first, second),
    )  # fmt: skip


def larger(variable: str, first: str, second: str) -> Measure:
    """By how much a variable is larger in the first network, averaged over layers and the epochs after the start."""
    share = variable in PERCENT
    scale = 100.0 if share else 1.0
    bounds = PERCENTAGES if share else BOUNDS.get(variable, (-math.inf, math.inf))

    def effect(results: xr.Dataset) -> Effect:
        return effects.larger(results, variable, first, second, scale, within=bounds)

    name, _, unit = LABELS[variable].replace("\n", " ").partition(" (")
    return Measure(
        effect, f"{name}, mean over the measured epochs after the start: {first} minus {second}",
        POINTS if share else unit.rstrip(")"), (first, second),
    )  # fmt: skip
