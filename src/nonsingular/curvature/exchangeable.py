r"""Random vectors of which each is tried on what all the others have seen (Epperly, Tropp and Webber 2024).

The products of m random vectors span a space; leaving the i-th out leaves :math:`Q_i`, a basis that does not depend on
it. So the i-th vector gives an unbiased estimate of what lies outside of :math:`Q_i`, and the mean over i uses every
vector twice: for the space, and for the rest. The m estimates are alike but not independent, so that their spread is an
estimate of the error and no proof. Taken twice, it covers as often as promised for all spectra that the tests try but
one: a step where the space ends, of which the spread sees one side (83 % for seven eigenvalues of 1 above a hundred of
0.001, and six vectors; 90 % of the diagonal's entries for one outlier above twenty thousand that are alike, and 32
vectors, where an entry's estimates agree and are all off by a thirtieth of it). What rounding may have done is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.precision import require_finite
from nonsingular.curvature.room import require

WIDER = 2.0  # than the spread of independent estimates


@dataclass(frozen=True)
class LeftOut:
    """Random vectors, the space of their products, and what of it each vector alone has brought.

    Attributes:
        W: the vectors ``[P, m]``.
        AW: their products.
        Q: an orthonormal basis of these ``[P, m]``.
        AQ: its products.
        S: in coordinates of Q, the direction that is lost without vector i ``[m, m]``.
    """

    W: Float[Tensor, "P m"]
    AW: Float[Tensor, "P m"]
    Q: Float[Tensor, "P m"]
    AQ: Float[Tensor, "P m"]
    S: Float[Tensor, "m m"]

    @property
    def rounding(self) -> float:
        """By how much an entry or the trace may be off for the precision alone: of AW, Q and AQ, and of their sum."""
        return 4 * torch.finfo(self.AW.dtype).eps * float(self.AW.abs().max())

    def traces(self) -> Float[Tensor, " m"]:
        """Each vector's estimate of the trace.

        What is left of a Gaussian vector outside of its space points anywhere there with equal probability; its length
        is taken out, which is chance and nothing else.
        """
        inside, S = self.Q.mT @ self.AQ, self.S
        seen = inside.diagonal().sum() - (S * (inside @ S)).sum(0)
        coordinates = self._within(self.W)
        rest, product = self.W - self.Q @ coordinates, self.AW - self.AQ @ coordinates
        dimensions = len(self.Q) - self.Q.shape[1] + 1
        return seen + dimensions * (rest * product).sum(0) / rest.square().sum(0)

    def diagonals(self) -> Float[Tensor, "P m"]:
        """Each vector's estimate of the diagonal; of signs, which square to one.

        Rounding of the products that Q misses is part of what is left, so that it shows in the spread.
        """
        lost = self.Q @ self.S
        seen = (self.Q * self.AQ).sum(1, keepdim=True) - lost * (self.AQ @ self.S)
        return seen + self.W * (self.AW - self.Q @ self._within(self.AW))

    def _within(self, vectors: Float[Tensor, "P m"]) -> Float[Tensor, "m m"]:
        """In coordinates of Q, what of each vector lies in the space that the others span."""
        coordinates = self.Q.mT @ vectors
        return coordinates - self.S * (self.S * coordinates).sum(0)


def half_width(deviation: Any, count: int) -> Any:
    """Half a 95 % interval of the mean of so many estimates with this standard deviation."""
    from scipy.special import stdtrit  # which takes a quarter of a second to load

    return WIDER * float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)


def left_out(H: SymmetricOperator | Tensor, W: Float[Tensor, "P m"], what: str) -> LeftOut:
    """Multiply, and find what each vector alone has brought.

    Args:
        H: any symmetric operator, or a symmetric matrix.
        W: random vectors, fewer than half of the dimensions.
        what: it is for, in the words of a refusal.

    Raises:
        InputError: it does not fit into memory, or the products are not finite.
    """
    require(H, 6 * W.shape[1], what, "give fewer products")
    AW = times(H, W)
    require_finite(AW)
    Q, R = torch.linalg.qr(AW)
    U, sizes, V = torch.linalg.svd(R.double())
    # Below rounding of the largest, sizes are rounding: where A has few eigenvalues, of directions that it lacks.
    sizes = (sizes / sizes.max().clamp_min(torch.finfo(sizes.dtype).tiny)).clamp_min(torch.finfo(H.dtype).eps)
    S = U @ (V / sizes[:, None])
    return LeftOut(W, AW, Q, times(H, Q), (S / S.norm(dim=0)).to(Q))
