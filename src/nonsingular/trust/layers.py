"""Modules of ``torch.nn`` and what people build of them, by the shape of what they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from nonsingular.trust.pick import Pick


@dataclass(frozen=True)
class Shape:
    """Of what flows between layers, without the axis of samples.

    Attributes:
        kind: ``vector`` (features), ``signal`` (channels, length), ``image`` (channels, height, width), ``volume``
            (channels, depth, height, width) or ``sequence`` (time, features).
        sizes: of the axes.
    """

    kind: str
    sizes: tuple[int, ...]


Made = tuple[nn.Module, Shape]
Layer = Callable[[Pick, Shape], Made]


class Functional(nn.Module):
    """A function as a module."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.function(x)

    def extra_repr(self) -> str:  # noqa: D102
        return self.name


class First(nn.Module):
    """The outputs of a recurrent layer without its last state."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.inner(x)[0]


class SelfAttention(nn.Module):
    """``nn.MultiheadAttention`` of a sequence with itself, or scaled dot products written out."""

    def __init__(self, features: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.inner, self.causal = nn.MultiheadAttention(features, heads, batch_first=True), causal

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype) if self.causal else None
        return self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]


class DotProducts(nn.Module):
    """Attention with ``scaled_dot_product_attention`` and one projection."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, 3 * features, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        q, k, v = self.projection(x).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Residual(nn.Module):
    """A sum with its input, in place or not."""

    def __init__(self, inner: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.inner, self.in_place = inner, in_place

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.inner(x)
        return y.add_(x) if self.in_place else x + y


class Checkpointed(nn.Module):
    """Computed again in the backward pass."""

    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Scaled(nn.Module):
    """A buffer and a scalar parameter in front of a module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("factor", torch.tensor(0.7))
        self.gain = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.inner(x) * self.factor * self.gain


class Twice(nn.Module):
    """The same module applied twice: tied weights."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.inner(torch.tanh(self.inner(x)))


# --- one layer after another --------------------------------------------------------------------------------


def _linear(pick: Pick, shape: Shape) -> Made:
    out = pick((3, 4, 2))
    return nn.Linear(shape.sizes[-1], out, bias=pick((True, False))), Shape(shape.kind, (*shape.sizes[:-1], out))


CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}  # by the axes of space


