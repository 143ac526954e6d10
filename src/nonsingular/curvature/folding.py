"""Normalisations folded into the convolutions before them, where only derivatives are wanted.

Batch normalisation with fixed statistics is a factor and a shift a channel, and so is a convolution with other weights
and another bias. Differentiated in that form its products and sums are of the weights' size instead of the
activations', which for a ResNet is most of what a Hessian product does besides convolving.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_GROUPS = (F.group_norm, torch.group_norm)
"""Their forward derivative looks at its input by views that channels-last memory does not allow (torch 2.13)."""
_LOOKING = (Tensor.dim, Tensor.size, Tensor.shape.__get__)  # type: ignore[attr-defined]


class FoldNormalisations(TorchFunctionMode):
    """Within: batch normalisation right after a convolution keeps its values and gets folded derivatives.

    The values stay those of the model to the bit, lest a ReLU above switch where rounding differs. Folded is only what
    follows its convolution at once, as a call in between may have written into the convolution's result.
    """

    def __init__(self) -> None:
        super().__init__()
        self._result: Tensor | None = None  # of the convolution that was the last call
        self._affine: Callable[[Tensor, Tensor], Tensor] | None = None  # it, times a factor, plus a shift

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _GROUPS and args:
            args = args[0].contiguous(), *args[1:]
        out = func(*args, **kwargs)
        if func in _LOOKING:
            return out
        if func is F.batch_norm and self._affine is not None:
            out = self._folded(out, *args, **kwargs)
        self._result, self._affine = None, None
        if func in _CONVOLUTIONS:
            self._result, self._affine = out, _affine(func, *args, **kwargs)
        return out

    def _folded(
        self,
        out: Tensor,
        input: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """``out`` with the derivatives of the folded form, if ``input`` is the convolution's result."""
        if training or input is not self._result or self._affine is None:
            return out
        factor = torch.rsqrt(running_var + eps)
        factor = factor if weight is None else factor * weight
        shift = -running_mean * factor
        folded = self._affine(factor, shift if bias is None else bias + shift)
        return out.detach() + (folded - folded.detach())


def _affine(
    convolve: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
) -> Callable[[Tensor, Tensor], Tensor] | None:
    if input.dim() != weight.dim():  # without a sample axis: channels are not where normalisation looks for them
        return None

    def affine(factor: Tensor, shift: Tensor) -> Tensor:
        scaled = weight * factor.reshape(-1, *(1,) * (weight.dim() - 1))
        return convolve(input, scaled, shift if bias is None else shift + bias * factor, *rest, **named)

    return affine
