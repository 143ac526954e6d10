"""Networks put exactly on the singularities of figure 1, and what their Hessians do there (orhan2018 §2.1, Note 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from nonsingular.curvature import Hessian
from nonsingular.experiments.claims import Effect, exactly
from nonsingular.experiments.effects import selected
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure
from nonsingular.networks import FullyConnected, NetworkSpec

INPUTS, WIDTH, OUTPUTS, SAMPLES = 6, 5, 3, 400
LAYER = 1  # the second hidden layer, the first with a skip connection
A, B, C = 0, 1, 2  # units of that layer that become singular
MIX = (0.7, -1.3)  # J_c = 0.7 J_a - 1.3 J_b


@dataclass(frozen=True)
class Singularity:
    """How parameters are put on a singularity, and the predicted null vectors there.

    Attributes:
        activation: of the network: a smooth one, so that no null vectors come from elsewhere, but for the unit that is
            always zero (``elimination-relu``).
        impose: changes the incoming weights of the layer (with bias) and the outgoing ones, in place.
        null: predicted directions, each as (incoming [unit, input], outgoing [unit after, unit]).
    """

    activation: str
    impose: Callable[[Tensor, Tensor], None]
    null: Callable[[], list[tuple[Tensor, Tensor]]]


def _nothing() -> tuple[Tensor, Tensor]:
    return torch.zeros(WIDTH, WIDTH, dtype=torch.float64), torch.zeros(WIDTH, WIDTH, dtype=torch.float64)


def _outgoing(weights: dict[int, float]) -> list[tuple[Tensor, Tensor]]:
    """One direction a unit of the next layer: its weights from the named units change in these proportions."""
    directions = []
    for i in range(WIDTH):
        incoming, outgoing = _nothing()
        for unit, weight in weights.items():
            outgoing[i, unit] = weight
        directions.append((incoming, outgoing))
    return directions


def _incoming(unit: int) -> list[tuple[Tensor, Tensor]]:
    directions = []
    for j in range(WIDTH):
        incoming, outgoing = _nothing()
        incoming[unit, j] = 1.0
        directions.append((incoming, outgoing))
    return directions


def _zero_incoming(J: Tensor, w: Tensor) -> None:
    J[A] = 0.0


def _zero_outgoing(J: Tensor, w: Tensor) -> None:
    w[:, A] = 0.0


def _equal(J: Tensor, w: Tensor) -> None:
    J[B] = J[A]


def _dependent(J: Tensor, w: Tensor) -> None:
    J[C] = MIX[0] * J[A] + MIX[1] * J[B]


KINDS = {
    # Note 1: without weights a rectified unit is always zero, and so is its derivative; of a tanh unit that is not.
    "elimination-relu": Singularity("relu", _zero_incoming, lambda: _outgoing({A: 1.0})),
    "elimination-incoming": Singularity("tanh", _zero_incoming, lambda: _outgoing({A: 1.0})),
    "elimination-outgoing": Singularity("tanh", _zero_outgoing, lambda: _incoming(A)),
    "overlap": Singularity("tanh", _equal, lambda: _outgoing({A: 1.0, B: -1.0})),
    "linear-dependence": Singularity("linear", _dependent, lambda: _outgoing({C: 1.0, A: -MIX[0], B: -MIX[1]})),
}


def singular_points(seed: int) -> xr.Dataset:
    """One random plain network and its skip twin at each singularity.

    The loss is half the squared error, as in Note 1, and like there the Hessian leaves out the biases, which are fixed
    random numbers. It is taken in float64 twice: with the network's own outputs as targets (zero residual, a singular
    global minimum) and with random targets.

    Args:
        seed: of weights, inputs and targets.

    Returns:
        Over ``singularity`` and ``network``: ``product`` and ``least_product``, the largest and smallest norm of H v
        over the predicted unit vectors v, relative to H's; ``product_away`` at random targets; ``nullity``, eigenvalues
        that are zero to rounding; ``predicted``, how many null vectors are predicted.
    """
    rows = {name: [_measure(kind, skip, seed) for skip in ("none", "identity")] for name, kind in KINDS.items()}
    names = ("product", "least_product", "product_away", "nullity", "predicted")
    return xr.Dataset(
        {
            name: (("singularity", "network"), np.array([[row[name] for row in pair] for pair in rows.values()]))
            for name in names
        },
        coords={"singularity": list(rows), "network": ["plain", "skip"]},
    )


def _measure(kind: Singularity, skip: str, seed: int) -> dict[str, float]:
    spec = NetworkSpec(depth=3, width=WIDTH, skip=skip, activation=kind.activation)
    network = spec.build((INPUTS,), OUTPUTS, seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() == 1:  # at zero biases, tanh networks have further symmetries
                p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        _impose(network, kind)
    inputs = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=torch.float64)
    if kind.activation == "relu":
        _keep_the_next_layer_alive(network, inputs)
    with torch.no_grad():
        outputs = network(inputs)
    away = outputs + torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    H, H_away = (
        Hessian(network, _half_squared_error, [(inputs, t)], params=_weights(network)).dense() for t in (outputs, away)
    )
    V = torch.stack([_flat(network, *direction) for direction in kind.null()], dim=1)
    products = (H @ V).norm(dim=0) / torch.linalg.matrix_norm(H, 2)
    products_away = (H_away @ V).norm(dim=0) / torch.linalg.matrix_norm(H_away, 2)
    eigenvalues = torch.linalg.eigvalsh(H).abs()
    rounding = len(H) * torch.finfo(torch.float64).eps * eigenvalues.max()
    return {
        "product": float(products.max()),
        "least_product": float(products.min()),
        "product_away": float(products_away.max()),
        "nullity": int((eigenvalues < rounding).sum()),
        "predicted": V.shape[1],
    }


def _half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (output - target).square().sum(-1).mean()


def _layers(network: FullyConnected) -> tuple[nn.Linear, nn.Linear]:
    return network.layers[LAYER].linear, network.layers[LAYER + 1].linear  # type: ignore[return-value]


def _impose(network: FullyConnected, kind: Singularity) -> None:
    into, out_of = _layers(network)
    J = torch.cat([into.weight, into.bias[:, None]], dim=1)
    kind.impose(J, out_of.weight)
    into.weight.copy_(J[:, :-1])
    into.bias.copy_(J[:, -1])


@torch.no_grad()
def _keep_the_next_layer_alive(network: FullyConnected, inputs: Tensor) -> None:
    """Biases at which its rectified units are active on half of the samples: dead ones hide all weights to them."""
    x = inputs
    for layer in network.layers[: LAYER + 1]:
        x = layer(x)
    _, after = _layers(network)
    after.bias.copy_(-(x @ after.weight.T).median(dim=0).values)


def _weights(network: FullyConnected) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.dim() == 2]


def _flat(network: FullyConnected, incoming: Tensor, outgoing: Tensor) -> Tensor:
    """A direction as a unit vector in the order of the weights."""
    into, out_of = _layers(network)
    moved = {id(into.weight): incoming, id(out_of.weight): outgoing}
    v = torch.cat([moved.get(id(p), torch.zeros_like(p)).detach().flatten() for p in _weights(network)])
    return v / v.norm()


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Null vectors and nullities of the exact Hessian in float64, plain against skip."""
    found = [singular_points(seed) for seed in workspace.each("singular points", spec.seeds, "runs")]
    return xr.concat(found, xr.Variable("run", spec.seeds))


def difference_from_predicted_nullity(singularity: str) -> Measure:
    """How far the plain Hessian's nullity is from the number of predicted null vectors."""

    def effect(results: xr.Dataset) -> Effect:
        where = {"network": "plain", "singularity": singularity}
        found, predicted = (selected(results, name, **where) for name in ("nullity", "predicted"))
        return replace(exactly(float(np.abs(found - predicted).max())), runs=results.sizes["run"])

    return Measure(effect, "largest distance of the nullity from that number over the runs")