def _convolution(pick: Pick, shape: Shape) -> Made:
    channels, *space = shape.sizes
    make = CONVOLUTIONS[len(space)]
    how = pick(("plain", "same", "strided", "dilated", "depthwise", "circular", "pointwise"))
    if how == "depthwise":
        return make(channels, channels, 3, padding=1, groups=channels), shape
    if how == "same":
        return make(channels, 2, 3, padding="same"), Shape(shape.kind, (2, *space))
    if how == "circular":
        return make(channels, 2, 3, padding=1, padding_mode="circular"), Shape(shape.kind, (2, *space))
    if how == "strided":
        return make(channels, 3, 2, stride=2), Shape(shape.kind, (3, *((s - 2) // 2 + 1 for s in space)))
    if how == "dilated" and min(space) >= 3:
        return make(channels, 2, 2, dilation=2), Shape(shape.kind, (2, *(s - 2 for s in space)))
    if how == "plain" and min(space) >= 2:
        return make(channels, 3, 2), Shape(shape.kind, (3, *(s - 1 for s in space)))
    return make(channels, 3, 1, bias=False), Shape(shape.kind, (3, *space))


def _transposed(pick: Pick, shape: Shape) -> Made:
    channels, *space = shape.sizes
    make = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[len(space)]
    return make(channels, 2, 2), Shape(shape.kind, (2, *(s + 1 for s in space)))


def _pooling(pick: Pick, shape: Shape) -> Made:
    channels, *space = shape.sizes
    d = len(space)
    small = Shape(shape.kind, (channels, *(s // 2 for s in space)))
    made: Sequence[Callable[[], Made]] = (
        lambda: (getattr(nn, f"MaxPool{d}d")(2), small),
        lambda: (getattr(nn, f"AvgPool{d}d")(2), small),
        lambda: (getattr(nn, f"AdaptiveAvgPool{d}d")(1), Shape(shape.kind, (channels, *[1] * d))),
        lambda: (getattr(nn, f"AdaptiveMaxPool{d}d")(1), Shape(shape.kind, (channels, *[1] * d))),
        lambda: (getattr(nn, f"LPPool{d}d")(2, 2), small) if d < 3 else (nn.AvgPool3d(2), small),
    )
    return pick(made)()


def _activation(pick: Pick, shape: Shape) -> Made:
    in_place = pick((False, True))
    made: Sequence[Callable[[], nn.Module]] = (
        lambda: nn.ReLU(inplace=in_place), nn.Tanh, nn.GELU, lambda: nn.LeakyReLU(0.1, inplace=in_place),
        lambda: nn.SiLU(inplace=in_place), lambda: nn.ELU(inplace=in_place), nn.Sigmoid, nn.Softplus,
        lambda: nn.Hardtanh(inplace=in_place), nn.Hardswish, nn.Mish, nn.SELU, nn.PReLU, nn.LogSigmoid,
        lambda: nn.Softmax(dim=-1), lambda: Functional("F.relu", F.relu), lambda: Functional("F.gelu", F.gelu),
        lambda: Functional("x.clamp(min=0)", lambda x: x.clamp(min=0)), lambda: Functional("torch.sin", torch.sin),
        lambda: Functional("x * sigmoid(x)", lambda x: x * torch.sigmoid(x)),
        lambda: Functional("x.clone().mul_(1.5)", lambda x: x.clone().mul_(1.5)),
    )  # fmt: skip
    return pick(made)(), shape


def _normalisation(pick: Pick, shape: Shape) -> Made:
    if shape.kind in ("vector", "sequence"):
        last = shape.sizes[-1]
        made: Sequence[Callable[[], nn.Module]] = [lambda: nn.LayerNorm(last), lambda: nn.RMSNorm(last)]
        if shape.kind == "vector":
            made = [*made, lambda: nn.BatchNorm1d(last), lambda: nn.BatchNorm1d(last, affine=False),
                    lambda: nn.BatchNorm1d(last, track_running_stats=False)]  # fmt: skip
        return pick(made)(), shape
    channels, *space = shape.sizes
    d = len(space)
    made = [
        lambda: getattr(nn, f"BatchNorm{d}d")(channels), lambda: nn.GroupNorm(1, channels),
        lambda: getattr(nn, f"BatchNorm{d}d")(channels, affine=False),
        lambda: nn.LocalResponseNorm(2), lambda: nn.LayerNorm(shape.sizes),
    ]  # fmt: skip
    if math.prod(space) > 1:
        made.append(lambda: getattr(nn, f"InstanceNorm{d}d")(channels, affine=True))
    return pick(made)(), shape


def _wrapped(pick: Pick, shape: Shape) -> Made:
    """Something around a linear map or a depthwise convolution that keeps the shape."""
    if shape.kind in ("vector", "sequence"):
        inner: nn.Module = nn.Linear(shape.sizes[-1], shape.sizes[-1])
    else:
        channels, *space = shape.sizes
        inner = CONVOLUTIONS[len(space)](channels, channels, 1)
    made: Sequence[Callable[[], nn.Module]] = (
        lambda: Residual(inner, in_place=False),
        lambda: Residual(inner, in_place=True),
        lambda: Twice(inner),
        lambda: Scaled(inner),
        lambda: Checkpointed(inner, reentrant=False),
        lambda: Checkpointed(inner, reentrant=True),
        lambda: parametrizations.weight_norm(inner),
        lambda: parametrizations.spectral_norm(inner),
        lambda: parametrizations.orthogonal(inner) if isinstance(inner, nn.Linear) else Twice(inner),
        lambda: _hooked(inner),
        lambda: _partly_frozen(inner),
    )
    return pick(made)(), shape


def _hooked(inner: nn.Module) -> nn.Module:
    inner.register_forward_hook(_doubled)
    return inner


def _doubled(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return 2 * output


def _partly_frozen(inner: nn.Module) -> nn.Module:
    inner.get_parameter("bias").requires_grad_(False)
    return inner


def _recurrent(pick: Pick, shape: Shape) -> Made:
    time, features = shape.sizes
    make = pick((nn.RNN, nn.GRU, nn.LSTM))
    both = pick((False, True))
    return First(make(features, 2, batch_first=True, bidirectional=both)), Shape("sequence", (time, 4 if both else 2))


def _attention(pick: Pick, shape: Shape) -> Made:
    features = shape.sizes[-1]
    heads = 2 if features % 2 == 0 else 1
    made: Sequence[Callable[[], nn.Module]] = (
        lambda: SelfAttention(features, heads, causal=False),
        lambda: SelfAttention(features, heads, causal=True),
        lambda: DotProducts(features),
        lambda: nn.TransformerEncoderLayer(features, heads, 4, dropout=0.0, batch_first=True, norm_first=True),
        lambda: nn.TransformerEncoderLayer(features, heads, 4, dropout=0.0, batch_first=True),
    )
    return pick(made)(), shape


def _dropout(pick: Pick, shape: Shape) -> Made:
    return nn.Dropout(pick((0.0, 0.0, 0.3)), inplace=pick((False, True))), shape


EVERYWHERE: Sequence[Layer] = (_activation, _normalisation, _wrapped, _activation, _dropout)
IN_SPACE: Sequence[Layer] = (_convolution, _pooling, _transposed, _convolution)
LAYERS: dict[str, Sequence[Layer]] = {
    "vector": (_linear, *EVERYWHERE),
    "signal": (*IN_SPACE, *EVERYWHERE),
    "image": (*IN_SPACE, *EVERYWHERE),
    "volume": (*IN_SPACE, *EVERYWHERE),
    "sequence": (_linear, _recurrent, _attention, *EVERYWHERE),
}
"""Kind of shape -> layers that take it, the simpler ones first."""


def layer(pick: Pick, shape: Shape) -> Made:
    """A layer that takes the shape."""
    if shape.kind not in ("vector", "sequence") and min(shape.sizes[1:]) < 2:
        return pick(EVERYWHERE)(pick, shape)
    return pick(LAYERS[shape.kind])(pick, shape)
