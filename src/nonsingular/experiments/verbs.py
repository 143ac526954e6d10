"""What claims say of networks: each verb computes an effect and words it, so that both cannot drift apart.

``faster("residual", "plain") > 0`` is a test: the difference in training speed lies above 0. Its claim's statement
goes on with what is computed, "(mean training accuracy over the epochs: residual minus plain)", and with what is
needed. ``larger`` says the same of any variable or ``quantities.Quantity``; ``average``, ``weighted_sum``,
``lies_between``, ``slope``, ``correlation``, ``smallest_of`` and ``largest_of`` say other things.

A verb gives a ``Measure``: a number with its 95 % interval over runs. A bound makes it a ``Test``, whose claim *holds*
where the whole interval lies inside the bounds, *fails* where none of it does, and is *inconclusive* otherwise, also
where nothing was measured or what a figure ``needs`` did not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.checks import checked
from nonsingular.experiments.claims import (
    NEGATIVE,
    POSITIVE,
    Claim,
    Effect,
    NotMeasured,
    Region,
    difference,
    exactly,
    mean,
    rank_correlation,
)
from nonsingular.experiments.effects import selected
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.quantities import CORRELATIONS, POINTS, SPEED, Bounds, Quantity, asked_of, of, reached
from nonsingular.intervals import EVERYWHERE, sharing_error
from nonsingular.words import counted


@dataclass(frozen=True)
class Measure:
    """Something measured of the results.

    Attributes:
        effect: results -> the number with its interval.
        words: what is computed.
        unit: of the number; empty where it has none.
        networks: those it is measured of, which the experiment's ``needs`` are about; or results -> these.
        before: as of ``Quantity``: nothing is needed of networks before they train.
        tells_training: as of ``Quantity``.
        groups: how the runs of the results are sorted into the networks that the effect is of (``regrouped``).
        variables: as of ``Quantity``.
    """

    effect: Callable[[xr.Dataset], Effect]
    words: str
    unit: str = ""
    networks: tuple[str, ...] | Callable[[xr.Dataset], tuple[str, ...]] = ()
    before: bool = False
    tells_training: bool = False
    groups: Callable[[xr.Dataset], xr.Dataset] | None = None
    variables: tuple[str, ...] = ()

    def judged(self, results: xr.Dataset, needs: Needs | None = None) -> Effect:
        """The effect, of results that have what it needs.

        Raises:
            NotMeasured: they have not.
        """
        if self.groups is not None:
            results = self.groups(results)
        if needs is not None and not self.before:
            needs(results, self)
        return self.effect(results)

    def of(self, results: xr.Dataset) -> tuple[str, ...]:
        """The networks it is measured of.

        Raises:
            NotMeasured: the results have none of them.
        """
        return self.networks(results) if callable(self.networks) else self.networks

    def called(self, words: str) -> Measure:
        """The same in other words."""
        return replace(self, words=words)

    def __gt__(self, bound: float) -> Test:
        """That it lies above: it holds where the whole interval does."""
        return Test(self, Region(low=bound))

    def __lt__(self, bound: float) -> Test:
        """That it lies below: it holds where the whole interval does."""
        return Test(self, Region(high=bound))

    def between(self, low: float, high: float) -> Test:
        """That it lies between two numbers: it holds where the whole interval does."""
        return Test(self, Region(low, high))


Needs = Callable[[xr.Dataset, Measure], None]
"""(results, measure) -> nothing, or NotMeasured where it cannot be judged by these results (``needs.py``).

Its method ``said``, where it has one, gives the condition in words: measure -> words that follow "Judged where".
"""


@dataclass(frozen=True)
class Test:
    """A measure and where it should lie: with its whole interval, else it does not hold."""

    __test__ = False  # no test of pytest's

    measure: Measure
    region: Region


@dataclass(frozen=True)
class Declared:
    """A claim as a figure declares it; its id and needs are the figure's, and its source if it has none."""

    statement: str
    test: Test
    source: str | None = None
    expected: str = ""
    needs: Needs | None = None
    ours: bool = False
    panel: str = ""

    def claim(self, id: str, source: str, needs: Needs | None) -> Claim:
        """The claim with an id, of a figure."""
        measure, region, need = self.test.measure, self.test.region, self.needs or needs
        words = measure.words if region in (POSITIVE, NEGATIVE) else f"{measure.words}; {region}"
        condition = "" if measure.before else getattr(need, "said", lambda _: "")(measure)

        def effect(results: xr.Dataset) -> Effect:
            return measure.judged(results, need)

        statement = f"{self.statement} ({words})." + (f" Judged where {condition}." if condition else "")
        where = (self.source or source) + self.panel
        return Claim(id, where, statement, effect, region, measure.unit, self.expected, self.ours)


