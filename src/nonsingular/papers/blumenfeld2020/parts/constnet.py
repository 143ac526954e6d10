"""ConstNet with everything that may break its symmetry: the study of table 1 and of figures 3, 4 and 7.

The items share it: the first that is run trains, the others take its results.
"""

from __future__ import annotations

from dataclasses import replace

from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.networks import ConstNetSpec, wide_resnet
from nonsingular.papers.blumenfeld2020.parts import protocol
from nonsingular.papers.blumenfeld2020.parts.protocol import NOISE, WIDENING, WIDTH, quiet
from nonsingular.training import Breaker, Member

SIZES = Scales(runs=(2, 3, 5, 5), epochs=(2, 60, 20, 200), width=WIDTH, widening=WIDENING)
DEPTH = 13
BREAKERS = ("computation-noise", "gradient-noise", "parameter-noise", "dropout", "dropout-all")
PARAMETER_NOISE = 1e-3

BOTH = ("computation-noise", "constnet-he")
"""The two starts whose correlations are compared."""


def networks(width: int, widening: int, scale: str = "paper") -> tuple[Member, ...]:
    """ConstNet with every breaker and with none, from a He start, and Wide-ResNet-16."""
    zero, none = ConstNetSpec(DEPTH, width, widening), quiet(scale)
    kernels = () if none == Breaker("library") else (Member("library", zero),)
    return (
        Member("wide-resnet", wide_resnet(16, widening, width=width)),
        Member("constnet-he", replace(zero, start="he")),
        Member("computation-noise", zero, breaker=NOISE),
        Member("gradient-noise", zero, breaker=replace(none, gradient_noise=1.0)),
        Member("parameter-noise", zero, breaker=replace(none, parameter_noise=PARAMETER_NOISE)),
        Member("dropout", replace(zero, dropout=0.01), breaker=none),
        Member("dropout-all", replace(zero, dropout=0.01, dropout_on="all"), breaker=none),
        *kernels,
        Member("deterministic", zero, breaker=none),
    )


def study(size: Size) -> Spec:
    """Accuracies and weight correlations after every epoch."""
    return protocol.study(size, networks(size.width, size.widening, size.scale))


def stages() -> dict[str, tuple[int, ...]]:
    """Layers by stage, counted from 1: the input layer has no skip and is left out."""
    size = (DEPTH - 1) // 3
    return {f"stage {s + 1}": tuple(range(2 + s * size, 2 + (s + 1) * size)) for s in range(3)}
