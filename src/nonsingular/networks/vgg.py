"""VGG networks (Simonyan and Zisserman 2015): plain stacks of 3 x 3 convolutions, with batch normalisation if asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import ConvolutionalLayer, normalise
from nonsingular.networks.initialisation import initialise
from nonsingular.networks.shapes import image_channels

CONVOLUTIONS = {9: (2, 2, 3), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
"""Layers -> convolutions in each stage; linear layers follow. 11 to 16 are the paper's, 9 is li2018's (section 7)."""
HIDDEN_LINEAR = {9: 1, 11: 2, 13: 2, 16: 2}
"""Layers -> linear layers before the readout."""
DOUBLINGS = 3  # of the channels, stage by stage: 64, 128, 256, 512, 512


@checked
@dataclass(frozen=True)
class VGGSpec:
    """A VGG network: stages of 3 x 3 convolutions with 2 x 2 max pooling after each, then linear layers.

    Of 11, 13 and 16 layers, five stages and three linear layers. VGG-9 for small images (Li et al. 2018) has three
    stages, of 2, 2 and 3 convolutions, and two linear layers; its hidden one has as many units as the last stage has
    channels.

    Attributes:
        layers: 9, 11, 13 or 16 layers with weights, readout included.
        width: channels of the first stage (64 in the paper); each further stage doubles them, up to eight times.
        hidden: units of the linear layers before the readout (4096 in the paper). None takes 512, as for small images,
            and of VGG-9 four times ``width``.
        batch_norm: whether all hidden layers are batch-normalised; if not, they have biases as in the paper.
        init: as ``networks.initialise`` takes it.

    Raises:
        InputError: another number of layers, or a size below 1.

    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.VGGSpec(11, width=4, hidden=16), (3, 32, 32), 10, seed=0)
    >>> len(ns.measures.layer_names(network))
    10
    """

    layers: int = 16
    width: int = 64
    hidden: int | None = None
    batch_norm: bool = False
    init: str = "he"

    def __post_init__(self) -> None:
        if self.layers not in CONVOLUTIONS:
            raise InputError(f"network: VGG has {', '.join(map(str, CONVOLUTIONS))} layers, got {self.layers}")
        for what in ("width", "units"):
            if getattr(self, what) < 1:
                named = "hidden" if what == "units" else what
                raise InputError(f"network: {named} must be at least 1, got {getattr(self, what)}")

    @property
    def units(self) -> int:
        """Units of a linear layer before the readout."""
        if self.hidden is not None:
            return self.hidden
        return 4 * self.width if self.layers == 9 else 512

    @property
    def depth(self) -> int:
        """Hidden layers: all with weights but the readout."""
        return self.layers - 1

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> VGG:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = VGG(self, shape, classes)
        initialise(network, self.init, torch.Generator().manual_seed(seed))
        return network


class VGG(nn.Module):
    """The network that a ``VGGSpec`` describes; its ``layers`` are the convolutions and the hidden linear layers.

    A pooling that would leave no pixel of a small image is left out.

    Args:
        spec: description.
        shape: channels, height and width of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.VGGSpec(11, width=4, hidden=16), (3, 32, 32), 10, seed=0)
    >>> type(network).__name__, network(torch.zeros(2, 3, 32, 32)).shape
    ('VGG', torch.Size([2, 10]))
    """

    def __init__(self, spec: VGGSpec, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        inputs, (height, width) = image_channels(shape), shape[1:]
        layers: list[nn.Module] = []
        self.poolings: list[int] = []
        for stage, count in enumerate(CONVOLUTIONS[spec.layers]):
            channels = spec.width * 2 ** min(stage, DOUBLINGS)
            for _ in range(count):
                layers.append(ConvolutionalLayer(inputs, channels, batch_norm=spec.batch_norm))
                inputs = channels
            if min(height, width) > 1:
                self.poolings.append(len(layers))
                height, width = height // 2, width // 2
        self.convolutions = len(layers)
        units = inputs * height * width
        for _ in range(HIDDEN_LINEAR[spec.layers]):
            layers.append(LinearLayer(units, spec.units, spec.batch_norm))
            units = spec.units
        self.layers = nn.ModuleList(layers)
        self.readout = nn.Linear(units, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if number in self.poolings:
                x = nn.functional.max_pool2d(x, 2)
            if number == self.convolutions:
                x = x.flatten(1)
        return self.readout(x)

    def extra_repr(self) -> str:  # noqa: D102
        return f"poolings={self.poolings}"


class LinearLayer(nn.Module):
    """``relu(norm(linear(x)))``."""

    def __init__(self, inputs: int, units: int, batch_norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(units) if batch_norm else None

    def forward(self, x: Float[Tensor, "sample inputs"]) -> Float[Tensor, "sample units"]:
        """The layer's activation."""
        return torch.relu(normalise(self.norm, self.linear(x)))
