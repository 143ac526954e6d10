"""Highway networks (Srivastava, Greff and Schmidhuber 2015): skips through learned gates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import ConvolutionalLayer, pooled
from nonsingular.networks.initialisation import initialise
from nonsingular.networks.shapes import image_channels

STAGES = 3


@checked
@dataclass(frozen=True)
class HighwaySpec:
    """A convolutional highway network: y = H(x) T(x) + x (1 - T(x)) with the gate T(x) = sigmoid(conv(x) + bias).

    Three stages of equally many highway layers; between stages a plain layer halves the image and doubles the channels.

    Attributes:
        layers: layers with weights in a row, readout included: 3n + 4 (gates are beside their layer and do not count).
        width: channels of the first stage.
        skips: whether there are gates; without them y = H(x).
        gate: the gates' bias at the start; negative ones let the input through (§2.3 there: -1 to -10).
        batch_norm: whether H is batch-normalised.
        init: as ``networks.initialise`` takes it.

    Raises:
        InputError: a number of layers that stages do not give, or a width below 1.

    >>> import nonsingular as ns
    >>> ns.networks.HighwaySpec(layers=19).depth
    18
    """

    layers: int = 19
    width: int = 16
    skips: bool = True
    gate: float = -2.0
    batch_norm: bool = True
    init: str = "he"

    def __post_init__(self) -> None:
        if self.layers < STAGES + 4 or (self.layers - 4) % STAGES:
            raise InputError(f"network: three highway stages make 3n + 4 layers, got {self.layers}")
        if self.width < 1:
            raise InputError(f"network: width must be at least 1, got {self.width}")

    @property
    def depth(self) -> int:
        """Hidden layers: all with weights but the readout and the gates."""
        return self.layers - 1

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> Highway:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = Highway(self, image_channels(shape), classes)
        generator = torch.Generator().manual_seed(seed)
        for part in (*(layer.conv for layer in network.layers), network.readout):
            initialise(part, self.init, generator)  # type: ignore[arg-type]
        # Gates draw from a generator of their own: networks that differ in gates alone start from equal weights.
        gates = torch.Generator().manual_seed(seed ^ 0x5C1B)
        for layer in network.layers:
            if isinstance(layer, HighwayLayer):
                initialise(layer.gate, self.init, gates)
                nn.init.constant_(layer.gate.bias, self.gate)  # type: ignore[arg-type]
        return network


class HighwayLayer(ConvolutionalLayer):
    """A layer H and its gate T; its activation is their mixture, place by place and channel by channel."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__(channels, channels, batch_norm=batch_norm)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "sample channel height width"], more: Tensor | None = None
    ) -> Float[Tensor, "sample channel height width"]:
        """H(x) T(x) + x (1 - T(x))."""
        return torch.lerp(x, super().forward(x, more), F.sigmoid(self.gate(x)).to(x.dtype))


class Highway(nn.Module):
    """The network that a ``HighwaySpec`` describes.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.HighwaySpec(10, width=4), (3, 8, 8), 10, seed=0)
    >>> type(network).__name__, network(torch.zeros(2, 3, 8, 8)).shape
    ('Highway', torch.Size([2, 10]))
    """

    def __init__(self, spec: HighwaySpec, channels: int, classes: int) -> None:
        super().__init__()
        width, norm = spec.width, spec.batch_norm
        layers = [ConvolutionalLayer(channels, width, batch_norm=norm)]
        for stage in range(STAGES):
            if stage:
                layers.append(ConvolutionalLayer(width, 2 * width, stride=2, batch_norm=norm))
                width *= 2
            for _ in range((spec.layers - 4) // STAGES):
                plain = not spec.skips
                layers.append(ConvolutionalLayer(width, width, batch_norm=norm) if plain else HighwayLayer(width, norm))
        self.layers = nn.ModuleList(layers)
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        for layer in self.layers:
            x = layer(x)
        return self.readout(pooled(x))
