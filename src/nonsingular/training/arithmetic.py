"""Arithmetic in which the order of additions does not matter, and arithmetic in which it is drawn at random.

Two features that are equal stay equal while training only if the same numbers are added in the same order for both.
Fast kernels do not promise that: which of them a channel meets can depend on its place in a SIMD register, and on a GPU
the order of additions can change from call to call. Both modes here replace convolutions, matrix products and batch
normalisation below autograd, so that forward and backward passes of any network built from them follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nonsingular.dispatch import Dispatch

aten = torch.ops.aten
MANTISSA = 53  # of float64, in bits
PARTS = 4  # of a batch whose gradients are added in random order


class OrderFree(Dispatch):
    """Sums whose result does not depend on the order: exact sums of operands rounded to a common grid.

    Before a product both operands are rounded to multiples of a power of two, relative to their largest entry, so
    coarse that float64 holds every partial sum exactly. Whatever kernel adds them up, on whatever machine, the result
    is the same number; it is rounded once to the type it came from. Operands keep ``(53 - log2(terms)) / 2`` bits, 18
    to 24 of float32's 24 in the networks here, so this is not float32 arithmetic to the last bit, but of its precision.
    """

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run it, or the sum that stands for it."""
        return _ORDER_FREE.get(func, func)(*args, **kwargs)


