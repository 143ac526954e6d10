"""DenseNet for small images (Huang et al. 2017): skips that concatenate instead of adding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import ConvolutionalLayer, normalise, pooled
from nonsingular.networks.initialisation import initialise
from nonsingular.networks.shapes import image_channels

STAGES = 3


@checked
@dataclass(frozen=True)
class DenseSpec:
    """A DenseNet of three dense blocks; a layer of a block sees the outputs of all layers before it in the block.

    Attributes:
        layers: layers with weights, readout included: 3n + 4 (40, 100 in the paper).
        growth: channels that a layer of a dense block adds (12 in the paper).
        width: channels of the first layer (16 in the paper).
        skips: whether layers see what was before the layer before. Without, every layer is fed by its predecessor alone
            and has the channels that the concatenation would have, so that depth and widths stay.
        init: as ``networks.initialise`` takes it.

    Raises:
        InputError: a number of layers that dense blocks do not give, or sizes out of range.

    >>> import nonsingular as ns
    >>> sizes = []
    >>> for skips in (True, False):
    ...     spec = ns.networks.DenseSpec(10, growth=4, width=8, skips=skips)
    ...     network = ns.networks.build(spec, (3, 8, 8), 10, seed=0)
    ...     sizes.append(sum(p.numel() for p in network.parameters()))
    >>> sizes[0] < sizes[1]
    True
    """

    layers: int = 40
    growth: int = 12
    width: int = 16
    skips: bool = True
    init: str = "he"

    def __post_init__(self) -> None:
        if self.layers < STAGES + 4 or (self.layers - 4) % STAGES:
            raise InputError(f"network: dense blocks make 3n + 4 layers, got {self.layers}")
        for what in ("growth", "width"):
            if getattr(self, what) < 1:
                raise InputError(f"network: {what} must be at least 1, got {getattr(self, what)}")

    @property
    def depth(self) -> int:
        """Hidden layers: all with weights but the readout."""
        return self.layers - 1

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> Dense:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = Dense(self, image_channels(shape), classes)
        initialise(network, self.init, torch.Generator().manual_seed(seed))
        return network


class Dense(nn.Module):
    """The network that a ``DenseSpec`` describes.

    ``layers`` are the first convolution, then of each block its layers, and between blocks the 1 x 1 convolutions after
    which the image halves.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.DenseSpec(10, growth=4, width=8), (3, 8, 8), 10, seed=0)
    >>> type(network).__name__, network(torch.zeros(2, 3, 8, 8)).shape
    ('Dense', torch.Size([2, 10]))
    """

    def __init__(self, spec: DenseSpec, channels: int, classes: int) -> None:
        super().__init__()
        self.skips, self.a_block = spec.skips, (spec.layers - 4) // STAGES
        width = spec.width
        layers = [ConvolutionalLayer(channels, width, order="pre", rectified=False)]
        for stage in range(STAGES):
            for _ in range(self.a_block):
                more = spec.growth if spec.skips else width + spec.growth
                layers.append(ConvolutionalLayer(width, more, order="pre"))
                width += spec.growth
            if stage < STAGES - 1:
                layers.append(ConvolutionalLayer(width, width, 1, order="pre"))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.BatchNorm2d(width)
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        x = self.layers[0](x)
        for number, layer in enumerate(self.layers[1:]):
            between = number % (self.a_block + 1) == self.a_block
            if between:
                x = layer(x)
                x = F.avg_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
            else:
                x = torch.cat([x, layer(x)], dim=1) if self.skips else layer(x)
        return self.readout(pooled(F.relu(normalise(self.norm, x))))

    def extra_repr(self) -> str:  # noqa: D102
        return f"skips={self.skips}"
