"""Embeddings whose padding entry is a constant, for forward differentiation as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class ConstantPadding(TorchFunctionMode):
    """Within: what an embedding gives for its ``padding_idx`` does not depend on the weight.

    PyTorch's backward pass leaves the padding entry out, its forward mode does not, so the derivative of the gradient
    comes out asymmetric. Taken as the constant it is, both agree. With ``sparse=True`` gradients become dense, as
    their derivatives have to be.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return _embed(*args, **kwargs) if func is F.embedding else func(*args, **kwargs)


def _embed(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    if max_norm is not None:  # which writes into the weight
        return F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    out = F.embedding(input, weight, scale_grad_by_freq=scale_grad_by_freq)
    if padding_idx is None:
        return out
    padding = input == padding_idx % weight.shape[0]
    return torch.where(padding[..., None], out.detach(), out)
