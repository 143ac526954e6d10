"""Initialisations of linear and convolutional layers, each a function of the layer and a generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, nn

from nonsingular.errors import InputError

WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def glorot(layer: WeightLayer, generator: Generator | None = None) -> None:
    """Normal weights of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010); biases 0."""
    nn.init.xavier_normal_(layer.weight, generator=generator)
    _zero_bias(layer)


def he(layer: WeightLayer, generator: Generator | None = None) -> None:
    """Normal weights of variance 2 / fan_in (He et al. 2015); biases 0."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    _zero_bias(layer)


def malicious(layer: WeightLayer, generator: Generator | None = None) -> None:
    """Glorot-normal minus the identity where the weight is square: cancels an identity skip (orhan2018 §2.5)."""
    glorot(layer, generator)
    rows, columns = layer.weight.shape[:2]
    if layer.weight.ndim == 2 and rows == columns:
        with torch.no_grad():
            layer.weight.diagonal().sub_(1)


def replicated(
    layer: WeightLayer, generator: Generator | None = None, *, features: int = 1, noise: float = 0.0
) -> None:
    """Glorot-normal rows of which only ``features`` differ, copied to all units (blumenfeld2020 §2).

    Args:
        layer: what is initialised.
        generator: source of randomness.
        features: unique incoming weight vectors; 1 makes all units identical.
        noise: standard deviation of what is added to every weight, in units of the weights' own.
    """
    glorot(layer, generator)
    with torch.no_grad():
        spread = layer.weight.std()
        units = layer.weight.shape[0]
        layer.weight.copy_(layer.weight[torch.arange(units) % min(features, units)])
        if noise:
            layer.weight.add_(torch.randn(layer.weight.shape, generator=generator), alpha=float(noise * spread))


def _zero_bias(layer: WeightLayer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


INITIALISATIONS: dict[str, Callable[..., None]] = {
    "glorot": glorot,
    "he": he,
    "malicious": malicious,
    "replicated": replicated,
}


def initialise(model: nn.Module, how: str, generator: Generator | None = None) -> None:
    """Initialise every linear and convolutional layer of a model in place, in the order of ``model.modules()``.

    Args:
        model: any module.
        how: ``glorot``, ``he``, ``malicious``, or ``replicated:FEATURES[:NOISE]``.
        generator: source of randomness.

    Raises:
        InputError: unknown name or arguments that are not numbers.
    """
    name, *arguments = how.split(":")
    if name not in INITIALISATIONS or len(arguments) > (2 if name == "replicated" else 0):
        raise InputError(
            f"unknown initialisation {how!r}; there are {', '.join(INITIALISATIONS)}, "
            "and replicated takes arguments as in replicated:FEATURES:NOISE"
        )
    options: dict[str, float] = {}
    try:
        if arguments:
            options["features"] = int(arguments[0])
        if arguments[1:]:
            options["noise"] = float(arguments[1])
    except ValueError:
        raise InputError(f"{how!r}: write replicated:FEATURES[:NOISE], two numbers") from None
    if options.get("features", 1) < 1 or not 0 <= options.get("noise", 0) < math.inf:
        raise InputError(f"{how!r}: at least 1 feature and finite noise of at least 0")
    for module in model.modules():
        if isinstance(module, WeightLayer):
            INITIALISATIONS[name](module, generator, **options)
