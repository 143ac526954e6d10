"""Comparisons of trained networks: held within what is possible, and refused where no network has trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from nonsingular.experiments import effects
from nonsingular.experiments.claims import Effect, NotMeasured, difference
from nonsingular.experiments.effects import per_run, speed
from nonsingular.experiments.fit import fitted
from nonsingular.experiments.needs import trained
from nonsingular.experiments.run.instruments import PERCENT

FIRST_STEPS = 10.0
"""Percent of the way from guessing to no error that at least one of the compared networks must have come. Lower than
``fit.HALFWAY``: the paper compares how fast networks train, also those that are far from done."""

PERCENTAGES = (-100.0, 100.0)
CORRELATIONS = (-1.0, 1.0)
POSSIBLE = {"mean_overlap": (-2.0, 2.0)}  # a difference of correlations


def require_started(results: xr.Dataset, *networks: str) -> None:
    """Refuse to compare networks of which none has trained: what they differ in has not been tried yet.

    Raises:
        NotMeasured: none of ``networks`` has come ``FIRST_STEPS`` percent of the way, or one was left out.
    """
    reached = {name: float(np.nanmean(fitted(results, name))) for name in networks}
    if not any(way > FIRST_STEPS for way in reached.values()):
        furthest = max(reached.values())
        raise NotMeasured(
            f"none of {', '.join(networks)} has trained: {furthest:.0f} % of the way from guessing to no error, "
            f"{FIRST_STEPS:g} % are needed"
        )


STARTED = trained(FIRST_STEPS)
"""What the figures that are declared need of networks."""


def faster(results: xr.Dataset, first: str, second: str, *, paired: bool = False) -> Effect:
    """Difference in training speed, in percentage points, of networks one of which has trained.

    Args:
        results: of a study.
        first: network.
        second: network.
        paired: whether equal run numbers are compared with each other.
    """
    a, b = speed(results, first), speed(results, second)
    require_started(results, first, second)
    return difference(a, b, paired=paired, within=PERCENTAGES)


def larger(results: xr.Dataset, variable: str, first: str, second: str, scale: float = 1.0) -> Effect:
    """Difference of a variable between two networks, averaged over layers and all measured epochs after the start."""
    over = ["epoch", "layer"] if variable in results and "layer" in results[variable].dims else ["epoch"]
    a, b = (scale * per_run(results, variable, name).isel(epoch=slice(1, None)).mean(over) for name in (first, second))
    require_started(results, first, second)
    possible = (-scale, scale) if variable in PERCENT else POSSIBLE.get(variable, (-math.inf, math.inf))
    return difference(a, b, within=possible)


def larger_share(results: xr.Dataset, variable: str, first: str, second: str) -> Effect:
    """First minus second network's share, averaged over the measured epochs after the start, in percentage points."""
    return larger(results, variable, first, second, 100.0)


def slope(results: xr.Dataset, places: Mapping[str, float]) -> Effect:
    """How the training speed changes along a series of networks one of which has trained."""
    found = effects.slope(results, places)
    require_started(results, *places)
    return found


def largest(found: Mapping[str, Effect]) -> Effect:
    """The largest of several effects, by what it is called in the note: below a number if all of them are.

    Its interval reaches from the largest lower to the largest upper end, so that it lies below a number where every
    single interval does, and above it where one does.
    """
    name, effect = max(found.items(), key=lambda item: item[1].value)
    low, high = (float(np.max([getattr(e, end) for e in found.values()])) for end in ("low", "high"))
    return Effect(effect.value, low, high, min(e.runs for e in found.values()), name)


def smallest(found: Mapping[str, Effect]) -> Effect:
    """The smallest of several effects, as ``largest``: above a number if all of them are."""
    name, effect = min(found.items(), key=lambda item: item[1].value)
    low, high = (float(np.min([getattr(e, end) for e in found.values()])) for end in ("low", "high"))
    return Effect(effect.value, low, high, min(e.runs for e in found.values()), name)
