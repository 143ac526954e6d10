"""How many different sub-networks masking units leaves, under each symmetry between features (blumenfeld2020 App. F).

A mask keeps or removes every hidden unit. Masks that a symmetry of the features turns into each other leave the same
function and are counted once.
"""

from __future__ import annotations

import itertools
import math

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError

SYMMETRIES = ("none", "one-to-one", "all-to-all")
LARGEST = 16  # units whose masks are enumerated


@checked
def count(symmetry: str, width: int, layers: int) -> int:
    r"""Sub-networks of ``layers`` hidden layers of ``width`` units.

    Args:
        symmetry: ``none``, of random features: :math:`2^{NL}`. ``all-to-all``, of features that are identical and
            connected to all of the next layer, so that only the number of kept units matters:
            :math:`(N + 1)^L`. ``one-to-one``, of identical features each connected to one of the next layer, so that
            chains of units are interchangeable and each has one of :math:`2^L` masks: multisets,
            :math:`\binom{N + 2^L - 1}{N}`.
        width: N.
        layers: L.

    Raises:
        InputError: unknown symmetry, or sizes below 1.

    >>> from nonsingular.theory import subnetworks
    >>> [subnetworks.count(symmetry, 2, 2) for symmetry in subnetworks.SYMMETRIES]
    [16, 10, 9]
    """
    _check(symmetry, width, layers)
    if symmetry == "none":
        return 2 ** (width * layers)
    if symmetry == "all-to-all":
        return int((width + 1) ** layers)
    return math.comb(width + 2**layers - 1, width)


@checked
def approximate(width: int, layers: int) -> float:
    r"""Logarithm to base 2 of :math:`2^{NL} / N!`: the one-to-one count if no two chains had the same mask.

    A lower bound, close where :math:`2^L \gg N^2`.

    >>> from nonsingular.theory import subnetworks
    >>> round(subnetworks.approximate(4, 3), 2)
    7.42
    """
    checks.at_least(1, width=width, layers=layers)
    return width * layers - math.lgamma(width + 1) / math.log(2)


@checked
def enumerate_masks(symmetry: str, width: int, layers: int) -> int:
    """The count by enumeration of all masks: what ``count`` is tested against.

    Raises:
        InputError: as ``count``; or more units than can be enumerated.

    >>> from nonsingular.theory import subnetworks
    >>> all(subnetworks.enumerate_masks(s, 2, 2) == subnetworks.count(s, 2, 2) for s in subnetworks.SYMMETRIES)
    True
    """
    _check(symmetry, width, layers)
    if width * layers > LARGEST:
        raise InputError(f"masks of at most {LARGEST} units are enumerated, got {width * layers}")
    masks = itertools.product(itertools.product((0, 1), repeat=width), repeat=layers)
    return len({_representative(symmetry, mask) for mask in masks})


def _representative(symmetry: str, mask: tuple[tuple[int, ...], ...]) -> object:
    """One of the masks [layer][unit] that the symmetry turns into each other."""
    if symmetry == "none":
        return mask
    if symmetry == "all-to-all":
        return tuple(tuple(sorted(layer)) for layer in mask)
    return tuple(sorted(zip(*mask, strict=True)))


def _check(symmetry: str, width: int, layers: int) -> None:
    if symmetry not in SYMMETRIES:
        raise InputError(f"unknown symmetry {symmetry!r}; there are {', '.join(SYMMETRIES)}")
    if width < 1 or layers < 1:
        raise InputError(f"at least 1 layer of 1 unit, got {layers} of {width}")