@checked
def claim(
    statement: str,
    test: Test,
    *,
    source: str | None = None,
    panel: str = "",
    expected: str = "",
    needs: Needs | None = None,
    ours: bool = False,
) -> Declared:
    """A claim of a figure: it holds where the whole interval of the test's measure lies within the test's bounds.

    Args:
        statement: what the paper says, without a full stop; what is computed, and what is needed, are added.
        test: from a verb.
        source: where the paper says it, if not where it has the figure.
        panel: of the figure, as in ``b``; put right after the source, as in "figure 2b".
        expected: the paper's own value in words, where it gives one.
        needs: of this claim, instead of the figure's.
        ours: whether it is no claim of the paper, as of ``question``.
    """
    return Declared(statement, test, source, expected, needs, ours, panel)


@checked
def question(
    statement: str,
    test: Test,
    *,
    source: str | None = None,
    panel: str = "",
    expected: str = "",
    needs: Needs | None = None,
) -> Declared:
    """A question of ours about a figure: judged as a claim is, and not counted in the paper's score.

    Arguments are those of ``claim``.
    """
    return Declared(statement, test, source, expected, needs, ours=True, panel=panel)


def _of(
    quantity: Quantity, networks: Iterable[str], words: str, effect: Callable[[xr.Dataset], Effect], unit: str = ""
) -> Measure:
    """A measure of a quantity of networks."""
    return Measure(
        effect,
        f"{quantity.words}: {words}",
        unit or quantity.unit,
        tuple(networks),
        quantity.before,
        quantity.tells_training,
        variables=quantity.variables,
    )


@checked
def larger(quantity: Quantity | str, first: str, second: str) -> Measure:
    """By how much a quantity is larger in the first network than in the second: the difference of their means.

    Args:
        quantity: or the name of a variable, for its mean over layers and epochs after the start: ``of(name)``.
        first: name of a network.
        second: of another; each run of both counts once.
    """
    quantity = of(quantity) if isinstance(quantity, str) else quantity

    def effect(results: xr.Dataset) -> Effect:
        low, high = quantity.possible(results)
        return difference(quantity(results, first), quantity(results, second), within=(low - high, high - low))

    return _of(quantity, (first, second), f"{first} minus {second}", effect)


@checked
def faster(first: str, second: str) -> Measure:
    """By how much the first network trains faster: its mean training accuracy over the epochs."""
    return larger(SPEED, first, second)


@checked
def average(quantity: Quantity, network: str) -> Measure:
    """A quantity of one network, to be held against a bound."""

    def effect(results: xr.Dataset) -> Effect:
        return mean(quantity(results, network), within=quantity.possible(results))

    return _of(quantity, (network,), network, effect, "%" if quantity.unit == POINTS else quantity.unit)


@checked
def trains(network: str) -> Test:
    """That a network comes more than half of the way from guessing to no error on its training set."""
    return average(reached(), network) > HALFWAY


@checked
def fails_to_train(network: str) -> Test:
    """That a network comes less than half of the way from guessing to no error on its training set."""
    return average(reached(), network) < HALFWAY


@checked
def weighted_sum(quantity: Quantity, weights: Mapping[str, float]) -> Measure:
    """A weighted sum of a quantity of several networks, of runs with equal numbers."""

    def effect(results: xr.Dataset) -> Effect:
        total = sum(weight * quantity(results, name) for name, weight in weights.items())
        return mean(total, within=_range_of_sum(quantity.possible(results), weights.values()))

    return _of(quantity, weights, _sum(weights), effect)


@checked
def lies_between(quantity: Quantity, network: str, low: Mapping[str, float], high: Mapping[str, float]) -> Test:
    """That a network lies between two weighted sums of others, in runs with equal numbers.

    ``lies_between(SPEED, "mine", {"plain": 0.5, "residual": 0.5}, {"residual": 1})`` says that it has more than half of
    the residual network's lead over the plain one, and not more than all of it.

    Args:
        quantity: in which they are compared.
        network: that should lie between.
        low: network -> its weight in the lower sum.
        high: the same of the upper sum.
    """
    outside = largest_of(
        {
            "below": weighted_sum(quantity, {**low, network: -1}),
            "above": weighted_sum(quantity, {network: 1, **{name: -weight for name, weight in high.items()}}),
        }
    )
    words = f"{quantity.words}: how far {network} is below {_sum(low)} or above {_sum(high)}"
    return outside.called(words) < 0


