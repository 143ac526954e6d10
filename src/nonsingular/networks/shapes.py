"""Shapes of samples, checked where networks meet them."""

from __future__ import annotations

from nonsingular.errors import InputError


def image_channels(shape: tuple[int, ...]) -> int:
    """The channels of an image of shape channel, height, width.

    Raises:
        InputError: a sample of another shape.
    """
    if len(shape) != 3:
        raise InputError(
            f"a convolutional network takes images [channel, height, width], got samples of shape {tuple(shape)}; "
            "prepare the data with layout='image'"
        )
    return shape[0]


def check_dropout(share: float) -> None:
    """Refuse a dropout outside [0, 1).

    Raises:
        InputError: it lies there.
    """
    if not 0 <= share < 1:
        raise InputError(f"network: dropout must be at least 0 and below 1, got {share}")
