"""Choices, from which programs are put together: at random from a seed, or by whoever searches among them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Pick(Protocol):
    """One of several; the first ones are the simpler ones."""

    def __call__(self, choices: Sequence[T], /) -> T:
        """The choice."""


def at_random(seed: int) -> Pick:
    """Every choice with equal chances, the same ones for the same seed."""
    generator = random.Random(seed)
    return lambda choices: choices[generator.randrange(len(choices))]