def _range_of_sum(within: Bounds, weights: Iterable[float]) -> Bounds:
    if not np.isfinite(within).all():
        return EVERYWHERE
    ends = [sorted(weight * end for end in within) for weight in weights]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def _sum(weights: Mapping[str, float]) -> str:
    """``residual - 0.5 plain``."""
    words = ""
    for name, weight in weights.items():
        sign = ("- " if weight < 0 else "+ ") if words else ("-" if weight < 0 else "")
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        words += f"{' ' if words else ''}{sign}{size}{name}"
    return words


@checked
def slope(quantity: Quantity, places: Mapping[str, float], per: str) -> Measure:
    """How a quantity changes along a series of networks: the least-squares slope of each run, averaged over runs.

    Args:
        quantity: what is followed; a network in which a run diverged is left out of that run's slope.
        places: network -> its place in the series, such as its depth; those among the results count, if at least two.
        per: what one unit of the places is, as "a doubling of the depth".
    """

    def effect(results: xr.Dataset) -> Effect:
        values, note = _series(results, quantity, places, fewest=2)
        return mean(slopes(values, [places[str(name)] for name in values.network.values]), note=note)

    return _of(quantity, places, f"slope over {listed(places)}", effect, f"{quantity.unit} {per}".strip())


@checked
def slopes(values: xr.DataArray, places: Sequence[float]) -> np.ndarray:
    """Of each run the least-squares slope along the networks in which it is finite; NaN of fewer than two."""
    x = np.asarray(places, float)
    rows = values.transpose("run", "network").values
    return np.array([_slope(x[ok], y[ok]) if (ok := np.isfinite(y)).sum() > 1 else np.nan for y in rows])


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """That of equal values is exactly 0: they are told by it."""
    return float(np.polyfit(x, y - y[0], 1)[0])


@checked
def across(quantity: Quantity, networks: Sequence[str], how: str) -> Measure:
    """The ``max``, ``min`` or ``mean`` of a quantity over a series of networks, of each run; averaged over runs.

    Those among the results count. A run that diverged in one of them is left out.
    """

    def effect(results: xr.Dataset) -> Effect:
        values, note = _series(results, quantity, networks, fewest=1)
        return mean(values.reduce(getattr(np, how), "network"), within=quantity.possible(results), note=note)

    words = {"max": "the largest", "min": "the smallest", "mean": "the mean"}[how]
    return _of(quantity, networks, f"{words} over {listed(networks)}", effect)


def _series(results: xr.Dataset, quantity: Quantity, networks: Iterable[str], fewest: int) -> tuple[xr.DataArray, str]:
    """A quantity by run and network, of those of a series that were trained, and how many were not."""
    names = list(networks)
    there = [name for name in names if name in results.network.values]
    if len(there) < fewest:
        raise NotMeasured(f"needs {fewest} of the networks {', '.join(names)}")
    left_out = len(names) - len(there)
    note = f"not trained: {left_out} of {counted(len(names), 'network')}" if left_out else ""
    return xr.concat([quantity(results, name) for name in there], xr.Variable("network", there)), note


@checked
def listed(networks: Iterable[str]) -> str:
    """Names of networks in a row; of many the first two and the last."""
    names = list(networks)
    return ", ".join(names) if len(names) < 5 else f"{names[0]}, {names[1]}, ..., {names[-1]}"


@checked
def correlation(first: Quantity, second: Quantity, network: str) -> Measure:
    """Rank correlation of two quantities over the runs of one network."""

    def effect(results: xr.Dataset) -> Effect:
        return rank_correlation(first(results, network), second(results, network))

    words = f"rank correlation over runs of {first.words} with {second.words}: {network}"
    variables = first.variables + second.variables
    return Measure(effect, words, "rank correlation", (network,), *asked_of(first, second), variables=variables)


@checked
def correlation_along(first: Quantity, second: Quantity, networks: Sequence[str]) -> Measure:
    """Rank correlation of two quantities over a series of networks, of each run; averaged over runs."""

    def effect(results: xr.Dataset) -> Effect:
        (a, note), (b, _) = (_series(results, quantity, networks, fewest=3) for quantity in (first, second))
        pairs = zip(a.transpose("run", "network").values, b.transpose("run", "network").values, strict=True)
        found = [stats.spearmanr(x, y, nan_policy="omit").statistic for x, y in pairs]
        return mean(found, within=CORRELATIONS, note=note)

    words = f"rank correlation of {first.words} with {second.words} over {listed(networks)}"
    variables = first.variables + second.variables
    return Measure(effect, words, "rank correlation", tuple(networks), *asked_of(first, second), variables=variables)


