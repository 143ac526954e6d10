"""The layer that the convolutional networks share: convolution, batch normalisation, rectifier, in either order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ORDERS = ("post", "pre")


class ConvolutionalLayer(nn.Module):
    """One hidden layer of a convolutional network; its output is the layer's activation.

    In the order ``post`` the activation is ``relu(norm(conv(x)) + more)`` (He et al. 2016a), in the order ``pre`` it is
    ``conv(relu(norm(x))) + more`` (He et al. 2016b), where ``more`` is what a skip connection brings.

    Args:
        inputs: channels of the layer before.
        channels: channels of this layer.
        kernel: height and width of the kernel, odd; zeros around the image keep its size.
        stride: of the convolution.
        groups: of the convolution (Xie et al. 2017).
        batch_norm: whether to normalise; if not, the convolution has a bias.
        order: ``post`` or ``pre``.
        rectified: whether there is a rectifier at all (the first layer of a pre-activation network has none).
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        batch_norm: bool = True,
        order: str = "post",
        rectified: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, groups=groups, bias=not batch_norm)
        normalised = batch_norm and (rectified or order == "post")
        self.norm = nn.BatchNorm2d(inputs if order == "pre" else channels) if normalised else None
        self.order, self.rectified = order, rectified

    def forward(
        self, x: Float[Tensor, "sample inputs height width"], more: Tensor | None = None
    ) -> Float[Tensor, "sample channels row column"]:
        """The layer's activation."""
        if self.order == "pre":
            y = self.conv(self._rectify(normalise(self.norm, x)))
            return y if more is None else y + more
        y = normalise(self.norm, self.conv(x))
        return self._rectify(y if more is None else y + more)

    def _rectify(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.rectified else x

    def extra_repr(self) -> str:  # noqa: D102
        return f"order={self.order}, rectified={self.rectified}"


def normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d | None, x: Tensor) -> Tensor:
    """``norm(x)``. Under autocast and vmap together batch normalisation takes no mixed types: there ``x`` is cast."""
    if norm is None:
        return x
    batched = isinstance(x, Tensor) and torch._C._functorch.is_batchedtensor(x)  # when torch.fx traces, x is a proxy
    return norm(x.to(norm.weight.dtype) if batched else x)


def pooled(x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample channel"]:
    """The mean over the image."""
    return x.mean((2, 3))
