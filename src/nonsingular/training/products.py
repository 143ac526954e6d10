"""Matrix products of linear layers of several runs, by whichever of PyTorch's two libraries is faster at their size.

``torch.bmm`` computes many matrices in one call, which costs little to start, so that it suits small ones. oneDNN,
which PyTorch has for convolutions, is started matrix by matrix, adds the bias and rectifies in the same pass, and
computes large products with AVX-512 on every processor that has it, where the library behind ``torch.bmm`` may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

LARGE = 4_000_000
"""Multiply-adds of a product from which oneDNN is taken.

Steps of populations on one thread of an EPYC with AVX-512 (``torch.mm`` at 110 GFLOP/s) were 0.83 times as fast with
500 samples and 64 x 64 units (2.0e6), 0.97 with 128 and 128 x 128 (2.1e6), 1.26 with 256 and 128 x 128 (4.2e6), 1.19
with 64 and 256 x 256 (4.2e6), 1.35 with 500 and 96 x 96 (4.6e6), 1.55 with 500 and 128 x 128 (8.2e6).
"""


class Products(Protocol):
    """What a linear layer computes, of all runs; results are written to ``out``, or lie in fresh memory."""

    def affine(
        self,
        x: Float[Tensor, "run sample input"],
        weight: Float[Tensor, "run unit input"],
        bias: Float[Tensor, "run 1 unit"],
        out: Float[Tensor, "run sample unit"],
        rectified: bool = False,
    ) -> Float[Tensor, "run sample unit"]:
        r""":math:`x W^T + b`; with ``rectified`` zero where that is negative."""
        ...

    def product(
        self,
        x: Float[Tensor, "run sample a"],
        matrix: Float[Tensor, "run a b"],
        out: Float[Tensor, "run sample b"],
        plus: Float[Tensor, "run sample b"] | None = None,
    ) -> Float[Tensor, "run sample b"]:
        """:math:`x M`, and ``plus`` added to it."""
        ...

    def over_samples(
        self,
        delta: Float[Tensor, "run sample unit"],
        x: Float[Tensor, "run sample input"],
        out: Float[Tensor, "run unit input"],
    ) -> None:
        r"""Set ``out`` to :math:`\delta^T x`."""
        ...


class Batched:
    """All runs in one call (``torch.bmm``)."""

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, rectified: bool = False) -> Tensor:
        """See ``Products``."""
        if out.is_contiguous():
            torch.baddbmm(bias, x, weight.mT, out=out)
        else:  # samples innermost
            torch.baddbmm(bias.mT, weight, x.mT, out=out.mT)
        return out.clamp_min_(0) if rectified else out

    def product(self, x: Tensor, matrix: Tensor, out: Tensor, plus: Tensor | None = None) -> Tensor:
        """See ``Products``."""
        return torch.bmm(x, matrix, out=out) if plus is None else torch.baddbmm(plus, x, matrix, out=out)

    def over_samples(self, delta: Tensor, x: Tensor, out: Tensor) -> None:
        """See ``Products``."""
        torch.bmm(delta.mT, x, out=out)


class OneByOne:
    """Run after run by oneDNN, in single precision."""

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, rectified: bool = False) -> Tensor:
        """See ``Products``."""
        what = "relu" if rectified else "none"
        return _each(lambda x, w, b: _linear(x, w, b.flatten(), what, [], ""), out, x, weight, bias)

    def product(self, x: Tensor, matrix: Tensor, out: Tensor, plus: Tensor | None = None) -> Tensor:
        """See ``Products``."""
        if plus is None:
            return _each(lambda x, m: _linear(x, m.mT, None, "none", [], ""), out, x, matrix)
        return _each(lambda x, m, p: _linear(x, p, m.mT, None, "add"), out, x, matrix, plus)

    def over_samples(self, delta: Tensor, x: Tensor, out: Tensor) -> None:
        """See ``Products``."""
        for o, d, a in zip(out, delta, x, strict=True):
            o.copy_(_linear(d.mT, a.mT, None, "none", [], ""))


def products(samples: int, weight: Float[Tensor, "run unit input"]) -> Products:
    """Those of a layer, chosen by its size: a study that is resumed, or chunked otherwise, adds in the same order.

    Args:
        samples: of a step.
        weight: of the layer.

    >>> import torch
    >>> from nonsingular.training.products import products
    >>> type(products(500, torch.zeros(3, 16, 16))).__name__
    'Batched'
    """
    large = samples * weight[0].numel() >= LARGE
    return OneByOne() if large and weight.dtype == torch.float32 and available() else Batched()


def available() -> bool:
    """Whether oneDNN's products of matrices are there and worth it: on CPUs with AVX-512.

    With AVX2 alone (``ONEDNN_MAX_CPU_ISA=AVX2``) they were 0.7 to 1.0 times as fast.
    """
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _linear(*arguments: object) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(*arguments)


def _each(compute: Callable[..., Tensor], out: Tensor, *tensors: Tensor) -> Tensor:
    """One run's result as it is, those of several in ``out``."""
    if len(out) == 1:
        return compute(*(t[0] for t in tensors)).unsqueeze(0)
    for o, *parts in zip(out, *tensors, strict=True):
        o.copy_(compute(*parts))
    return out
