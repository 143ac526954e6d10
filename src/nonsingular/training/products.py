"""Matrix products of linear layers of several runs, by whichever of PyTorch's two libraries is faster at their size.

``torch.bmm`` computes many matrices in one call, which costs little to start, so that it suits small ones. oneDNN is
started matrix by matrix, and adds the bias in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import onednn


class Products(Protocol):
    """What a linear layer computes, of all runs; results are written to ``out``, or lie in fresh memory."""

    def affine(
        self,
        x: Float[Tensor, "run sample input"],
        weight: Float[Tensor, "run unit input"],
        bias: Float[Tensor, "run 1 unit"],
        out: Float[Tensor, "run sample unit"],
    ) -> Float[Tensor, "run sample unit"]:
        """:math:`x W^T + b`."""
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

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        """See ``Products``."""
        if out.is_contiguous():
            return torch.baddbmm(bias, x, weight.mT, out=out)
        torch.baddbmm(bias.mT, weight, x.mT, out=out.mT)  # samples innermost
        return out

    def product(self, x: Tensor, matrix: Tensor, out: Tensor, plus: Tensor | None = None) -> Tensor:
        """See ``Products``."""
        return torch.bmm(x, matrix, out=out) if plus is None else torch.baddbmm(plus, x, matrix, out=out)

    def over_samples(self, delta: Tensor, x: Tensor, out: Tensor) -> None:
        """See ``Products``."""
        torch.bmm(delta.mT, x, out=out)


class OneByOne:
    """Run after run by oneDNN, in single precision."""

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        """See ``Products``."""
        return _each(lambda x, w, b: onednn.affine(x, w, b[0]), out, x, weight, bias)

    def product(self, x: Tensor, matrix: Tensor, out: Tensor, plus: Tensor | None = None) -> Tensor:
        """See ``Products``."""
        if plus is None:
            return _each(onednn.product, out, x, matrix)
        return _each(onednn.product_and, out, x, matrix, plus)

    def over_samples(self, delta: Tensor, x: Tensor, out: Tensor) -> None:
        """See ``Products``."""
        for o, d, a in zip(out, delta, x, strict=True):
            o.copy_(onednn.product(d.mT, a))


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
    few = weight.new_empty(()).expand(samples, weight.shape[2])
    return OneByOne() if onednn.available() and onednn.large(few, weight[0].mT) else Batched()


def _each(compute: Callable[..., Tensor], out: Tensor, *tensors: Tensor) -> Tensor:
    """One run's result as it is, those of several in ``out``."""
    if len(out) == 1:
        return compute(*(t[0] for t in tensors)).unsqueeze(0)
    for o, *parts in zip(out, *tensors, strict=True):
        o.copy_(compute(*parts))
    return out
