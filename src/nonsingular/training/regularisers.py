"""Bias regularisation: an alternative way to break the singularities (orhan2018 §2.6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError


@checked
@dataclass(frozen=True)
class BiasPenalty:
    """``strength`` times the squared distance of the hidden biases from targets drawn from N(mean, deviation).

    Mean and deviation 0 is plain L2 regularisation of the biases, which breaks no symmetry (BiasL2Reg).

    >>> import nonsingular as ns
    >>> penalty = ns.training.BiasPenalty(mean=0.51, deviation=0.96, strength=1e-3)
    >>> ns.training.Member("bias-regularised", ns.networks.named("plain", depth=30), penalty=penalty).penalty.mean
    0.51
    """

    mean: float = 0.0
    deviation: float = 0.0
    strength: float = 0.0

    def __post_init__(self) -> None:
        if self.deviation < 0 or self.strength < 0:
            raise InputError(f"bias penalty: deviation and strength must be at least 0, got {self}")

    def targets(self, network: nn.Module, seed: int) -> dict[str, Float[Tensor, " unit"]]:
        """One target a hidden unit: bias parameter name -> target values, drawn from ``seed``.

        The bias of a batch-normalised layer is that of its normalisation.
        """
        generator = torch.Generator().manual_seed(seed ^ 0xB1A5)
        return {
            name: self.mean + self.deviation * torch.randn(p.shape, generator=generator)
            for name, p in network.named_parameters()
            if name.startswith("layers.") and name.endswith(".bias")
        }


def penalty(
    parameters: dict[str, Float[Tensor, "run unit"]],
    targets: dict[str, Float[Tensor, "run unit"]],
    strength: Float[Tensor, " run"],
) -> Float[Tensor, " run"]:
    """The penalty of each run of a population."""
    distance = sum((parameters[name] - target).square().sum(-1) for name, target in targets.items())
    return strength * distance
