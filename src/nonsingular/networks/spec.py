"""Networks by name: a frozen description, and the module it describes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Generator, Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks import skips
from nonsingular.networks.fully_connected import FullyConnected
from nonsingular.networks.initialisation import initialise
from nonsingular.networks.shapes import check_dropout


class Architecture(Protocol):
    """A frozen description of a network, all but its random numbers: what ``build`` takes.

    >>> import nonsingular as ns
    >>> [spec.depth for spec in (ns.networks.named("plain"), ns.networks.resnet(20), ns.networks.VGGSpec(11))]
    [20, 19, 10]
    """

    @property
    def depth(self) -> int:
        """Number of hidden layers, as ``measures.layer_names`` counts them."""

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        """The module for inputs of ``shape`` (one sample's), with all that is random drawn from ``seed``."""


@checked
def build(spec: Architecture, inputs: int | tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """The network that ``spec`` describes, with weights and skip matrices drawn from ``seed``.

    Args:
        spec: depth, width, skips, initialisation.
        inputs: number of inputs, or the shape of one sample.
        classes: number of outputs.
        seed: two networks of equal spec and seed are equal to the bit.

    Raises:
        InputError: unknown skip, activation or initialisation, sizes out of range, or inputs of a shape that the
            network does not take.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.named("plain", depth=3, width=16), inputs=64, classes=10, seed=0)
    >>> network(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """
    return spec.build((inputs,) if isinstance(inputs, int) else inputs, classes, seed)


@checked
@dataclass(frozen=True)
class NetworkSpec:
    """A fully-connected network, all but its random numbers.

    Attributes:
        depth: hidden layers.
        width: units in each.
        skip: ``none``; ``identity``; ``orthogonal``; ``copies:N`` (N orthonormal vectors, copied);
            ``equalised:TAU`` (orhan2018 Note 6); ``covariance:TAU`` (its §2.7, ``skips.turned``); ``hyper:N``
            (identity, and ``copies:N`` from all earlier layers; without N a quarter of the width, as in its Note 2).
        activation: a name in ``networks.fully_connected.ACTIVATIONS``.
        init: as ``networks.initialise`` takes it.
        batch_norm: hidden layers, counted from 1, with batch normalisation.

    Raises:
        InputError: a size below 1.

    >>> import torch
    >>> import nonsingular as ns
    >>> spec = ns.networks.NetworkSpec(depth=3, width=16, skip="orthogonal", activation="relu")
    >>> spec.build((64,), 10, seed=0)(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """

    depth: int = 20
    width: int = 128
    skip: str = "none"
    activation: str = "relu"
    init: str = "glorot"
    batch_norm: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for what in ("depth", "width"):
            if getattr(self, what) < 1:
                raise InputError(f"network: {what} must be at least 1, got {getattr(self, what)}")

    @property
    def share(self) -> float:
        """Of activations that are dropped while training: none."""
        return 0.0

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> FullyConnected:
        """The network, as ``networks.build`` gives it; samples of any shape are flattened."""
        generator = torch.Generator().manual_seed(seed)
        # Skips draw from a generator of their own: networks which differ in skips alone start from equal weights.
        wiring = torch.Generator().manual_seed(seed ^ 0x5C1B)
        kind, _, vectors = self.skip.partition(":")
        hyper = kind == "hyper"
        network = FullyConnected(
            math.prod(shape),
            classes,
            self.depth,
            self.width,
            self.activation,
            [_skip("identity" if hyper else self.skip, self.width, wiring) for _ in range(self.depth - 1)],
            _earlier(self.depth, self.width, vectors, wiring) if hyper else None,
            self.batch_norm,
            self.share,
        )
        # The malicious start is against skips, which first layer and readout do not have, even where they are square.
        first = "glorot" if self.init == "malicious" else self.init
        # Replicas differ by their outgoing weights, He-normal ones of their own (blumenfeld2020 appendix E).
        last = "he" if self.init.startswith("replicated") else first
        for part, how in ((network.layers[:1], first), (network.layers[1:], self.init), (network.readout, last)):
            initialise(part, how, generator)
        return network


@checked
@dataclass(frozen=True)
class DropoutSpec(NetworkSpec):
    """A fully-connected network whose hidden activations are dropped while training.

    Attributes:
        dropout: share of them, in [0, 1).

    Raises:
        InputError: another share; a size below 1.

    >>> import nonsingular as ns
    >>> ns.networks.build(ns.networks.DropoutSpec(depth=2, width=8, dropout=0.5), 64, 10, seed=0).dropout
    0.5
    """

    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dropout(self.dropout)

    @property
    def share(self) -> float:
        """Of activations that are dropped."""
        return self.dropout


NAMED: dict[str, NetworkSpec] = {
    "plain": NetworkSpec(),
    "residual": NetworkSpec(skip="identity"),
    "hyper-residual": NetworkSpec(skip="hyper"),
    "orthogonal": NetworkSpec(skip="orthogonal"),
    "hyper-orthogonal": NetworkSpec(skip="hyper:128"),
    "malicious": NetworkSpec(skip="identity", init="malicious"),
}


@checked
def named(name: str, *, depth: int | None = None, width: int | None = None) -> NetworkSpec:
    """One of the named networks (``plain``, ``residual``, ...) at another depth or width.

    Raises:
        InputError: unknown name, or a size below 1.

    >>> import nonsingular as ns
    >>> ns.networks.named("residual", depth=30).skip
    'identity'
    """
    if name not in NAMED:
        raise InputError(f"unknown network {name!r}; there are {', '.join(NAMED)}")
    spec = NAMED[name]
    wide = spec.width if width is None else width
    skip = spec.skip.replace(f":{spec.width}", f":{wide}")  # as many skip vectors as the layers are wide
    return replace(spec, depth=spec.depth if depth is None else depth, width=wide, skip=skip)


def _earlier(depth: int, width: int, vectors: str, generator: Generator) -> Tensor | None:
    if depth < 3:
        return None
    if vectors and not vectors.isdecimal():
        raise InputError(f"hyper:N takes a number of vectors, got {vectors!r}")
    count = int(vectors or max(width // 4, 1))
    return torch.stack([skips.copied(width, count, generator) for _ in range(depth - 2)])


def _skip(how: str, width: int, generator: Generator) -> Tensor | str | None:
    name, _, argument = how.partition(":")
    try:
        match name, argument:
            case "none", "":
                return None
            case "identity", "":
                return "identity"
            case "orthogonal", "":
                return skips.orthogonal(width, generator)
            case "copies", _:
                return skips.copied(width, int(argument), generator)
            case "equalised", _:
                return skips.equalised(width, float(argument), generator)
            case "covariance", _:
                return skips.turned(width, float(argument), generator)
    except InputError:
        raise
    except ValueError:
        pass  # an argument that is no number: the message below says what would be right
    known = "none, identity, hyper, hyper:N, orthogonal, copies:N, equalised:TAU, covariance:TAU"
    raise InputError(f"unknown skip {how!r}; there are {known}")
