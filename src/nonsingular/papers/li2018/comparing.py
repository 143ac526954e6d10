"""What li2018's claims compare: measures of trained networks and of the surfaces around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, difference, mean, rank_correlation
from nonsingular.experiments.effects import require
from nonsingular.experiments.fit import HALFWAY, fitted
from nonsingular.experiments.verbs import Measure, measured
from nonsingular.intervals import EVERYWHERE

KINDS = {"resnet": "with", "plainnet": "without"}
"""Beginnings of networks' names, and whether they have skip connections."""


@dataclass(frozen=True)
class Kind:
    """A measure of a surface: what it is called, its unit, and the values that are possible."""

    words: str
    unit: str = ""
    within: tuple[float, float] = EVERYWHERE


OF_SURFACES = {
    "nonconvex": Kind("share of points where the surface is not convex", "percentage points", (0, 100)),
    "excess_variation": Kind(
        "how far lines go up and down beyond one minimum, in percent of the ranks of the loss",
        "percentage points",
        (0, np.inf),
    ),
    "minima": Kind("local minima of the surface", "minima", (1, np.inf)),
    "total_variation": Kind("total variation of log loss", "per unit of direction"),
    "guidance": Kind("cosine between the way downhill and the way to the lowest point", "cosine", (-1, 1)),
    "elongation": Kind("length over breadth of the valley around the minimum", "times", (1, np.inf)),
    "sharpness": Kind("mean rise of the loss within half a direction", "nats"),
    "bends": Kind("ratio of eigenvalues where the surface looks non-convex minus that elsewhere"),
    "near_convex": Kind(
        "share of the map where negative eigenvalues are below 1 % of the positive ones", "percentage points", (0, 100)
    ),
    "weight_norm": Kind("norm of the weights", "", (0, np.inf)),
    "test_error": Kind("test error", "percentage points", (0, 100)),
}
ROUGHNESS = ("nonconvex", "excess_variation", "minima", "total_variation")
"""Measures by which surfaces are compared, each in a claim of its own."""
NO_ROUGHNESS = ("total_variation",)
"""Of them what is kept for comparison with earlier results: it grows as a minimum gets deeper. Such claims are ours."""


def of(results: xr.Dataset, variable: str, network: str) -> np.ndarray:
    """A measure of one network's runs, ``[run]``.

    Raises:
        NotMeasured: the results lack it.
    """
    require(results, variable)
    if network not in results.network.values:
        raise NotMeasured(f"network {network} is not among the results")
    return results[variable].sel(network=network).values


def came(results: xr.Dataset, network: str) -> float:
    """How far a network's training came, mean over its runs, in percent of the way from guessing to no error.

    Raises:
        NotMeasured: the results lack it.
    """
    return float(fitted(results, network).mean())


def of_trained(results: xr.Dataset, variable: str, *networks: str) -> list[np.ndarray]:
    """A measure of the runs of each network that have trained, ``[run]``; NaN for a run that has not.

    Raises:
        NotMeasured: the results lack a network, or one did not train (mean over its runs): what its surface looks like
            says nothing of minima.
    """
    found = [of(results, variable, name) for name in networks]
    untrained = [f"{n} came {came(results, n):.0f} percent of the way" for n in networks if came(results, n) <= HALFWAY]
    if untrained:
        raise NotMeasured(f"only trained networks are compared: {', '.join(untrained)} from guessing to no error")
    return [np.where(fitted(results, n) > HALFWAY, m, np.nan) for n, m in zip(networks, found, strict=True)]


def trained_sizes(results: xr.Dataset, *kinds: str) -> tuple[dict[float, list[str]], str]:
    """Sizes of which the results have trained networks of every kind, ascending, and a note of those that lack.

    Args:
        results: whose networks are called ``kind-size``: ``resnet-56``, ``plainnet-k4``.
        kinds: of ``KINDS``.
    """
    names = [n for n in map(str, results.network.values) if n.split("-")[0] in kinds]
    trained = [n for n in names if came(results, n) > HALFWAY]
    lost = [f"{n} ({came(results, n):.0f} % of the way)" for n in names if n not in trained]
    sizes = sorted({float(n.rpartition("-")[2].removeprefix("k")) for n in trained})
    by_size = {s: [n for kind in kinds for n in trained if n in (f"{kind}-{s:g}", f"{kind}-k{s:g}")] for s in sizes}
    found = {s: these for s, these in by_size.items() if len(these) == len(kinds)}
    return found, f"not trained and left out: {', '.join(lost)}" if lost else ""


