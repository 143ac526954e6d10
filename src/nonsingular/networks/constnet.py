"""ConstNet: a deep convolutional network whose features are identical at the start (blumenfeld2020 §2.2, App. A)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import normalise, pooled
from nonsingular.networks.initialisation import average, he, zero
from nonsingular.networks.shapes import check_dropout, image_channels

STAGES = 3
STARTS = ("zero", "he")
DROPOUT_ON = ("skipped", "all")


@checked
@dataclass(frozen=True)
class ConstNetSpec:
    """A residual network of single convolutions, each bypassed by a skip; by default the paper's 13 convolutions.

    An input layer of ``width`` channels; three stages of equally many layers ``x + conv(relu(norm(x)))`` with 1, 2 and
    4 times ``widening * width`` channels, the image halved at the start of the second and third; the mean over the
    image; a classifier that starts at 0. Where a stage widens, the skip is a 1 x 1 convolution.

    Attributes:
        depth: hidden layers, 3n + 1: the input layer, and n in each stage.
        width: channels of the input layer.
        widening: the k of Wide-ResNets (Zagoruyko and Komodakis 2016).
        start: ``zero``: skipped convolutions 0, the rest averages of their inputs, so that all features are identical
            (the paper's "0" start); ``he``: all of them normal with the variance that keeps the signal's norm.
        batch_norm: whether the rectifiers' inputs are normalised. If not, each skipped convolution has scalar biases
            before and after and a scalar scale, as Fixup has (Zhang et al. 2019).
        dropout: share of channels' responses that is dropped after convolutions while training.
        dropout_on: ``skipped`` convolutions (the usual way), or ``all``: the input layer's too (appendix I).

    Raises:
        InputError: unknown words, a depth that is not 3n + 1, sizes below 1, or a dropout outside [0, 1).

    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.ConstNetSpec(width=4, widening=1), (3, 8, 8), 10, seed=0)
    >>> ns.measures.unique_features(network.layers[0].conv.weight)  # all features start as copies of one
    tensor(1)
    """

    depth: int = 13
    width: int = 16
    widening: int = 10
    start: str = "zero"
    batch_norm: bool = True
    dropout: float = 0.0
    dropout_on: str = "skipped"

    def __post_init__(self) -> None:
        check_stages(self.depth, self.width, self.widening, layers=STAGES)
        for what, value, known in (("start", self.start, STARTS), ("dropout_on", self.dropout_on, DROPOUT_ON)):
            if value not in known:
                raise InputError(f"network: unknown {what} {value!r}; there are {', '.join(known)}")
        check_dropout(self.dropout)

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> ConstNet:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = ConstNet(self, image_channels(shape), classes)
        generator = torch.Generator().manual_seed(seed)
        for layer in network.layers:
            layer.start(self.start, generator)
        zero(network.readout)
        return network


class InputLayer(nn.Module):
    """The first convolution. With the start ``zero`` every channel is the mean of the image's channels."""

    def __init__(self, inputs: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def start(self, how: str, generator: Generator) -> None:
        """Set the weights, as ``ConstNetSpec.start`` says."""
        linear_start(self.conv, how, generator)

    def forward(self, x: Float[Tensor, "sample inputs height width"]) -> Float[Tensor, "sample channels height width"]:
        """The layer's features."""
        return self.dropout(self.conv(x))


class Skippable(nn.Module):
    """``skip(x) + dropout(conv(relu(norm(x))))``, its output the features that the next layer sees.

    Args:
        inputs: channels of the layer before.
        channels: channels of this layer; where they differ the skip is a 1 x 1 convolution.
        stride: of both convolutions.
        batch_norm: normalisation, or scalar biases and a scale.
        dropout: share of responses that is dropped.
    """

    def __init__(self, inputs: int, channels: int, stride: int, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.stride = stride
        self.widening = nn.Conv2d(inputs, channels, 1, bias=False) if (inputs, stride) != (channels, 1) else None
        self.norm = nn.BatchNorm2d(inputs) if batch_norm else None
        self.scalars = None if batch_norm else nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))
        self.dropout = nn.Dropout(dropout)

    def start(self, how: str, generator: Generator) -> None:
        """Set the weights, as ``ConstNetSpec.start`` says."""
        (zero if how == "zero" else he)(self.conv, generator)
        if self.widening is not None:
            linear_start(self.widening, how, generator)

    def forward(self, x: Float[Tensor, "sample inputs height width"]) -> Float[Tensor, "sample channels row column"]:
        """The layer's features."""
        if self.scalars is None:
            y = self.dropout(self.conv(F.relu(normalise(self.norm, x))))
        else:
            before, scale, after = self.scalars
            y = scale * self.dropout(self.conv(F.relu(x + before)) + after)
        if self.widening is None:
            return y + x
        # Pixels are taken first: oneDNN's strided 1 x 1 kernel corrupts memory with fewer than 8 channels (torch 2.13).
        return y + self.widening(x[:, :, :: self.stride, :: self.stride])

    def extra_repr(self) -> str:  # noqa: D102
        return f"stride={self.stride}"


class ConstNet(nn.Module):
    """The network that a ``ConstNetSpec`` describes; its ``layers`` are the input layer and the skippable ones.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.ConstNetSpec(width=4, widening=1), (3, 8, 8), 10, seed=0)
    >>> type(network).__name__, network(torch.ones(2, 3, 8, 8)).shape
    ('ConstNet', torch.Size([2, 10]))
    """

    def __init__(self, spec: ConstNetSpec, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[InputLayer | Skippable] = [
            InputLayer(channels, spec.width, spec.dropout if spec.dropout_on == "all" else 0.0)
        ]
        for inputs, outputs, stride in staged(spec.depth, spec.width, spec.widening):
            layers.append(Skippable(inputs, outputs, stride, spec.batch_norm, spec.dropout))
        self.layers: Iterable[InputLayer | Skippable] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.readout = nn.Linear(outputs, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        for layer in self.layers:
            x = layer(x)
        return self.readout(pooled(x))


def linear_start(conv: nn.Conv2d, how: str, generator: Generator) -> None:
    """A convolution on the linear path: an average, or normal weights that keep the signal's norm in expectation."""
    if how == "zero":
        average(conv)
    else:
        nn.init.normal_(conv.weight, std=math.sqrt(1 / conv.weight[0].numel()), generator=generator)


def staged(depth: int, width: int, widening: int) -> Sequence[tuple[int, int, int]]:
    """Channels in, channels out and stride of the layers after the input layer."""
    sizes, inputs = [], width
    for place in range(depth - 1):
        stage, number = divmod(place, (depth - 1) // STAGES)
        outputs = width * widening * 2**stage
        sizes.append((inputs, outputs, 2 if stage and number == 0 else 1))
        inputs = outputs
    return sizes


def check_stages(depth: int, width: int, widening: int, layers: int) -> None:
    """Refuse sizes that do not make three stages.

    Raises:
        InputError: a depth that is not a multiple of ``layers`` plus 1, or sizes below 1.
    """
    if depth <= layers or (depth - 1) % layers:
        near = max(layers * round((depth - 1) / layers), layers) + 1
        raise InputError(f"network: the depth is {layers}n + 1, got {depth}; the nearest is {near}")
    for what, value in (("width", width), ("widening", widening)):
        if value < 1:
            raise InputError(f"network: {what} must be at least 1, got {value}")
