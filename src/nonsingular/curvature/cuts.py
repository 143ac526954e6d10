"""Where the vectors of a basis lie: whole in this process, or cut into parts, one a process.

A basis of Lanczos vectors is the first thing that does not fit. Cut by its rows, each process keeps some entries of
every vector: an inner product is the sum of the processes' own, a single number, and what is taken out of a vector is
taken out part by part. Only the vector that is multiplied, and the product, are whole.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Whole:
    """All in one process.

    Attributes:
        processes: among which vectors are cut.
    """

    processes = 1

    def part(self, w: Tensor) -> Tensor:
        """Of vectors ``[P, ...]`` the entries that this process keeps."""
        return w

    def whole(self, part: Tensor) -> Tensor:
        """The vectors of which every process has its part."""
        return part

    def summed(self, t: Tensor) -> Tensor:
        """The sum over all processes; ``t`` may be overwritten."""
        return t

    def least(self, number: float) -> float:
        """The least of all processes' numbers, so that all decide alike."""
        return number

    def over(self, size: int) -> Whole:
        """The same for vectors of another size, among the same processes."""
        return self


WHOLE = Whole()


def cuts_of(H: Any) -> Whole:
    """How vectors of an operator's size are cut: as it says, else they are whole."""
    cuts = getattr(H, "cuts", WHOLE)
    return cuts if isinstance(cuts, Whole) else WHOLE


def outside(w: Tensor, Q: Tensor, cuts: Whole = WHOLE) -> Tensor:
    """What is left of vectors ``[P, ...]`` beside orthonormal columns, of which Q is this process's part."""
    return w - cuts.whole(Q @ cuts.summed(Q.mT @ cuts.part(w)))
