"""PlainNet, ResNet, ResNeXt and Wide-ResNet for small images: one family, with a switch that removes the skips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import ORDERS, ConvolutionalLayer, normalise, pooled
from nonsingular.networks.initialisation import initialise
from nonsingular.networks.shapes import image_channels

LAYERS_A_BLOCK = {"basic": 2, "bottleneck": 3}
SHORTCUTS = ("padded", "projected")
STAGES = 3
EXPANSION = 4  # of a bottleneck block: its output over its inner channels


@checked
@dataclass(frozen=True)
class ResidualSpec:
    """A residual network for small images, or the plain network that is left when its skips are taken away.

    Three stages of equally many blocks; the image halves and the channels double at the start of the second and third
    (He et al. 2016a §4.2). ``plainnet``, ``resnet``, ``resnext`` and ``wide_resnet`` give the usual ones.

    Attributes:
        layers: layers with weights as papers count them, readout included: 6n + 2 for basic blocks (20, 56, 110),
            9n + 2 for bottleneck blocks (29, 164). A Wide-ResNet's 6n + 4 counts shortcuts too: 28 there is 26 here.
        block: ``basic`` (two 3 x 3 convolutions) or ``bottleneck`` (1 x 1, 3 x 3, 1 x 1; four times as many
            channels out as within).
        width: channels of the first layer and, times ``widening``, of the first stage.
        widening: the k of Wide-ResNets (Zagoruyko and Komodakis 2016).
        cardinality: groups of a bottleneck's 3 x 3 convolution (Xie et al. 2017).
        group_width: channels of one group in the first stage; None divides the stage's inner channels.
        skips: whether there are skip connections. Without them nothing else changes: the same layers start from the
            same weights (and projections, which are part of the skips, go).
        order: ``post`` (He et al. 2016a) or ``pre``-activation (He et al. 2016b).
        shortcut: what a skip does where sizes change: ``padded`` (every second pixel, zeros for the new channels; no
            parameters; option A of He et al. 2016a) or ``projected`` (a 1 x 1 convolution with the block's stride,
            option B; in the order ``post`` batch-normalised, in ``pre`` fed by the activated input, as in He et al.
            2016b). Without skips it changes nothing.
        batch_norm: whether layers are batch-normalised; if not, they have biases.
        init: as ``networks.initialise`` takes it.

    Raises:
        InputError: a number of layers that blocks do not give, unknown words, or sizes out of range.

    >>> import nonsingular as ns
    >>> spec = ns.networks.ResidualSpec(layers=20, width=8, skips=False)  # the plain network with the same weights
    >>> sum(p.numel() for p in ns.networks.build(spec, (3, 32, 32), 10, seed=0).parameters())
    68050
    """

    layers: int = 20
    block: str = "basic"
    width: int = 16
    widening: int = 1
    cardinality: int = 1
    group_width: int | None = None
    skips: bool = True
    order: str = "post"
    shortcut: str = "padded"
    batch_norm: bool = True
    init: str = "he"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("block", self.block, tuple(LAYERS_A_BLOCK)),
            ("order", self.order, ORDERS),
            ("shortcut", self.shortcut, SHORTCUTS),
        ):
            if value not in known:
                raise InputError(f"network: unknown {what} {value!r}; there are {', '.join(known)}")
        for what in ("width", "widening", "cardinality"):
            if getattr(self, what) < 1:
                raise InputError(f"network: {what} must be at least 1, got {getattr(self, what)}")
        if self.group_width is not None and self.group_width < 1:
            raise InputError(f"network: group_width must be at least 1, got {self.group_width}")
        step = STAGES * LAYERS_A_BLOCK[self.block]
        if self.layers < step + 2 or (self.layers - 2) % step:
            near = max(step * round((self.layers - 2) / step) + 2, step + 2)
            raise InputError(
                f"network: {self.block} blocks make {step}n + 2 layers, got {self.layers}; the nearest is {near}"
            )
        if self.cardinality > 1 and self.block != "bottleneck":
            raise InputError("network: cardinality belongs to bottleneck blocks; set block to bottleneck")
        if self.inner(0) % self.cardinality:
            raise InputError(
                f"network: cardinality {self.cardinality} must divide the {self.inner(0)} inner channels; "
                "set group_width to choose them"
            )

    @property
    def depth(self) -> int:
        """Hidden layers: all with weights but the readout."""
        return self.layers - 1

    def inner(self, stage: int) -> int:
        """Channels within a block of a stage, counted from 0."""
        first = self.width * self.widening if self.group_width is None else self.cardinality * self.group_width
        return first * 2**stage

    def outer(self, stage: int) -> int:
        """Channels that a block of a stage puts out."""
        return self.width * self.widening * (EXPANSION if self.block == "bottleneck" else 1) * 2**stage

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> Residual:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = Residual(self, image_channels(shape), classes)
        generator = torch.Generator().manual_seed(seed)
        for part in (network.layers, network.readout):
            initialise(part, self.init, generator)
        # Shortcuts draw from a generator of their own: networks that differ in skips alone start from equal weights.
        initialise(network.shortcuts, self.init, torch.Generator().manual_seed(seed ^ 0x5C1B))
        return network


class Residual(nn.Module):
    """The network that a ``ResidualSpec`` describes.

    Its ``layers`` are all convolutions but those of the shortcuts, in order. The activation of a block's last layer has
    what the skip brings added in. ``entries`` are what a block does to its input before its layers and its skip take
    it: nothing, but where a pre-activation block's skip is a projection. There both take the same activated input
    (He et al. 2016b, figure 4e and appendix), whose normalisation is then the entry's and not the first layer's.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.resnet(8, width=4), (1, 8, 8), 10, seed=0)
    >>> type(network).__name__, network(torch.zeros(2, 1, 8, 8)).shape
    ('Residual', torch.Size([2, 10]))
    """

    def __init__(self, spec: ResidualSpec, channels: int, classes: int) -> None:
        super().__init__()
        self.block = LAYERS_A_BLOCK[spec.block]
        self.skips = spec.skips
        common = {"batch_norm": spec.batch_norm, "order": spec.order}
        stem = ConvolutionalLayer(channels, spec.width, **common, rectified=spec.order == "post")  # type: ignore[arg-type]
        layers, shortcuts = [stem], []
        width = spec.width
        entries: list[nn.Module] = []
        for place in range((spec.layers - 2) // self.block):
            stage, number = divmod(place, (spec.layers - 2) // self.block // STAGES)
            inner, outer, stride = spec.inner(stage), spec.outer(stage), 2 if stage and number == 0 else 1
            if spec.block == "basic":
                sizes = [(width, inner, 3, stride, 1), (inner, outer, 3, 1, 1)]
            else:
                sizes = [(width, inner, 1, 1, 1), (inner, inner, 3, stride, spec.cardinality), (inner, outer, 1, 1, 1)]
            shortcut = _shortcut(spec, width, outer, stride)
            shared = spec.order == "pre" and isinstance(shortcut, Projected)
            entries.append(Activation(width, spec.batch_norm) if shared else nn.Identity())
            first, *others = sizes
            layers.append(ConvolutionalLayer(*first, **common, rectified=not shared))  # type: ignore[arg-type]
            layers += [ConvolutionalLayer(*size, **common) for size in others]  # type: ignore[arg-type]
            shortcuts.append(shortcut if spec.skips else nn.Identity())
            width = outer
        self.layers, self.entries, self.shortcuts = (nn.ModuleList(m) for m in (layers, entries, shortcuts))
        self.norm = nn.BatchNorm2d(width) if spec.order == "pre" and spec.batch_norm else None
        self.order = spec.order
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        x = self.layers[0](x)
        for (*first, last), entry, shortcut in zip(self.blocks(), self.entries, self.shortcuts, strict=True):
            x = entry(x)
            skip = shortcut(x) if self.skips else None
            for layer in first:
                x = layer(x)
            x = last(x, skip)
        return self.classify(x)

    def blocks(self) -> list[list[nn.Module]]:
        """The layers of each block; the last one of a block takes what the skip brings as its second argument."""
        layers = list(self.layers)[1:]
        return [layers[i : i + self.block] for i in range(0, len(layers), self.block)]

    def classify(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits from the last block's activation."""
        if self.order == "pre":
            x = F.relu(normalise(self.norm, x))
        return self.readout(pooled(x))

    def extra_repr(self) -> str:  # noqa: D102
        return f"block={self.block}, skips={self.skips}, order={self.order}"


