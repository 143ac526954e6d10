"""LeakyNet: a deep convolutional network without skips that is linear at the start (blumenfeld2020 §5.1, App. H)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.constnet import STAGES, check_stages, staged
from nonsingular.networks.convolutional import normalise, pooled
from nonsingular.networks.initialisation import average, identity, zero
from nonsingular.networks.shapes import check_dropout, image_channels

STARTS = "1IH"


@checked
@dataclass(frozen=True)
class LeakyNetSpec:
    r"""A network of convolutions and leaky rectifiers f whose layers cancel in pairs at the start.

    Since :math:`-\frac{1}{\rho} f(-f(x)) = x`, and so :math:`f(-\frac{1}{\rho} f(-x)) = x`, a layer of weights -1 and
    the next one of weights :math:`-1/\rho` are the identity together. Stages, readout and its start are ConstNet's.

    Attributes:
        depth: hidden layers, 6n + 1: the input layer, and n pairs in each stage.
        width: channels of the input layer.
        widening: as in ``ConstNetSpec``.
        starts: one letter a layer: ``1`` (every channel the average of all: features become identical), ``I`` (every
            channel a copy of one: features stay apart) or ``H`` (He-normal for the leaky rectifier); a single letter
            is for all layers.
        slope: :math:`\rho`, of the leaky rectifier below 0.
        batch_norm: whether each pair ends with a normalisation (between the two it would undo the identity).
        dropout: share of responses that is dropped after every rectifier while training.

    Raises:
        InputError: a depth that is not 6n + 1, sizes below 1, starts that are not a letter a layer, or a slope or
            dropout out of range.

    >>> import nonsingular as ns
    >>> ns.networks.LeakyNetSpec(starts="I", width=4, widening=1).depth
    13
    """

    depth: int = 13
    width: int = 16
    widening: int = 10
    starts: str = "1"
    slope: float = 0.01
    batch_norm: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_stages(self.depth, self.width, self.widening, layers=2 * STAGES)
        if not set(self.starts) <= set(STARTS) or len(self.starts) not in (1, self.depth):
            raise InputError(
                f"network: starts are one letter for all {self.depth} layers or one for each, of {', '.join(STARTS)}; "
                f"got {self.starts!r}"
            )
        if not 0 < self.slope <= 1:
            raise InputError(f"network: the slope must be above 0 and at most 1, got {self.slope}")
        check_dropout(self.dropout)

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> LeakyNet:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = LeakyNet(self, image_channels(shape), classes)
        generator = torch.Generator().manual_seed(seed)
        starts = self.starts * self.depth if len(self.starts) == 1 else self.starts
        for number, (layer, letter) in enumerate(zip(network.layers, starts, strict=True)):
            # The input layer is linear and stands alone; after it the layers come in pairs.
            gain = 1.0 if number == 0 else -1.0 if number % 2 else -1.0 / self.slope
            layer.start(letter, gain, generator)
        zero(network.readout)
        return network


class LeakyLayer(nn.Module):
    """``norm(dropout(f(conv(x))))``, its output the layer's activation; the input layer is ``conv`` alone."""

    def __init__(
        self, inputs: int, channels: int, stride: int, slope: float | None, batch_norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels) if batch_norm else None
        self.dropout = nn.Dropout(dropout)
        self.slope = slope

    def start(self, letter: str, gain: float, generator: Generator) -> None:
        """Set the weights, as ``LeakyNetSpec.starts`` says."""
        if letter == "H":
            slope = 1.0 if self.slope is None else self.slope  # a linear layer is one of slope 1
            variance = 2 / (1 + slope**2) / self.conv.weight[0].numel()
            nn.init.normal_(self.conv.weight, std=math.sqrt(variance), generator=generator)
        else:
            (average if letter == "1" else identity)(self.conv, gain=gain)

    def forward(self, x: Float[Tensor, "sample inputs height width"]) -> Float[Tensor, "sample channels row column"]:
        """The layer's activation."""
        y = self.conv(x)
        if self.slope is not None:
            y = F.leaky_relu(y, self.slope)
        return normalise(self.norm, self.dropout(y))

    def extra_repr(self) -> str:  # noqa: D102
        return f"slope={self.slope}"


class LeakyNet(nn.Module):
    """The network that a ``LeakyNetSpec`` describes.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.LeakyNetSpec(width=4, widening=1), (3, 8, 8), 10, seed=0)
    >>> type(network).__name__, network(torch.ones(2, 3, 8, 8)).shape
    ('LeakyNet', torch.Size([2, 10]))
    """

    def __init__(self, spec: LeakyNetSpec, channels: int, classes: int) -> None:
        super().__init__()
        layers = [LeakyLayer(channels, spec.width, 1, None, False, spec.dropout)]
        for number, (inputs, outputs, stride) in enumerate(staged(spec.depth, spec.width, spec.widening)):
            last_of_pair = number % 2 == 1
            layers.append(
                LeakyLayer(inputs, outputs, stride, spec.slope, spec.batch_norm and last_of_pair, spec.dropout)
            )
        self.layers: Iterable[LeakyLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.readout = nn.Linear(outputs, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        for layer in self.layers:
            x = layer(x)
        return self.readout(pooled(x))
