"""Signals and gradients through a random network of infinite width, with or without a skip.

    h_l = r h_(l-1) + W_l phi(h_(l-1)) + b_l,    W ~ N(0, sigma_w^2 / width),   b ~ N(0, sigma_b^2),   h_0 given.

At infinite width the h_l of two inputs are jointly Gaussian, so their lengths q and their correlation c are all that
there is to know (Poole et al. 2016; Schoenholz et al. 2017; with skips Yang & Schoenholz 2017; section 3 of
blumenfeld2020 builds on it). W and b are independent of what came before, so a skip's part adds to the layer's own:

    q'  = r^2 q + sigma_w^2 E[phi(u)^2] + sigma_b^2,
    q'c' = r^2 q c + sigma_w^2 E[phi(u) phi(v)] + sigma_b^2,      u, v ~ N(0, q) of correlation c,

and the squared gradient by h_(l-1) is that by h_l times chi = r^2 + sigma_w^2 E[phi'(u)^2] (weights of the way back
taken as independent of those of the way forth). r = 0 is the plain network, r = 1 the residual one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError

Array = np.ndarray


def _erf(q: Array, k: Array) -> tuple[Array, Array]:
    """phi(t) = erf(t / sqrt 2); for k = q both are those of one input (Williams 1997)."""
    return 2 / np.pi * np.arcsin(k / (1 + q)), 2 / np.pi / np.sqrt((1 + q) ** 2 - k**2)


def _relu(q: Array, k: Array) -> tuple[Array, Array]:
    """phi(t) = max(t, 0) (Cho & Saul 2009, degrees 1 and 0)."""
    angle = np.arccos(np.clip(k / q, -1, 1))
    return q / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)), (np.pi - angle) / (2 * np.pi)


AVERAGES: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {"erf": _erf, "relu": _relu}
"""(E[phi(u) phi(v)], E[phi'(u) phi'(v)]) of u, v with variance q each and covariance k."""


@checked
def depth_profile(
    units: str,
    layers: int,
    *,
    weight: ArrayLike,
    bias: ArrayLike = 0.0,
    skip: float = 0.0,
    length: float = 1.0,
    correlation: float = 0.0,
) -> xr.Dataset:
    """What two inputs and a gradient become layer by layer.

    Args:
        units: ``erf`` or ``relu``.
        layers: number of layers.
        weight: sigma_w^2, above 0; several at once broadcast with ``bias``.
        bias: sigma_b^2, 0 or more.
        skip: r, 0 for none.
        length: q of both inputs, above 0.
        correlation: c of the two inputs, -1 to 1.

    Returns:
        ``length`` and ``correlation`` of h_l ``[layer, ...]``, layer 0 the inputs; ``gradient``, log10 of the norm of
        the gradient by h_l relative to that by the last one ``[layer, ...]``.

    Raises:
        InputError: a value outside its range.

    Example:
        >>> critical = depth_profile("relu", 50, weight=2.0)
        >>> float(critical.length[-1]), float(critical.gradient[0])
        (1.0, 0.0)
    """
    checks.one_of(tuple(AVERAGES), units=units)
    checks.at_least(1, layers=layers)
    checks.positive(length=length)
    weights, biases = np.broadcast_arrays(np.asarray(weight, float), np.asarray(bias, float))
    if not ((weights > 0) & np.isfinite(weights)).all() or not ((biases >= 0) & np.isfinite(biases)).all():
        raise InputError("weight must be above 0 and bias 0 or more, both finite")
    if not -1 <= correlation <= 1 or not (np.isfinite(skip) and skip >= 0):
        raise InputError(f"correlation must be -1 to 1 and skip 0 or more, got {correlation} and {skip}")
    average = AVERAGES[units]
    q, k = np.full(weights.shape, float(length)), np.full(weights.shape, length * correlation)
    lengths, correlations, factors = [q], [k / q], []
    for _ in range(layers):
        own, slope = average(q, q)
        pair, _ = average(q, k)
        factors.append(np.log10(skip**2 + weights * slope) / 2)
        q, k = skip**2 * q + weights * own + biases, skip**2 * k + weights * pair + biases
        lengths.append(q)
        correlations.append(k / q)
    gradient = np.cumsum(np.stack([np.zeros_like(q), *factors[::-1]]), axis=0)[::-1]
    dims = ("layer", *(f"dim_{n}" for n in range(weights.ndim)))
    return xr.Dataset(
        {
            "length": (dims, np.stack(lengths), {"long_name": "q"}),
            "correlation": (dims, np.stack(correlations), {"long_name": "c"}),
            "gradient": (dims, gradient, {"units": "log10", "long_name": "gradient norm / that of the last layer"}),
        },
        coords={"layer": np.arange(layers + 1)},
    )


@checked
def critical_line(fixed: ArrayLike, skip: float = 0.0) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """(sigma_w^2, sigma_b^2) at which erf networks with the fixed point q are critical: chi = 1.

    Below the line gradients vanish and correlations go to 1, above it gradients explode and correlations away from 1.
    Both coordinates shrink by 1 - r^2: with a full skip every initialisation lies above it.

    Args:
        fixed: q of the fixed point, 0 or more.
        skip: r, 0 to 1.

    Returns:
        Both coordinates, in the shape of ``fixed``. The line starts at (pi / 2, 0) for q = 0 and r = 0.

    >>> from nonsingular.theory import signal_propagation
    >>> weight, bias = signal_propagation.critical_line([0.0, 1.0])
    >>> weight.round(4).tolist(), bias.round(4).tolist()
    ([1.5708, 2.7207], [0.0, 0.0931])
    """
    q = np.asarray(fixed, float)
    if not (q >= 0).all() or not 0 <= skip <= 1:
        raise InputError("fixed must be 0 or more and skip 0 to 1")
    weight = np.pi / 2 * (1 - skip**2) * np.sqrt(1 + 2 * q)
    return weight, q * (1 - skip**2) - weight * 2 / np.pi * np.arcsin(q / (1 + q))
