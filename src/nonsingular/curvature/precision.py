"""What can be iterated: symmetric operators whose products are precise enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nonsingular.curvature.algebra import Linear, Symmetric
from nonsingular.errors import InputError

if TYPE_CHECKING:
    from nonsingular.curvature.lanczos import SymmetricOperator

HALF = (torch.bfloat16, torch.float16)


def require_precision(H: SymmetricOperator) -> None:
    """Refuse operators whose products carry two or three digits: what is iterated or counted from them is noise.

    Raises:
        InputError: the products are in 16 bits, or the operator is not symmetric.
    """
    require_symmetric(H)
    if H.dtype in HALF:
        name = str(H.dtype).removeprefix("torch.")
        raise InputError(
            f"products in {name} are too coarse to find eigenvalues from; give the operator dtype=torch.float32"
        )


def require_symmetric(H: SymmetricOperator) -> None:
    """Refuse what is known not to be symmetric.

    Raises:
        InputError: it is not square, or an operator that need not be symmetric.
    """
    if tuple(H.shape) != (H.shape[0],) * 2 or (isinstance(H, Linear) and not isinstance(H, Symmetric)):
        raise InputError(
            f"this needs a symmetric matrix, got {type(H).__name__} {list(H.shape)}; of any operator A, A.T @ A and "
            "A @ A.T are symmetric"
        )


def require_finite(values: Tensor) -> None:
    """Refuse what an operator gave.

    Raises:
        InputError: some of it is NaN or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        raise InputError("the operator's products have NaN or infinite entries")
