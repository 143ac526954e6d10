"""Operations whose derivatives PyTorch gets wrong the second time, or lacks, in forms that have the right ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class TwiceDifferentiable(TorchFunctionMode):
    """Within: embeddings whose padding is a constant; weight normalisation, kinks and some losses by their definitions.

    PyTorch's backward pass leaves an embedding's padding entry out, its forward mode does not, so the derivative of the
    gradient comes out asymmetric. Taken as the constant it is, both agree. With ``sparse=True`` gradients become dense,
    as their derivatives have to be. The second derivative of ``torch._weight_norm`` is wrong (torch 2.13, asymmetric
    by a quarter). At the kinks of PReLU, ``fmax`` and clamps by one tensor, where the zeros of padding lie, its two
    modes take different sides; here both take that of the gradients. Huber's and the soft margin's loss have none
    that can be vectorised, hard sigmoids none at all.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        other = None if "out" in kwargs else _FORMS.get(func)  # which has no gradient
        return func(*args, **kwargs) if other is None else other(*args, **kwargs)


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


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    over = [axis for axis in range(v.dim()) if axis != dim]  # all of them for dim = -1
    return v * (g / v.square().sum(over, keepdim=True).sqrt())


def _huber(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    if weight is None:
        return delta * F.smooth_l1_loss(input, target, reduction=reduction, beta=delta)
    terms = weight * delta * F.smooth_l1_loss(input, target, reduction="none", beta=delta)
    return terms if reduction == "none" else terms.sum() if reduction == "sum" else terms.mean()


def _soft_margin(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    if size_average is not None or reduce is not None:  # as they were said in old versions
        return F.soft_margin_loss(input, target, size_average, reduce, reduction)
    terms = -F.logsigmoid(input * target)
    return terms if reduction == "none" else terms.sum() if reduction == "sum" else terms.mean()


def _hard_sigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return F.hardtanh(input + 3, 0.0, 6.0) / 6


def _prelu(input: Tensor, weight: Tensor) -> Tensor:
    slopes = weight.reshape([-1 if axis == 1 else 1 for axis in range(input.dim())])
    return torch.where(input > 0, input, slopes.to(input.dtype) * input)


def _fmax(input: Tensor, other: Tensor) -> Tensor:
    return torch.where((input >= other) | other.isnan(), input, other)


def _clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    if isinstance(min, Tensor) and max is None:
        return torch.where((input >= min) | input.isnan(), input, min)
    if isinstance(max, Tensor) and min is None:
        return torch.where((input <= max) | input.isnan(), input, max)
    return torch.clamp(input, min, max)


def _clamp_in_place(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    return input.copy_(_clamp(input, min, max))


_FORMS: dict[Any, Any] = {
    F.embedding: _embed,
    torch._weight_norm: _weight_norm,
    F.huber_loss: _huber,
    F.soft_margin_loss: _soft_margin,
    F.hardsigmoid: _hard_sigmoid,
    torch.prelu: _prelu,
    **dict.fromkeys((torch.fmax, Tensor.fmax), _fmax),
    **dict.fromkeys((torch.clamp, Tensor.clamp, torch.clip, Tensor.clip), _clamp),
    **dict.fromkeys((torch.clamp_, Tensor.clamp_, torch.clip_, Tensor.clip_), _clamp_in_place),
}
