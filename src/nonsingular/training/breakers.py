"""What breaks the symmetry between features that start alike (blumenfeld2020 §4, appendix I)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.training.arithmetic import OrderFree, RandomOrder

ARITHMETICS = ("library", "order-free", "random-order", "hardware")


@checked
@dataclass(frozen=True)
class Breaker:
    """Sources of small differences between features, one network's; dropout, the other one, is part of a network.

    Attributes:
        arithmetic: ``library``: whatever kernels PyTorch takes (on a GPU their non-determinism, too);
            ``order-free``: none of the differences that the order of additions makes; ``random-order``: weight
            gradients added up in random order; ``hardware``: the noise of the computation that the device has or that
            stands for it: a GPU's own, the library's, and on a CPU, which repeats itself, ``random-order``.
        gradient_noise: every weight gradient is multiplied by 1 + this times a normal number times the machine epsilon
            of the training's precision. 1 is noise of the size of rounding.
        parameter_noise: at the start every weight of a layer gets a normal number of this standard deviation, in units
            of one over the root of the layer's fan-in.

    Raises:
        InputError: unknown arithmetic or negative noise.

    >>> import nonsingular as ns
    >>> ns.training.Breaker("order-free", gradient_noise=1.0).arithmetic
    'order-free'
    """

    arithmetic: str = "library"
    gradient_noise: float = 0.0
    parameter_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.arithmetic not in ARITHMETICS:
            raise InputError(f"unknown arithmetic {self.arithmetic!r}; there are {', '.join(ARITHMETICS)}")
        for what in ("gradient_noise", "parameter_noise"):
            if not 0 <= getattr(self, what) < float("inf"):
                raise InputError(f"breaker: {what} must be finite and at least 0, got {getattr(self, what)}")

    def on(self, device: torch.device) -> Breaker:
        """The breaker that this one is on a device: ``hardware`` resolved, all else as it is."""
        if self.arithmetic != "hardware":
            return self
        return replace(self, arithmetic="library" if device.type == "cuda" else "random-order")

    def mode(self) -> AbstractContextManager[object]:
        """The context in which forward and backward passes are computed, on a CPU if ``hardware`` is not resolved."""
        match self.on(torch.device("cpu")).arithmetic:
            case "order-free":
                return _order_free()
            case "random-order":
                return RandomOrder()
        return contextlib.nullcontext()

    @torch.no_grad()
    def started(self, network: nn.Module, seed: int) -> nn.Module:
        """The network with its parameter noise, drawn from ``seed``; a copy if there is any."""
        if not self.parameter_noise:
            return network
        network = copy.deepcopy(network)
        generator = torch.Generator().manual_seed(seed ^ 0x0B8E)
        for weight in (p for p in network.parameters() if p.ndim >= 2):
            noise = torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5
            weight.add_(noise.to(weight), alpha=self.parameter_noise)
        return network

    def perturb(self, gradient: Tensor, precision: torch.dtype, generator: Generator) -> Tensor:
        """A gradient with its noise; ``generator`` lives on the CPU, so that every device draws the same."""
        if not self.gradient_noise:
            return gradient
        noise = torch.randn(gradient.shape, generator=generator).to(gradient)
        return gradient * (1 + self.gradient_noise * torch.finfo(precision).eps * noise)


@contextlib.contextmanager
def _order_free() -> Iterator[None]:
    # Without cuDNN a GPU's batch normalisation takes the operations that OrderFree replaces, not cuDNN's own.
    with torch.backends.cudnn.flags(enabled=False), OrderFree():
        yield
