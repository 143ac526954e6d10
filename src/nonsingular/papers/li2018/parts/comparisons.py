"""What li2018's claims compare: quantities of trained networks and of the surfaces around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, mean, rank_correlation
from nonsingular.experiments.effects import selected
from nonsingular.experiments.fit import HALFWAY, fitted
from nonsingular.experiments.quantities import Bounds, Quantity
from nonsingular.experiments.verbs import Measure, larger, slopes
from nonsingular.intervals import EVERYWHERE

KINDS = {"resnet": "with", "plainnet": "without"}
"""Beginnings of networks' names, and whether they have skip connections."""
POSITIVE = (0.0, np.inf)


def of_trained(variable: str, words: str, unit: str = "", within: Bounds = EVERYWHERE) -> Quantity:
    """A variable of networks that have trained, NaN for a run that has not; of an untrained one nothing is said.

    What the surface of a network looks like that has not trained says nothing of minima.
    """

    def measure(results: xr.Dataset, network: str) -> xr.DataArray:
        values, way = selected(results, variable, network=network), fitted(results, network)
        if not way.mean() > HALFWAY:
            raise NotMeasured(
                f"only trained networks are compared: {network} came {way.mean():.0f} percent of the way from guessing "
                "to no error"
            )
        return values.where(xr.DataArray(way > HALFWAY, dims="run"))

    return Quantity(
        measure,
        f"{words}, of runs that came more than {HALFWAY:g} % of the way from guessing to no error",
        unit,
        within,
    )


OF_SURFACES = {
    "nonconvex": of_trained(
        "nonconvex", "share of points where the surface is not convex", "percentage points", (0, 100)
    ),
    "excess_variation": of_trained(
        "excess_variation",
        "how far lines go up and down beyond one minimum, in percent of the ranks of the loss",
        "percentage points",
        POSITIVE,
    ),
    "minima": of_trained("minima", "local minima of the surface", "minima", (1, np.inf)),
    "total_variation": of_trained("total_variation", "total variation of log loss", "per unit of direction"),
    "guidance": of_trained(
        "guidance", "cosine between the way downhill and the way to the lowest point", "cosine", (-1, 1)
    ),
    "elongation": of_trained(
        "elongation", "length over breadth of the valley around the minimum", "times", (1, np.inf)
    ),
    "sharpness": of_trained("sharpness", "mean rise of the loss within half a direction", "nats"),
    "bends": of_trained("bends", "ratio of eigenvalues where the surface looks non-convex minus that elsewhere"),
    "near_convex": of_trained(
        "near_convex",
        "share of the map where negative eigenvalues are below 1 % of the positive ones",
        "percentage points",
        (0, 100),
    ),
    "weight_norm": of_trained("weight_norm", "norm of the weights", "", POSITIVE),
    "test_error": of_trained("test_error", "test error", "percentage points", (0, 100)),
}
ROUGHNESS = ("nonconvex", "excess_variation", "minima", "total_variation")
"""Measures by which surfaces are compared, each in a claim of its own."""
NO_ROUGHNESS = ("total_variation",)
"""Of them what is kept for comparison with earlier results: it grows as a minimum gets deeper. Such claims are ours."""


def compared(variable: str, first: str, second: str) -> Measure:
    """First minus second of two networks that have trained."""
    return larger(OF_SURFACES[variable], first, second)


def trained_sizes(results: xr.Dataset, *kinds: str) -> tuple[dict[float, list[str]], str]:
    """Sizes of which the results have trained networks of every kind, ascending, and a note of those that lack.

    Args:
        results: whose networks are called ``kind-size``: ``resnet-56``, ``plainnet-k4``.
        kinds: of ``KINDS``.
    """
    ways = {n: _came(results, n) for n in map(str, results.network.values) if n.split("-")[0] in kinds}
    lost = [f"{name} ({way:.0f} % of the way)" for name, way in ways.items() if not way > HALFWAY]
    trained = [name for name, way in ways.items() if way > HALFWAY]
    sizes = sorted({float(n.rpartition("-")[2].removeprefix("k")) for n in trained})
    by_size = {s: [n for kind in kinds for n in trained if n in (f"{kind}-{s:g}", f"{kind}-k{s:g}")] for s in sizes}
    found = {s: these for s, these in by_size.items() if len(these) == len(kinds)}
    return found, f"not trained and left out: {', '.join(lost)}" if lost else ""


