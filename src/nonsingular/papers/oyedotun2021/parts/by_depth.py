"""What is said of networks by their depth: figures whose networks are called ``family-layers``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, difference, mean
from nonsingular.experiments.fit import diverged
from nonsingular.experiments.quantities import reached
from nonsingular.experiments.verbs import Measure, larger, slope

REACHED = reached()


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


def deepest_of_each(results: xr.Dataset) -> tuple[str, ...]:
    """The deepest network of every family: if none has trained, there was no time for networks so deep."""
    return tuple(list(found)[-1] for found in families(results).values())


def with_depth(family: str, from_layers: int = 0, split: str = "train") -> Measure:
    """How what a family reaches changes with each doubling of its depth.

    Args:
        family: of networks.
        from_layers: the least depth that counts.
        split: accuracy on the images of ``train`` or of ``test``.
    """
    quantity = reached(split)

    def effect(results: xr.Dataset) -> Effect:
        there = {n: float(np.log2(d)) for n, d in members(results, family).items() if d >= from_layers}
        if len(there) < 2:
            raise NotMeasured(f"needs {family} at two depths of at least {from_layers} layers")
        return slope(quantity, there, "a doubling").effect(results)

    words = f"{quantity.words}: change with each doubling of the depth"
    return Measure(effect, words, f"{quantity.unit} a doubling", deepest_of_each, tells_training=True)


def best_depth(family: str) -> Measure:
    """The depth at which a family fits its training set best."""

    def effect(results: xr.Dataset) -> Effect:
        there = members(results, family)
        layers = np.array(list(there.values()))
        best = np.stack([REACHED(results, name) for name in there]).argmax(0)
        return mean(layers[best], within=(layers.min(), layers.max()))

    words = f"layers of the {family} that fits its training set best"
    return Measure(effect, words, "layers", deepest_of_each, tells_training=True)


def deepest(first: str, second: str) -> Measure:
    """By how much the deepest network of one family trains better than that of another."""

    def both(results: xr.Dataset) -> tuple[str, ...]:
        return tuple(list(members(results, family))[-1] for family in (first, second))

    def effect(results: xr.Dataset) -> Effect:
        a, b = both(results)
        note = f"{a} and {b}" + (f"; {lost}" if (lost := diverged(results, a, b)) else "")
        return replace(larger(REACHED, a, b).effect(results), note=note)

    return Measure(
        effect, f"{REACHED.words}: deepest {first} minus deepest {second}", REACHED.unit, both, tells_training=True
    )


def at_all_depths(first: str, second: str) -> Measure:
    """By how much one family trains better than another, on average over the depths that both have."""

    def both(results: xr.Dataset) -> tuple[dict[int, str], dict[int, str]]:
        a, b = ({d: n for n, d in members(results, family).items()} for family in (first, second))
        depths = sorted(a.keys() & b.keys())
        if not depths:
            raise NotMeasured(f"{first} and {second} have no depth in common")
        return {d: a[d] for d in depths}, {d: b[d] for d in depths}

    def effect(results: xr.Dataset) -> Effect:
        (low, high), pair = REACHED.possible(results), both(results)
        a, b = (np.mean([REACHED(results, name) for name in names.values()], axis=0) for names in pair)
        return difference(a, b, note=f"{', '.join(map(str, pair[0]))} layers", within=(low - high, high - low))

    def networks(results: xr.Dataset) -> tuple[str, ...]:
        return tuple(name for names in both(results) for name in names.values())

    words = f"{REACHED.words}, mean over the depths: {first} minus {second}"
    return Measure(effect, words, REACHED.unit, networks, tells_training=True)


def best_of_deepest(families: tuple[str, ...], reference: str) -> Measure:
    """What the best of several families' deepest networks reaches, where that of a reference has trained."""

    def effect(results: xr.Dataset) -> Effect:
        names = [list(members(results, family))[-1] for family in families]
        found = {name: REACHED(results, name) for name in names}
        best = max(found, key=lambda name: float(found[name].mean()))
        return mean(np.max(list(found.values()), axis=0), note=f"best: {best}", within=(-100, 100))

    words = f"the best of the deepest {', '.join(families)} of a run, where the deepest {reference} trained"
    return Measure(
        effect,
        f"{REACHED.words}: {words}",
        REACHED.unit,
        lambda results: (list(members(results, reference))[-1],),
        tells_training=True,
    )
