"""What products are precise enough for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nonsingular.errors import InputError

if TYPE_CHECKING:
    from nonsingular.curvature.lanczos import SymmetricOperator

HALF = (torch.bfloat16, torch.float16)


def require_precision(H: SymmetricOperator) -> None:
    """Refuse operators whose products carry two or three digits: what is iterated or counted from them is noise.

    Raises:
        InputError: the products are in 16 bits.
    """
    if H.dtype in HALF:
        name = str(H.dtype).removeprefix("torch.")
        raise InputError(
            f"products in {name} are too coarse to find eigenvalues from; give the operator dtype=torch.float32"
        )
