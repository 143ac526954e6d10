"""Initialisations of linear and convolutional layers, each a function of the layer and a generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.skips import orthogonal

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
    """Glorot-normal minus the identity where the weight is square (orhan2018 §2.5).

    Meant against an identity skip: f((W - I) x) + x is W x where f passes everything on. Of a rectifier it is the
    larger of W x and x, unit by unit.
    """
    glorot(layer, generator)
    rows, columns = layer.weight.shape[:2]
    if layer.weight.ndim == 2 and rows == columns:
        with torch.no_grad():
            layer.weight.diagonal().sub_(1)


def replicated(
    layer: WeightLayer, generator: Generator | None = None, *, features: int = 1, noise: float = 0.0
) -> None:
    """He-normal rows of which only ``features`` differ, copied to all units (blumenfeld2020 §2.1, appendix E).

    Args:
        layer: what is initialised; not the readout, whose weights the paper leaves independent.
        generator: source of randomness.
        features: unique incoming weight vectors; 1 makes all units identical.
        noise: standard deviation of what is added to every weight, in units of the weights' own.
    """
    he(layer, generator)
    with torch.no_grad():
        spread = layer.weight.std()
        units = layer.weight.shape[0]
        layer.weight.copy_(layer.weight[torch.arange(units) % min(features, units)])
        if noise:
            layer.weight.add_(torch.randn(layer.weight.shape, generator=generator), alpha=float(noise * spread))


def zero(layer: WeightLayer, generator: Generator | None = None) -> None:
    """All weights and biases 0: the "0" start of what a skip bypasses (blumenfeld2020 appendix A)."""
    nn.init.zeros_(layer.weight)
    _zero_bias(layer)


def average(layer: WeightLayer, generator: Generator | None = None, *, gain: float = 1.0) -> None:
    """Every output is ``gain`` times the mean of all inputs: the "1" start (blumenfeld2020 §5.1, appendix G).

    Of a convolution only the weights at the kernel's centre differ from 0, so that pixels are not mixed. Biases 0.
    """
    _set_centre(layer, torch.full(layer.weight.shape[:2], gain / layer.weight.shape[1]))


def identity(layer: WeightLayer, generator: Generator | None = None, *, gain: float = 1.0) -> None:
    """Output ``i`` is ``gain`` times input ``i mod inputs``: the "I" start (blumenfeld2020 §5.1, appendix G).

    Further outputs are copies, so that widening keeps features apart that are apart. Biases 0.

    Raises:
        InputError: fewer outputs than inputs.
    """
    outputs, inputs = layer.weight.shape[:2]
    if outputs < inputs:
        raise InputError(f"identity: at least as many outputs as inputs, got {outputs} of {inputs}")
    _set_centre(layer, gain * torch.eye(inputs).repeat(-(-outputs // inputs), 1)[:outputs])


def delta_orthogonal(layer: WeightLayer, generator: Generator | None = None, *, gain: float = 1.0) -> None:
    """A random matrix with orthonormal rows or columns at the kernel's centre, 0 elsewhere (Xiao et al. 2018).

    With at least as many outputs as inputs the norm of a signal is multiplied by ``gain``. Biases 0.
    """
    outputs, inputs = layer.weight.shape[:2]
    square = orthogonal(max(outputs, inputs), generator)
    _set_centre(layer, gain * square[:outputs, :inputs])


def isometric(layer: WeightLayer, generator: Generator | None = None) -> None:
    r"""Delta-orthogonal blocks :math:`[[O, -O], [-O, O]]`, isometric through rectifiers (blumenfeld2020 appendix B).

    Pre-activations of the form :math:`(u, -u)` become :math:`(O u, -O u)`, since
    :math:`O\,\mathrm{relu}(u) - O\,\mathrm{relu}(-u) = O u`: norms and angles stay as they are at any width. Biases 0.

    Raises:
        InputError: an odd number of inputs or outputs, or fewer outputs than inputs.
    """
    outputs, inputs = layer.weight.shape[:2]
    if outputs % 2 or inputs % 2 or outputs < inputs:
        raise InputError(f"isometric: even numbers, outputs at least inputs; got {outputs} of {inputs}")
    block = orthogonal(outputs // 2, generator)[:, : inputs // 2]
    _set_centre(layer, torch.cat([torch.cat([block, -block], 1), torch.cat([-block, block], 1)]))


def _set_centre(layer: WeightLayer, matrix: Float[Tensor, "output input"]) -> None:
    """The kernel that applies a matrix to every pixel and mixes none; a linear layer's weights are the matrix."""
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        kernels = layer.weight.view(*matrix.shape, -1)
        kernels[..., kernels.shape[-1] // 2] = matrix.to(kernels)  # of odd sizes the centre is the middle place
    _zero_bias(layer)


def _zero_bias(layer: WeightLayer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


INITIALISATIONS: dict[str, Callable[..., None]] = {
    "glorot": glorot,
    "he": he,
    "malicious": malicious,
    "replicated": replicated,
    "zero": zero,
    "average": average,
    "identity": identity,
    "delta-orthogonal": delta_orthogonal,
    "isometric": isometric,
}


@checked
def initialise(model: nn.Module, how: str, generator: Generator | None = None) -> None:
    """Initialise every linear and convolutional layer of a model in place, in the order of ``model.modules()``.

    Args:
        model: any module.
        how: ``replicated:FEATURES[:NOISE]``, or another name in ``INITIALISATIONS``.
        generator: source of randomness.

    Raises:
        InputError: unknown name or arguments that are not numbers.

    >>> import torch
    >>> import nonsingular as ns
    >>> layer = torch.nn.Linear(1000, 500)
    >>> ns.networks.initialise(layer, "he", torch.Generator().manual_seed(0))
    >>> round(float(layer.weight.detach().std() * (1000 / 2) ** 0.5), 1)  # deviation, in units of sqrt(2 / inputs)
    1.0
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