@checked
def smallest_of(measures: Mapping[str, Measure]) -> Measure:
    """The smallest of several effects: above a number if all of them are.

    Its interval lies above a number where every single one does, which needs no correction. It lies below where one
    does, whichever that is: upper ends share the error among them (Bonferroni). The note names the smallest.
    """
    return _extreme(measures, np.argmin, "the least of")


@checked
def largest_of(measures: Mapping[str, Measure]) -> Measure:
    """The largest of several effects, as ``smallest_of``: below a number if all of them are."""
    return _extreme(measures, np.argmax, "the largest of")


def _extreme(measures: Mapping[str, Measure], pick: Callable[[list[float]], np.intp], words: str) -> Measure:
    """What ``smallest_of`` picks with ``numpy.argmin``, ``largest_of`` with ``numpy.argmax``."""
    first, *_ = all_of_them = list(measures.values())

    def effect(results: xr.Dataset) -> Effect:
        found = {name: m.judged(results) for name, m in measures.items()}
        effects = list(found.values())
        with sharing_error(len(measures)):
            wider = [m.judged(results) for m in measures.values()]
        by_low, by_high = (effects, wider) if pick is np.argmin else (wider, effects)
        values = [e.value for e in effects]
        value, low, high = (
            ends[int(pick(ends))] for ends in (values, [e.low for e in by_low], [e.high for e in by_high])
        )
        return Effect(value, low, high, min(e.runs for e in effects), list(found)[int(pick(values))])

    def found_in(results: xr.Dataset) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for measure in all_of_them for name in measure.of(results)))

    named = not any(callable(measure.networks) for measure in all_of_them)
    networks = found_in(xr.Dataset()) if named else found_in
    what, _, rest = first.words.partition(": ")
    if rest and all(m.words.startswith(f"{what}: ") for m in all_of_them):
        words = f"{what}, {words}: " + "; ".join(m.words.removeprefix(f"{what}: ") for m in all_of_them)
    else:
        words = f"{words}: " + "; ".join(m.words for m in all_of_them)
    return Measure(
        effect,
        words,
        first.unit,
        networks,
        *asked_of(*all_of_them),
        variables=tuple(name for m in all_of_them for name in m.variables),
    )


@checked
def measured(words: str, unit: str = "") -> Callable[[Callable[[xr.Dataset], Effect]], Measure]:
    """Makes a verb of a function of the results, for what no other says: ``@measured("the slow-down", "log10")``.

    Args:
        words: what the function computes.
        unit: of it.
    """
    return lambda effect: Measure(effect, words, unit)


@checked
def largest_value(variable: str, words: str, unit: str = "", **where: Any) -> Measure:
    """The largest of all values of a variable that has no sampling error, such as the distance of two exact results.

    Args:
        variable: of the results.
        words: what it is.
        unit: of it.
        **where: labels along dimensions, one or a list, as ``xarray.DataArray.sel`` takes them.
    """
    return _exact(xr.DataArray.max, variable, words, unit, **where)


@checked
def smallest_value(variable: str, words: str, unit: str = "", **where: Any) -> Measure:
    """The smallest of all values of a variable of exact results; arguments as of ``largest_value``."""
    return _exact(xr.DataArray.min, variable, words, unit, **where)


def _exact(pick: Callable[[xr.DataArray], xr.DataArray], variable: str, words: str, unit: str, **where: Any) -> Measure:
    def effect(results: xr.Dataset) -> Effect:
        values = selected(results, variable, **where)
        return replace(exactly(float(pick(values))), runs=values.sizes.get("run", 1))

    return Measure(effect, words, unit)


@checked
def mean_value(variable: str, words: str, unit: str = "", **where: Any) -> Measure:
    """The mean over runs of a variable of exact results; arguments as of ``largest_value``."""
    return Measure(lambda results: mean(selected(results, variable, **where)), words, unit)


@checked
def regrouped(groups: Callable[[xr.Dataset], xr.Dataset], measure: Measure, words: str) -> Measure:
    """A measure of results whose runs are sorted into groups, each with the name of a network, such as best and worst.

    Args:
        groups: results -> results with those names under ``network``.
        measure: of these.
        words: how they are sorted.
    """
    return replace(measure, groups=groups, words=f"{measure.words}; {words}")
