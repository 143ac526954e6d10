"""Parameters outside their domain: one line that names them."""

from __future__ import annotations

import math

from nonsingular.errors import InputError


def positive(**values: float) -> None:
    """Every keyword is a finite number above 0.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be a finite number above 0, got {value}")


def at_least(low: int, **values: int) -> None:
    """Every keyword is a whole number of at least ``low``.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if not (isinstance(value, int) and value >= low):
            raise InputError(f"{name} must be a whole number of at least {low}, got {value!r}")


def one_of(options: tuple[str, ...], **values: str) -> None:
    """Every keyword is one of ``options``.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if value not in options:
            raise InputError(f"{name} must be one of {', '.join(options)}, got {value!r}")
