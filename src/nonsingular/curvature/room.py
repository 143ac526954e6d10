"""Vectors of an operator's size: how many fit into memory, and a refusal before anything is begun that would not.

A vector of BERT-base's weights takes 0.4 GiB; what is harmless for small models, fifty vectors, is not there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.curvature.cuts import cuts_of
from nonsingular.curvature.lanczos import SymmetricOperator
from nonsingular.objective.failures import available_bytes, require_bytes
from nonsingular.words import counted

SHARE = 0.7  # of the available memory, for vectors


def fitting(H: SymmetricOperator | Tensor, share: float = SHARE) -> int:
    """How many vectors fit into a share of the available memory; at most a thousand million.

    Of an operator over several processes, in the one that has the least memory: all of them must ask.
    """
    return int(min(1e9, share * _available(H) / max(1, H.shape[0] * H.dtype.itemsize)))


def require(H: SymmetricOperator | Tensor, vectors: int, what: str, instead: str = "choose fewer parameters") -> None:
    """Refuse what needs more vectors than fit.

    Args:
        H: the operator whose vectors they are.
        vectors: needed at the same time.
        what: needs them.
        instead: what the user can do about it.

    Raises:
        InputError: they do not fit; the message says how much is needed and how much there is.
    """
    n = H.shape[0]
    needed, what = vectors * n * H.dtype.itemsize, f"{what} with {counted(vectors, 'vector')} of {n:,}"
    require_bytes(needed, H.device, what, instead, SHARE, _available(H))


def _available(H: SymmetricOperator | Tensor) -> float:
    """Bytes, in the process that has the fewest, so that all go on or none does."""
    return cuts_of(H).least(available_bytes(H.device))


def gaussian(H: SymmetricOperator | Tensor, count: int, generator: torch.Generator) -> Float[Tensor, "P count"]:
    """Standard normal vectors, one after another, drawn in float64 on the CPU: the same on every device.

    They lie in memory one after another, as rows of the transpose.
    """
    rows = torch.empty(count, H.shape[0], dtype=H.dtype, device=H.device)
    for row in rows:
        row.copy_(torch.randn(H.shape[0], generator=generator, dtype=torch.float64))
    return rows.mT