class Activation(nn.Module):
    """A pre-activation that several take: ``relu(norm(x))``."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels) if batch_norm else None

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample channel height width"]:
        """Of a block's input."""
        return F.relu(normalise(self.norm, x))


class Padded(nn.Module):
    """A skip without parameters: every ``stride``-th pixel, and zeros for the channels that are new."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = channels - inputs, stride

    def forward(self, x: Float[Tensor, "sample inputs height width"]) -> Float[Tensor, "sample channels row column"]:
        """The resized copy."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))

    def extra_repr(self) -> str:  # noqa: D102
        return f"more={self.more}, stride={self.stride}"


def _shortcut(spec: ResidualSpec, inputs: int, channels: int, stride: int) -> nn.Module:
    if inputs == channels and stride == 1:
        return nn.Identity()
    if spec.shortcut == "padded" and channels >= inputs:
        return Padded(inputs, channels, stride)
    # In the order ``pre`` what is normalised is its input, the block's entry.
    return Projected(inputs, channels, stride, spec.batch_norm, normalised=spec.batch_norm and spec.order == "post")


class Projected(nn.Module):
    """A skip by a 1 x 1 convolution of every ``stride``-th pixel."""

    def __init__(self, inputs: int, channels: int, stride: int, batch_norm: bool, normalised: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 1, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(channels) if normalised else None
        self.stride = stride

    def forward(self, x: Float[Tensor, "sample inputs height width"]) -> Float[Tensor, "sample channels row column"]:
        """The projection."""
        # Pixels are picked first, and not by the convolution's own stride: torch 2.13 on a CPU corrupts memory in the
        # gradient of a strided 1 x 1 convolution of fewer than eight channels that lie channels-last.
        return normalise(self.norm, self.conv(x[:, :, :: self.stride, :: self.stride]))

    def extra_repr(self) -> str:  # noqa: D102
        return f"stride={self.stride}"


@checked
def resnet(layers: int, **options: object) -> ResidualSpec:
    """A ResNet with skips that have no parameters; ``options`` are further fields of ``ResidualSpec``.

    >>> import nonsingular as ns
    >>> ns.networks.resnet(56).skips, ns.networks.resnet(110, width=8).width
    (True, 8)
    """
    return ResidualSpec(layers, **options)  # type: ignore[arg-type]


@checked
def plainnet(layers: int, **options: object) -> ResidualSpec:
    """The ResNet of equal options without its skips.

    >>> import nonsingular as ns
    >>> ns.networks.plainnet(56).skips
    False
    """
    return ResidualSpec(layers, skips=False, **options)  # type: ignore[arg-type]


@checked
def resnext(layers: int = 29, cardinality: int = 8, group_width: int = 64, **options: object) -> ResidualSpec:
    """ResNeXt for small images, by default 29 layers, 8 x 64d (Xie et al. 2017 §5.3).

    >>> import nonsingular as ns
    >>> ns.networks.resnext().cardinality
    8
    """
    fields = {"width": 64, "shortcut": "projected", **options}
    return ResidualSpec(layers, "bottleneck", cardinality=cardinality, group_width=group_width, **fields)  # type: ignore[arg-type]


@checked
def wide_resnet(layers: int = 28, k: int = 10, **options: object) -> ResidualSpec:
    """A Wide-ResNet, by default WRN-28-10; ``layers`` counts 6n + 4 as its paper does (Zagoruyko, Komodakis 2016).

    >>> import nonsingular as ns
    >>> ns.networks.wide_resnet(16, k=4).widening
    4
    """
    fields = {"order": "pre", "shortcut": "projected", **options}
    return ResidualSpec(layers - 2, "basic", widening=k, **fields)  # type: ignore[arg-type]