class RandomOrder(Dispatch):
    """Weight gradients of convolutions and linear layers added up over parts of the batch in random order.

    The order is drawn for every weight on its own, as on a GPU whose threads add to one memory cell as they finish.
    """

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run it, weight gradients part by part."""
        if func is aten.convolution_backward.default and args[-1][1] and len(args[0]) >= PARTS:
            return _convolution_backward_in_random_order(*args)
        if func is aten.mm.default and args[0].shape[1] >= PARTS:
            columns, rows = args[0].chunk(PARTS, 1), args[1].chunk(PARTS, 0)
            parts = [aten.mm(c.float(), r.float()) for c, r in zip(columns, rows, strict=True)]
            return _add_in_random_order(parts).to(args[0].dtype)
        return func(*args, **kwargs)


# --- random order -------------------------------------------------------------------------------------------


def _add_in_random_order(parts: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack(list(parts))
    order = torch.rand(stacked.shape, device=stacked.device).argsort(0)
    total = torch.zeros_like(stacked[0])
    for part in stacked.gather(0, order):
        total = total + part
    return total


def _convolution_backward_in_random_order(
    gradient: Tensor, x: Tensor, weight: Tensor, *settings: Any
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    *geometry, (wants_input, _, wants_bias) = settings
    by_input, _, by_bias = aten.convolution_backward(gradient, x, weight, *geometry, [wants_input, False, wants_bias])
    # Half-precision hardware adds in float32 too and rounds the sum: most of the order's effect is lost there.
    parts = [
        aten.convolution_backward(g.float(), part.float(), weight.float(), *geometry, [False, True, False])[1]
        for g, part in zip(gradient.chunk(PARTS), x.chunk(PARTS), strict=True)
    ]
    return by_input, _add_in_random_order(parts).to(weight.dtype), by_bias


# --- order-free ---------------------------------------------------------------------------------------------


def _gridded(x: Tensor, bits: int) -> Tensor:
    """``x`` in float64, rounded to multiples of ``2**-bits`` of the power of two above its largest entry."""
    x = x.double()
    largest = float(x.abs().max()) if x.numel() else 0.0
    if largest == 0 or not math.isfinite(largest):
        return x
    step = 2.0 ** (math.frexp(largest)[1] - bits)
    return (x / step).round_().mul_(step)


def _product(terms: int, combine: Callable[..., Any], a: Tensor, b: Tensor, *arguments: Any, dtype: torch.dtype) -> Any:
    """``combine(a, b, ...)``, a sum of ``terms`` products, without rounding of its sums."""
    bits = (MANTISSA - math.ceil(math.log2(max(terms, 1)))) // 2
    # cuDNN may convolve by transforms, whose intermediate numbers lie on no grid.
    with torch.backends.cudnn.flags(enabled=False):
        return combine(_gridded(a, bits), _gridded(b, bits), *arguments).to(dtype)


def exact_sum(x: Tensor, dims: Sequence[int]) -> Tensor:
    """The sum over ``dims`` in float64, the same for every order of addition.

    Args:
        x: of any shape.
        dims: summed over, and kept with size 1.
    """
    terms = math.prod(x.shape[d] for d in dims)
    return _gridded(x, MANTISSA - math.ceil(math.log2(max(terms, 1)))).sum(tuple(dims), keepdim=True)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    y = _product(
        weight[0].numel(), lambda a, b: aten.convolution(a, b, None, *geometry), x, weight, dtype=x.dtype
    )  # fmt: skip
    return y if bias is None else y + bias.view(1, -1, *[1] * (y.ndim - 2))


def _convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *settings: Any
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    *geometry, (wants_input, wants_weight, wants_bias) = settings
    by_input = by_weight = by_bias = None
    if wants_input:
        terms = weight.numel() // weight.shape[1]
        by_input = _product(
            terms,
            lambda g, w: aten.convolution_backward(g, x.double(), w, None, *geometry, [True, False, False])[0],
            gradient, weight, dtype=x.dtype,
        )  # fmt: skip
    if wants_weight:
        terms = gradient.numel() // gradient.shape[1]
        by_weight = _product(
            terms,
            lambda g, a: aten.convolution_backward(g, a, weight.double(), None, *geometry, [False, True, False])[1],
            gradient, x, dtype=weight.dtype,
        )  # fmt: skip
    if wants_bias:
        by_bias = exact_sum(gradient, [d for d in range(gradient.ndim) if d != 1]).flatten().to(gradient.dtype)
    return by_input, by_weight, by_bias


def _mm(a: Tensor, b: Tensor) -> Tensor:
    return _product(a.shape[1], torch.mm, a, b, dtype=a.dtype)


def _addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return beta * c + alpha * _mm(a, b)


def _mean(x: Tensor, dims: Sequence[int], keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    dims = sorted(d % x.ndim for d in dims)
    total = exact_sum(x, dims) / math.prod(x.shape[d] for d in dims)
    return (total if keepdim else total.squeeze(tuple(dims))).to(dtype or x.dtype)


def _sum_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return _sum(x, None, dtype=dtype)


def _add(a: Tensor, b: Tensor | float, *, alpha: float = 1) -> Tensor:
    # A product and a sum: a fused multiply-add rounds once, and kernels use it in some places only.
    return a + (b if alpha == 1 else b * alpha)


def _add_in_place(a: Tensor, b: Tensor | float, *, alpha: float = 1) -> Tensor:
    return a.copy_(_add(a, b, alpha=alpha))


def _lerp_in_place(a: Tensor, b: Tensor, weight: float) -> Tensor:
    return a.copy_(a + weight * (b - a))


def _addcmul_in_place(a: Tensor, b: Tensor, c: Tensor, *, value: float = 1) -> Tensor:
    return a.copy_(a + value * (b * c))


def _addcdiv_in_place(a: Tensor, b: Tensor, c: Tensor, *, value: float = 1) -> Tensor:
    return a.copy_(a + value * (b / c))


def _sum(x: Tensor, dims: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    dims = sorted(d % x.ndim for d in (dims or range(x.ndim)))
    total = exact_sum(x, dims)
    return (total if keepdim else total.squeeze(tuple(dims))).to(dtype or x.dtype)


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    dims, count, shape = _over(x)
    if training or mean is None or variance is None:
        centre = exact_sum(x, dims) / count
        spread = exact_sum((x - centre).square(), dims) / count
        if mean is not None and variance is not None:
            mean.mul_(1 - momentum).add_(momentum * centre.flatten().to(mean.dtype))
            variance.mul_(1 - momentum).add_(momentum * (spread.flatten() * count / (count - 1)).to(variance.dtype))
    else:
        centre, spread = mean.double().view(shape), variance.double().view(shape)
    inverse = (spread + epsilon).rsqrt()
    y = ((x - centre) * inverse).to(x.dtype)
    if weight is not None and bias is not None:
        y = y * weight.view(shape) + bias.view(shape)
    return y, centre.flatten().float(), inverse.flatten().float()


def _batch_norm_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    saved_mean: Tensor | None,
    saved_inverse: Tensor | None,
    training: bool,
    epsilon: float,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    dims, count, shape = _over(x)
    if training:
        assert saved_mean is not None
        assert saved_inverse is not None
        centre, inverse = saved_mean.double().view(shape), saved_inverse.double().view(shape)
    else:
        assert mean is not None
        assert variance is not None
        centre, inverse = mean.double().view(shape), (variance.double().view(shape) + epsilon).rsqrt()
    normal = (x - centre) * inverse
    by_bias, by_weight = exact_sum(gradient, dims), exact_sum(gradient * normal, dims)
    scale = inverse if weight is None else inverse * weight.double().view(shape)
    inner = gradient - (by_bias + normal * by_weight) / count if training else gradient.double()
    parameters = (by_weight.flatten(), by_bias.flatten()) if weight is not None else (None, None)
    return (
        (inner * scale).to(x.dtype),
        *(None if p is None else p.to(gradient.dtype) for p in parameters),
    )  # type: ignore[return-value]


def _over(x: Tensor) -> tuple[list[int], int, list[int]]:
    """What a normalisation averages over: dimensions, their product, and the shape of one number a channel."""
    dims = [d for d in range(x.ndim) if d != 1]
    return dims, x.numel() // x.shape[1], [1, -1, *[1] * (x.ndim - 2)]


_ORDER_FREE: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.mm.default: _mm,
    aten.addmm.default: _addmm,
    aten.mean.dim: _mean,
    aten.sum.dim_IntList: _sum,
    aten.sum.default: _sum_all,
    aten.add.Tensor: _add,
    aten.add_.Tensor: _add_in_place,
    aten.lerp_.Scalar: _lerp_in_place,
    aten.addcmul_.default: _addcmul_in_place,
    aten.addcdiv_.default: _addcdiv_in_place,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
}