def _came(results: xr.Dataset, network: str) -> float:
    """How far a network's training came, mean over its runs, in percent of the way from guessing to no error."""
    return float(fitted(results, network).mean())


def _noted(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def without_skips(variable: str) -> Measure:
    """Without skips minus with, at the largest depth of the figure at which both networks have trained."""
    quantity = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        found, lost = trained_sizes(results, *KINDS)
        if not found:
            raise NotMeasured(f"at no depth have both networks trained; {lost or 'one of them was left out'}")
        layers, (with_skips, without) = list(found.items())[-1]
        return replace(larger(quantity, without, with_skips).effect(results), note=_noted(f"{layers:g} layers", lost))

    words = f"{quantity.words}: without minus with, at the largest depth at which both networks trained"
    return Measure(effect, words, quantity.unit)


def _per_doubling(results: xr.Dataset, variable: str, size: str, *kinds: str) -> tuple[list[np.ndarray], str]:
    """What a doubling of the size adds to a measure, of each run and of each kind of networks, and a note of sizes.

    Raises:
        NotMeasured: networks of all these kinds have trained at fewer than two sizes.
    """
    found, lost = trained_sizes(results, *kinds)
    which = ", ".join(f"{s:g}" for s in found) or "none"
    if len(found) < 2:
        raise NotMeasured(_noted(f"trained networks of two {size}s are needed, there is {which}", lost))
    places = [float(np.log2(s)) for s in found]
    series = [[names[k] for names in found.values()] for k in range(len(kinds))]
    values = [xr.concat([OF_SURFACES[variable](results, n) for n in names], "network") for names in series]
    return [slopes(v, places) for v in values], _noted(f"{size}s {which}", lost)


def doubled(variable: str, size: str, kind: str) -> Measure:
    """What a doubling of the depth or the width adds to a measure of networks of one kind.

    Args:
        variable: of ``OF_SURFACES``.
        size: ``depth`` or ``width``: what networks are called after.
        kind: of ``KINDS``.
    """
    quantity = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        (added,), note = _per_doubling(results, variable, size, kind)
        return mean(added, note=note)

    words = f"{quantity.words}: what a doubling of the {size} adds, over the networks {KINDS[kind]} skips that trained"
    return Measure(effect, words, f"{quantity.unit} a doubling".strip())


def saved_by_skips(variable: str) -> Measure:
    """What a doubling of the depth adds to a measure with skips, less half of what it adds without; run by run."""
    quantity = OF_SURFACES[variable]

    def effect(results: xr.Dataset) -> Effect:
        (with_skips, without), note = _per_doubling(results, variable, "depth", *KINDS)
        return mean(with_skips - without / 2, note=note)

    words = (
        f"{quantity.words}: what a doubling of the depth adds with skips, minus half of what it adds without, over the "
        "depths at which both trained"
    )
    return Measure(effect, words, f"{quantity.unit} a doubling".strip())


def over_trained(words: str, unit: str = "") -> Callable[[Callable[[xr.Dataset, list[str]], Effect]], Measure]:
    """Makes a verb of a function of all networks that have trained: (results, their names) -> effect."""

    def verb(measure: Callable[[xr.Dataset, list[str]], Effect]) -> Measure:
        def effect(results: xr.Dataset) -> Effect:
            names = [str(n) for n in results.network.values if _came(results, str(n)) > HALFWAY]
            if not names:
                raise NotMeasured("no network has trained; " + trained_sizes(results, *_kinds(results))[1])
            return measure(results, names)

        return Measure(effect, words, unit)

    return verb


def _kinds(results: xr.Dataset) -> list[str]:
    return list(dict.fromkeys(str(n).split("-")[0] for n in results.network.values))


def correlated(first: str, second: str) -> Measure:
    """Rank correlation of two measures over all networks that have trained; networks of one run belong together."""
    both = [OF_SURFACES[variable] for variable in (first, second)]

    words = " and ".join(quantity.words for quantity in both)

    @over_trained(f"rank correlation of {words} over all networks that trained")
    def found(results: xr.Dataset, names: list[str]) -> Effect:
        a, b = (np.concatenate([quantity(results, name) for name in names]) for quantity in both)
        runs = np.tile(results.run.values, len(names))
        return rank_correlation(a, b, cluster=runs, note=trained_sizes(results, *_kinds(results))[1])

    return found
