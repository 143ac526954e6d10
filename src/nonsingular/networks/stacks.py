"""Stacks of equally wide convolutions in which signal propagation is studied (blumenfeld2020 §3, appendix B)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import pooled
from nonsingular.networks.initialisation import average, delta_orthogonal, glorot, he, identity, isometric, zero
from nonsingular.networks.shapes import image_channels

KINDS = ("constnet", "leakynet-1", "leakynet-I", "he", "delta-orthogonal", "isometric", "fixup")


@checked
@dataclass(frozen=True)
class StackSpec:
    """Equally wide layers at one image size, each started in one of the ways that are compared, and a random readout.

    Attributes:
        depth: hidden layers, the input layer included; odd for the LeakyNets, whose layers come in pairs.
        width: channels; even for ``isometric``.
        kind: ``constnet``: x + conv(relu(x)), conv 0; ``leakynet-1`` and ``leakynet-I``: leaky rectifiers and
            convolutions that cancel in pairs; ``he``, ``delta-orthogonal`` and ``isometric``: conv(relu(x)), by the
            initialisation of that name; ``fixup``: x + conv2(relu(conv1(relu(x)))) with conv2 0 and conv1 He-normal
            divided by the root of the number of blocks (Zhang et al. 2019).

    Raises:
        InputError: unknown kind, a depth or width that it does not have.

    >>> import nonsingular as ns
    >>> ns.networks.StackSpec(depth=5, width=4).depth
    5
    """

    depth: int = 13
    width: int = 16
    kind: str = "constnet"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"network: unknown kind {self.kind!r}; there are {', '.join(KINDS)}")
        if self.depth < 2 or self.width < 1:
            raise InputError(f"network: at least 2 layers of 1 channel, got {self.depth} of {self.width}")
        if self.kind.startswith("leakynet") and self.depth % 2 == 0:
            raise InputError(f"network: a LeakyNet's layers come in pairs after the first; got depth {self.depth}")
        if self.kind == "isometric" and self.width % 2:
            raise InputError(f"network: isometric needs an even width, got {self.width}")

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> Stack:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width; or fewer channels than ``isometric`` needs.
        """
        generator = torch.Generator().manual_seed(seed)
        network = Stack(self, image_channels(shape), classes)
        first, *others = network.layers
        if self.kind in ("constnet", "leakynet-1", "leakynet-I"):
            average(first.last)
        elif self.kind == "isometric":
            isometric(first.last, generator)
        elif self.kind == "fixup":
            he(first.last, generator)
        else:
            delta_orthogonal(first.last, generator)
        for number, layer in enumerate(others):
            _start(layer, self, number, generator)
        glorot(network.readout, generator)
        return network


SLOPE = 0.01  # of the LeakyNets' rectifiers


def _start(layer: StackLayer, spec: StackSpec, number: int, generator: torch.Generator) -> None:
    """Set the weights of a layer after the input layer, counted from 0."""
    gain = -1.0 / SLOPE if number % 2 else -1.0
    if spec.kind in ("constnet", "fixup"):
        zero(layer.last)
    elif spec.kind == "leakynet-1":
        average(layer.last, gain=gain)
    elif spec.kind == "leakynet-I":
        identity(layer.last, gain=gain)
    else:
        {"he": he, "delta-orthogonal": delta_orthogonal, "isometric": isometric}[spec.kind](layer.last, generator)
    if layer.inner is not None:
        he(layer.inner, generator)
        with torch.no_grad():
            layer.inner.weight.div_((spec.depth - 1) ** 0.5)


class StackLayer(nn.Module):
    """``[x +] last([relu(inner(]relu(x)[))])``; of a LeakyNet the rectifier comes after the convolution.

    The output is what depth-independence is claimed for: features, and of ``isometric`` the pre-activations.
    """

    def __init__(self, inputs: int, channels: int, kind: str, first: bool) -> None:
        super().__init__()
        # Periodic boundaries, as appendix B assumes.
        conv = {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "bias": False}
        self.last = nn.Conv2d(inputs, channels, **conv)  # type: ignore[arg-type]
        self.inner = nn.Conv2d(channels, channels, **conv) if kind == "fixup" and not first else None  # type: ignore[arg-type]
        self.kind, self.first = kind, first

    def forward(self, x: Float[Tensor, "sample inputs height width"]) -> Float[Tensor, "sample channels height width"]:
        """The layer's output."""
        if self.first:
            return self.last(x)
        if self.kind.startswith("leakynet"):
            return F.leaky_relu(self.last(x), SLOPE)
        y = F.relu(x)
        if self.inner is not None:
            y = F.relu(self.inner(y))
        return self.last(y) + x if self.kind in ("constnet", "fixup") else self.last(y)

    def extra_repr(self) -> str:  # noqa: D102
        return f"kind={self.kind}, first={self.first}"


class Stack(nn.Module):
    """The network that a ``StackSpec`` describes.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.StackSpec(depth=5, width=4), (3, 8, 8), 10, seed=0)
    >>> type(network).__name__, len(network.layers)
    ('Stack', 5)
    """

    def __init__(self, spec: StackSpec, channels: int, classes: int) -> None:
        super().__init__()
        self.augmented = spec.kind == "isometric"  # the input u is taken as (u, -u)
        inputs = 2 * channels if self.augmented else channels
        self.layers: Iterable[StackLayer] = nn.ModuleList(  # type: ignore[assignment]
            StackLayer(spec.width if number else inputs, spec.width, spec.kind, first=number == 0)
            for number in range(spec.depth)
        )
        self.readout = nn.Linear(spec.width, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        if self.augmented:
            x = F.relu(torch.cat([x, -x], 1))
        for layer in self.layers:
            x = layer(x)
        return self.readout(pooled(x))
