"""What is said of networks by their depth: figures whose networks are called ``family-layers``."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, difference, mean
from nonsingular.experiments.effects import slope
from nonsingular.experiments.fit import diverged, fitted, possible_differences, require_trained
from nonsingular.experiments.quantities import ON_THE_WAY
from nonsingular.experiments.verbs import Measure, measured

REACHED = f"training accuracy after the last epoch, {ON_THE_WAY}"
GENERALISED = REACHED.replace("training", "test")
UNIT = "percent of the way"


def families(results: xr.Dataset) -> dict[str, dict[str, int]]:
    """Family -> network -> its layers, by rising depth."""
    found: dict[str, dict[str, int]] = {}
    for name in map(str, results.network.values):
        family, _, layers = name.rpartition("-")
        found.setdefault(family, {})[name] = int(layers)
    return {family: dict(sorted(members.items(), key=lambda m: m[1])) for family, members in found.items()}


def members(results: xr.Dataset, family: str) -> dict[str, int]:
    """Network -> layers of one family, by rising depth.

    Raises:
        NotMeasured: it is not there at two depths or more.
    """
    found = families(results).get(family, {})
    if len(found) < 2:
        raise NotMeasured(f"needs {family} at two depths or more")
    return found


def require_deep_one(results: xr.Dataset) -> None:
    """Refuse to judge depth where no family's deepest network has trained: there was no time for networks so deep."""
    require_trained(results, *(list(found)[-1] for found in families(results).values()))


def with_depth(family: str, from_layers: int = 0, split: str = "train") -> Measure:
    """How what a family reaches changes with each doubling of its depth.

    Args:
        family: of networks.
        from_layers: the least depth that counts.
        split: accuracy on the images of ``train`` or of ``test``.
    """

    def reached(results: xr.Dataset, network: str) -> xr.DataArray:
        return xr.DataArray(fitted(results, network, split), dims="run")

    def effect(results: xr.Dataset) -> Effect:
        require_deep_one(results)
        there = {n: float(np.log2(d)) for n, d in members(results, family).items() if d >= from_layers}
        if len(there) < 2:
            raise NotMeasured(f"needs {family} at two depths of at least {from_layers} layers")
        return slope(results, there, reached)

    words = {"train": REACHED, "test": GENERALISED}[split]
    return measured(effect, f"{words}: change with each doubling of the depth", f"{UNIT} a doubling")


def best_depth(family: str) -> Measure:
    """The depth at which a family fits its training set best."""

    def effect(results: xr.Dataset) -> Effect:
        there = members(results, family)
        require_deep_one(results)
        layers = np.array(list(there.values()))
        best = np.stack([fitted(results, name) for name in there]).argmax(0)
        return mean(layers[best], within=(layers.min(), layers.max()))

    return measured(effect, f"layers of the {family} that fits its training set best", "layers")


def deepest(first: str, second: str) -> Measure:
    """By how much the deepest network of one family trains better than that of another."""

    def effect(results: xr.Dataset) -> Effect:
        a, b = (list(members(results, family))[-1] for family in (first, second))
        require_trained(results, a, b)
        note = f"{a} and {b}" + (f"; {lost}" if (lost := diverged(results, a, b)) else "")
        return difference(fitted(results, a), fitted(results, b), note=note, within=possible_differences(results))

    return measured(effect, f"{REACHED}: deepest {first} minus deepest {second}", UNIT)


def at_all_depths(first: str, second: str) -> Measure:
    """By how much one family trains better than another, on average over the depths that both have."""

    def effect(results: xr.Dataset) -> Effect:
        by_layers = [{d: n for n, d in members(results, family).items()} for family in (first, second)]
        both = sorted(by_layers[0].keys() & by_layers[1].keys())
        if not both:
            raise NotMeasured(f"{first} and {second} have no depth in common")
        require_trained(results, *(names[d] for names in by_layers for d in both))
        a, b = (np.mean([fitted(results, names[d]) for d in both], axis=0) for names in by_layers)
        return difference(
            a, b, note=f"{', '.join(map(str, both))} layers", within=possible_differences(results)
        )  # fmt: skip

    return measured(effect, f"{REACHED}, mean over the depths: {first} minus {second}", UNIT)


def best_of_deepest(families: tuple[str, ...], reference: str) -> Measure:
    """What the best of several families' deepest networks reaches, where that of a reference has trained."""

    def effect(results: xr.Dataset) -> Effect:
        require_trained(results, list(members(results, reference))[-1])
        names = [list(members(results, family))[-1] for family in families]
        found = {name: fitted(results, name) for name in names}
        best = max(found, key=lambda name: float(found[name].mean()))
        return mean(np.max(list(found.values()), axis=0), note=f"best: {best}", within=(-100, 100))

    words = f"{REACHED}: the best of the deepest {', '.join(families)} of a run, where the deepest {reference} trained"
    return measured(effect, words, UNIT)