def _noted(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def compared(variable: str, first: str, second: str) -> Measure:
    """First minus second of two networks that have trained."""
    kind = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        return _difference(results, variable, first, second)

    return Measure(effect, f"{kind.words}: {first} minus {second}", kind.unit, (first, second))


def _difference(results: xr.Dataset, variable: str, first: str, second: str, note: str = "") -> Effect:
    low, high = OF_SURFACES[variable].within
    return difference(*of_trained(results, variable, first, second), note=note, within=(low - high, high - low))


def without_skips(variable: str) -> Measure:
    """Without skips minus with, at the largest depth of the figure at which both networks have trained."""
    kind = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        found, lost = trained_sizes(results, *KINDS)
        if not found:
            raise NotMeasured(f"at no depth have both networks trained; {lost or 'one of them was left out'}")
        layers, (with_skips, without) = list(found.items())[-1]
        return _difference(results, variable, without, with_skips, _noted(f"{layers:g} layers", lost))

    words = f"{kind.words}: without minus with, at the largest depth at which both networks trained"
    return measured(effect, words, kind.unit)


def _slopes(results: xr.Dataset, variable: str, sizes: dict[float, str]) -> np.ndarray:
    """What a doubling of the size adds to a measure: each run's least-squares slope, ``[run]``."""
    values = np.stack(of_trained(results, variable, *sizes.values()), axis=1)
    x = np.log2(list(sizes))
    slopes = np.full(len(values), np.nan)
    for run, (v, finite) in enumerate(zip(values, np.isfinite(values), strict=True)):
        if finite.sum() > 1:
            slopes[run] = np.polyfit(x[finite], v[finite], 1)[0]
    return slopes


def _of_several(results: xr.Dataset, size: str, *kinds: str) -> tuple[dict[float, list[str]], str]:
    """At least two sizes at which networks of these kinds have trained, and a note of them.

    Raises:
        NotMeasured: there are fewer.
    """
    found, lost = trained_sizes(results, *kinds)
    which = ", ".join(f"{s:g}" for s in found) or "none"
    if len(found) < 2:
        raise NotMeasured(_noted(f"trained networks of two {size}s are needed, there is {which}", lost))
    return found, _noted(f"{size}s {which}", lost)


def doubled(variable: str, size: str, kind: str) -> Measure:
    """What a doubling of the depth or the width adds to a measure of networks of one kind.

    Args:
        variable: of ``OF_SURFACES``.
        size: ``depth`` or ``width``: what networks are called after.
        kind: of ``KINDS``.
    """
    measure = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        found, note = _of_several(results, size, kind)
        return mean(_slopes(results, variable, {s: names[0] for s, names in found.items()}), note=note)

    words = f"{measure.words}: what a doubling of the {size} adds, over the networks {KINDS[kind]} skips that trained"
    return measured(effect, words, f"{measure.unit} a doubling".strip())


def saved_by_skips(variable: str) -> Measure:
    """What a doubling of the depth adds to a measure with skips, less half of what it adds without; run by run."""
    measure = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        found, note = _of_several(results, "depth", *KINDS)
        with_skips, without = (
            _slopes(results, variable, {s: names[k] for s, names in found.items()}) for k in range(len(KINDS))
        )
        return mean(with_skips - without / 2, note=note)

    words = (
        f"{measure.words}: what a doubling of the depth adds with skips, minus half of what it adds without, over the "
        "depths at which both trained"
    )
    return measured(effect, words, f"{measure.unit} a doubling".strip())


def over_trained(measure: Callable[[xr.Dataset, list[str]], Effect], words: str, unit: str = "") -> Measure:
    """Something of all networks that have trained: (results, their names) -> effect."""

    def effect(results: xr.Dataset) -> Effect:
        names = [str(n) for n in results.network.values if came(results, str(n)) > HALFWAY]
        if not names:
            raise NotMeasured("no network has trained; " + trained_sizes(results, *_kinds(results))[1])
        return measure(results, names)

    return measured(effect, words, unit)


def _kinds(results: xr.Dataset) -> list[str]:
    return list(dict.fromkeys(str(n).split("-")[0] for n in results.network.values))


def correlated(first: str, second: str) -> Measure:
    """Rank correlation of two measures over all networks that have trained; networks of one run belong together."""

    def effect(results: xr.Dataset, names: list[str]) -> Effect:
        a, b = (np.concatenate(of_trained(results, v, *names)) for v in (first, second))
        runs = np.tile(results.run.values, len(names))
        return rank_correlation(a, b, cluster=runs, note=trained_sizes(results, *_kinds(results))[1])

    words = " and ".join(OF_SURFACES[v].words for v in (first, second))
    return over_trained(effect, f"rank correlation of {words} over all networks that trained")
