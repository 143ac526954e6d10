"""Large matrix products by oneDNN, the library that PyTorch has for convolutions, where that is faster.

``torch.mm`` calls Intel's library, which on others' processors does not use AVX-512; oneDNN does wherever it is. It is
slower to start, so that small products stay with ``torch.mm``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.machine import processor

LARGE = 4_000_000
"""Multiply-adds of a product from which oneDNN is taken.

Steps of populations on one thread of an EPYC with AVX-512 (``torch.mm`` at 110 GFLOP/s) were 0.83 times as fast with
500 samples and 64 x 64 units (2.0e6), 0.97 with 128 and 128 x 128 (2.1e6), 1.26 with 256 and 128 x 128 (4.2e6), 1.19
with 64 and 256 x 256 (4.2e6), 1.35 with 500 and 96 x 96 (4.6e6), 1.55 with 500 and 128 x 128 (8.2e6).
"""


def available() -> bool:
    """Whether oneDNN's products are there and worth it: on CPUs with AVX-512 that are not Intel's.

    With AVX2 alone (``ONEDNN_MAX_CPU_ISA=AVX2``) they were 0.7 to 1.0 times as fast; on a Xeon, where ``torch.mm`` uses
    AVX-512 as well, a step of six networks of 30 x 128 units took 1.5 (one thread) and 2.2 times as long (two).
    """
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and torch.backends.cpu.get_cpu_capability() == "AVX512" and "Intel" not in processor()


def large(a: Float[Tensor, "i k"], b: Float[Tensor, "k j"]) -> bool:
    """Whether oneDNN is faster for a product of single precision on a CPU, where it is available."""
    here = a.is_cpu and b.is_cpu and a.dtype == b.dtype == torch.float32
    return here and a.shape[0] * a.shape[1] * b.shape[1] >= LARGE


def product(a: Float[Tensor, "i k"], b: Float[Tensor, "k j"]) -> Float[Tensor, "i j"]:
    """:math:`A B`."""
    return torch.ops.mkldnn._linear_pointwise(a, _dense(b).mT, None, "none", [], "")


def product_and(a: Float[Tensor, "i k"], b: Float[Tensor, "k j"], c: Float[Tensor, "i j"]) -> Float[Tensor, "i j"]:
    """:math:`A B + C`."""
    return torch.ops.mkldnn._linear_pointwise(a, c.contiguous(), _dense(b).mT, None, "add")


def affine(
    x: Float[Tensor, "sample input"], weight: Float[Tensor, "unit input"], bias: Float[Tensor, " unit"]
) -> Float[Tensor, "sample unit"]:
    """:math:`x W^T + b`. It could rectify in passing, but makes zeros of what is no number."""
    return torch.ops.mkldnn._linear_pointwise(x, _dense(weight), bias.contiguous(), "none", [], "")


def forward(layer: nn.Linear, input: Float[Tensor, "... input"]) -> Float[Tensor, "... unit"]:
    """What a layer computes, by whichever is faster; what is differentiated by PyTorch's own."""
    weight, bias = layer.weight, layer.bias
    followed = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (input, weight, bias))
    rows = input if input.dim() == 2 else input.reshape(-1, input.shape[-1])
    if followed or not large(rows, weight.mT):
        return F.linear(input, weight, bias)
    y = product(rows, weight.mT) if bias is None else affine(rows, weight, bias)
    return y.view(*input.shape[:-1], -1)


def _dense(matrix: Tensor) -> Tensor:
    """By rows or by columns without gaps: others take a hundred times as long, and overlapping ones are refused.

    (Of a bias the stride is not read at all.)
    """
    return matrix if matrix.is_contiguous() or matrix.mT.is_contiguous() else matrix.contiguous()
