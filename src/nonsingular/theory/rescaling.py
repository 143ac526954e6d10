"""The rescaling symmetry of weight matrices, and which skips break it (Orhan & Pitkow 2017, abstract).

ReLU networks are positively homogeneous: multiplying W_i by c and dividing W_j by c leaves a plain network's function
as it is. Any path around one of the two matrices breaks that. Networks, with hidden layers h_1 .. h_(L-1) and fixed
random orthogonal Q::

    plain            h_l = f(W_l h_(l-1)),                                                     y = W_L h_(L-1)
    residual         ... + h_(l-1)                             for l = 2 .. L-1
    hyper-residual   ... + h_(l-1) + mean over k < l-1 of Q_k h_k  for l = 3 .. L-1 (hidden layers only)
    layer-to-all     every layer above the first, the output too, adds the mean of Q_k h_k over all layers k below
                     the one before it, the input k = 0 among them, and hidden ones h_(l-1)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.words import counted

Array = np.ndarray
NETWORKS = ("plain", "residual", "hyper-residual", "layer-to-all")


@checked
def forward(
    network: str, W: Sequence[Array], Q: Sequence[Array], x: Float[Array, "sample unit"]
) -> Float[Array, "sample unit"]:
    """The network's output; all layers have one width.

    Args:
        network: ``plain``, ``residual``, ``hyper-residual`` or ``layer-to-all``.
        W: weight matrices, ``[unit, unit]`` each, W_1 first.
        Q: skip matrices, one for each layer that can send (the input first).
        x: inputs.

    >>> import numpy as np
    >>> from nonsingular.theory import rescaling
    >>> W, x = [np.eye(3)] * 2, np.ones((1, 3))
    >>> rescaling.forward("plain", W, [], x).tolist()
    [[1.0, 1.0, 1.0]]
    """
    checks.one_of(NETWORKS, network=network)
    if any(np.shape(w) != (x.shape[1],) * 2 for w in [*W, *Q]):
        raise InputError(f"W and Q must be matrices [unit, unit] of {counted(x.shape[1], 'unit')}, as x has them")
    h = [x]
    last = len(W)
    for layer, weight in enumerate(W, start=1):
        value = h[-1] @ weight.T
        if layer < last:
            value = np.maximum(value, 0)
            if network != "plain" and layer > 1:
                value = value + h[-1]
        first = 0 if network == "layer-to-all" else 1
        senders = range(first, layer - 1)
        receives = network == "layer-to-all" or (network == "hyper-residual" and layer < last)
        if receives and senders:
            value = value + sum(h[k] @ Q[k].T for k in senders) / len(senders)
        h.append(value)
    return h[-1]


@checked
def rescaled_losses(
    network: str, factors: ArrayLike, *, seed: int, layers: int = 4, width: int = 8, samples: int = 256
) -> xr.Dataset:
    """Loss along W_i -> c W_i, W_j -> W_j / c for every pair i < j of a random network.

    Args:
        network: ``plain``, ``residual``, ``hyper-residual`` or ``layer-to-all``.
        factors: c, above 0, ``[factor]``.
        seed: of weights, inputs and targets, which are the same for every network.
        layers: number of weight matrices, at least 2.
        width: of every layer, input and output included.
        samples: Gaussian inputs; targets are those of another random network of the same kind.

    Returns:
        ``loss`` ``[pair, factor]``, relative to the loss at c = 1; ``pair`` is written ``i-j``.

    Raises:
        InputError: factors that are not above 0 or sizes out of range.

    >>> from nonsingular.theory import rescaling
    >>> losses = rescaling.rescaled_losses("plain", [0.5, 1.0, 2.0], seed=0, layers=3, width=4, samples=16)
    >>> sorted(losses.dims)
    ['factor', 'pair']
    """
    checks.at_least(0, seed=seed)
    factors = np.asarray(factors, float)
    if factors.ndim != 1 or factors.size < 1 or not (factors > 0).all():
        raise InputError("factors must be numbers above 0")
    checks.at_least(2, layers=layers)
    checks.at_least(1, width=width, samples=samples)
    rng = np.random.default_rng(seed)
    W, other = rng.standard_normal((2, layers, width, width)) * np.sqrt(2 / width)
    Q = [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(layers)]
    x = rng.standard_normal((samples, width))
    target = forward(network, other, Q, x)

    def loss(pair: tuple[int, int], c: float) -> float:
        scaled = W.copy()
        scaled[pair[0]] *= c
        scaled[pair[1]] /= c
        return float(np.mean(np.sum((forward(network, scaled, Q, x) - target) ** 2, axis=1)) / 2)

    pairs = list(combinations(range(layers), 2))
    base = loss(pairs[0], 1.0)
    values = np.array([[loss(pair, c) for c in factors] for pair in pairs]) / base
    return xr.Dataset(
        {"loss": (("pair", "factor"), values, {"long_name": "loss / loss at c = 1"})},
        coords={"pair": [f"{i + 1}-{j + 1}" for i, j in pairs], "factor": factors},
        attrs={"network": network, "layers": layers},
    )
