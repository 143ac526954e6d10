"""Numbers that can be searched, by name: where they sit in a spec, and between which values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.experiments.known import known
from nonsingular.training import BiasPenalty, Member, TrainingSpec


@dataclass(frozen=True)
class Number:
    """One number of a protocol.

    Attributes:
        part: ``penalty``, ``network`` or ``training``: which description holds it.
        field: its name there.
        low: least value proposed, unless another range is asked for.
        high: greatest.
        log: proposed evenly on a logarithmic scale.
        whole: a count.
        label: for axes.
    """

    part: str
    field: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    label: str = ""


NUMBERS: dict[str, Number] = {
    "mu": Number("penalty", "mean", 0.0, 1.5, label="μ, mean of the target biases"),
    "sigma": Number("penalty", "deviation", 0.0, 1.5, label="σ, deviation of the target biases"),
    "lambda": Number("penalty", "strength", 1e-6, 1e-1, log=True, label="λ, strength of the penalty"),
    "learning-rate": Number("training", "learning_rate", 1e-5, 1e-2, log=True, label="learning rate"),
    "depth": Number("network", "depth", 5, 50, whole=True, label="hidden layers"),
    "width": Number("network", "width", 32, 256, log=True, whole=True, label="units in a hidden layer"),
}
"""The first three are those of bias regularisation (orhan2018 §2.6), whose paper does not give the ranges searched."""

BIAS_REGULARISATION = ("mu", "sigma", "lambda")


@checked
@dataclass(frozen=True)
class Range:
    """From where to where a number is searched; ``low`` equal to ``high`` fixes it.

    >>> import nonsingular as ns
    >>> ns.search.Range("mu", -1.0, 1.0).low
    -1.0
    """

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        number = NUMBERS[known("number", self.name, NUMBERS)]
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise InputError(f"{self.name}: the range must go from a lower to a higher finite number, got {self}")
        if number.log and self.low <= 0:
            raise InputError(f"{self.name} is searched on a logarithmic scale: its range must be above 0, got {self}")
        if number.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise InputError(f"{self.name} is a whole number, got {self}")

    def __str__(self) -> str:
        return f"{self.low:g}" if self.fixed else f"{self.low:g}:{self.high:g}"

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to search."""
        return self.low == self.high


@checked
def ranges(words: Iterable[str]) -> tuple[Range, ...]:
    """What is searched, from words such as ``mu``, ``mu=0.51`` or ``lambda=1e-5:1e-2``.

    Raises:
        InputError: an unknown name, one named twice, no range among them, or a range that is none.

    >>> import nonsingular as ns
    >>> [found.name for found in ns.search.ranges(["mu=0.51", "lambda=1e-5:1e-2"])]
    ['mu', 'lambda']
    """
    found = tuple(_range(word) for word in words)
    names = [r.name for r in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{min(twice)} is named twice; one range is searched")
    if all(r.fixed for r in found):
        raise InputError("nothing to search: give at least one number a range, as in lambda=1e-5:1e-2")
    return found


def _range(word: str) -> Range:
    name, equals, text = word.partition("=")
    if name not in NUMBERS:
        raise InputError(f"unknown number {name!r}; there are {', '.join(NUMBERS)}")
    number = NUMBERS[name]
    if not equals:
        return Range(name, number.low, number.high)
    low, _, high = text.partition(":")
    try:
        return Range(name, float(low), float(high or low))
    except InputError:
        raise
    except ValueError:
        raise InputError(f"{word!r}: write NAME, NAME=VALUE or NAME=LOW:HIGH, as in lambda=1e-5:1e-2") from None


def applied(
    values: Mapping[str, float], name: str, base: Member, training: TrainingSpec
) -> tuple[Member, TrainingSpec]:
    """One trial: the network ``base``, called ``name``, and its training, with some numbers set.

    Raises:
        InputError: a network without the number, or a value it does not allow.
    """
    parts: dict[str, Any] = {"penalty": base.penalty, "network": base.network, "training": training}
    for key, value in values.items():
        number = NUMBERS[key]
        part = parts[number.part] or BiasPenalty()
        if number.field not in {f.name for f in dataclasses.fields(part)}:
            raise InputError(f"{base.name} networks have no {key}")
        parts[number.part] = replace(part, **{number.field: int(value) if number.whole else float(value)})
    return replace(base, name=name, network=parts["network"], penalty=parts["penalty"]), parts["training"]


def searched(found: Sequence[Range]) -> list[Range]:
    """Those that are not fixed."""
    return [r for r in found if not r.fixed]
