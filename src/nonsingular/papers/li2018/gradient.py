r"""The backward identity of a residual block, verified layer by layer.

For a block :math:`h = F(x) + x` the chain rule reads
:math:`\partial L/\partial x = \partial L/\partial h\,(\partial F/\partial x + I)`: the gradient of what is above
reaches what is below whole, and what comes through F is added. Without the skip only
:math:`\partial L/\partial h\,\partial F/\partial x` is left.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from nonsingular.data import prepare
from nonsingular.experiments.claims import Effect, exactly
from nonsingular.experiments.effects import ROUNDING, require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.quantities import Quantity
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, average, claim
from nonsingular.networks import Residual, build, plainnet, resnet
from nonsingular.papers.li2018.protocol import images
from nonsingular.plots.depth import backward_identity
from nonsingular.training import Member

PARTS = ("whole", "through_skip", "through_block")


def study(size: Size) -> Spec:
    """A ResNet in the order of pre-activation, so that a block is h = F(x) + x; and without skips."""
    return Spec(
        size.experiment, size.scale, runs=size.runs, data=images(None, size.scale),
        networks=(
            Member("resnet", resnet(size.layers, width=size.width, order="pre")),
            Member("plainnet", plainnet(size.layers, width=size.width, order="pre")),
        ),
        settings={"samples": 64},
    )  # fmt: skip


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Gradients at the input of every block of networks at their start, in float64, batch normalisation in training."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    count = spec.settings["samples"]
    x, y = task.train_inputs[:count].double(), task.train_labels[:count]
    workspace.progress.start(spec.experiment, len(spec.networks) * spec.runs, "networks")
    rows = []
    for member in spec.networks:
        for k in range(spec.runs):
            network = build(member.network, task.shape, task.classes, spec.seed + k).double().train()
            assert isinstance(network, Residual)
            rows.append(block_gradients(network, x, y))
            workspace.progress.advance()
    shape = (len(spec.networks), spec.runs, -1)
    dims = ("network", "run", "block")
    stacked = {name: np.array([row[name] for row in rows]).reshape(shape) for name in (*PARTS, "gap")}
    return xr.Dataset(
        {name: (dims, values) for name, values in stacked.items()},
        {
            "network": [m.name for m in spec.networks],
            "run": np.arange(spec.runs) + spec.seed,
            "block": np.arange(1, stacked["gap"].shape[-1] + 1),
        },
        {"data": spec.data.name, "layers": spec.networks[0].network.depth + 1},
    )


def block_gradients(
    network: Residual, x: Float[Tensor, "sample channel height width"], y: Tensor
) -> dict[str, list[float]]:
    """Block by block: norms of dL/dx, of what its skip brings and of what comes through F, and how far both sum to it.

    ``whole`` is autograd's gradient through the entire network. The other side is put together: dL/dh, from the same
    pass, times the Jacobians of F alone and of the skip alone, each computed on a copy of the block's input.

    Args:
        network: pre-activation, in float64 and training mode.
        x: images.
        y: class numbers.
    """
    blocks = network.blocks()
    states = [network.layers[0](x)]  # x of block 1, h of block 1 = x of block 2, ...
    for number, block in enumerate(blocks):
        states[-1].retain_grad()
        states.append(_through(block, states[-1], network.shortcuts[number] if network.skips else None))
    states[-1].retain_grad()
    F.cross_entropy(network.classify(states[-1]), y).backward()
    found: dict[str, list[float]] = {name: [] for name in (*PARTS, "gap")}
    for number, block in enumerate(blocks):
        below, above = states[number].grad, states[number + 1].grad
        assert below is not None
        assert above is not None
        start = states[number].detach().requires_grad_()
        through_block = torch.autograd.grad(_through(block, start, None), start, above)[0]
        through_skip = torch.zeros_like(start)
        if network.skips:
            through_skip = torch.autograd.grad(network.shortcuts[number](start), start, above)[0]
        for name, part in zip(PARTS, (below, through_skip, through_block), strict=True):
            found[name].append(float(part.norm()))
        found["gap"].append(float((below - through_skip - through_block).norm() / below.norm()))
    return found


def _through(block: list[torch.nn.Module], x: Tensor, shortcut: torch.nn.Module | None) -> Tensor:
    y = x
    for layer in block[:-1]:
        y = layer(y)
    return block[-1](y, None if shortcut is None else shortcut(x))


def gap(network: str) -> Measure:
    """The largest relative distance of the two sides of the identity over blocks and networks."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "gap")
        gaps = results.gap.sel(network=network)
        return exactly(float(gaps.max()), f"{gaps.sizes['block']} blocks, {gaps.sizes['run']} networks")

    return Measure(effect, "largest relative distance from autograd's gradient", "", (network,))


def _change(results: xr.Dataset, network: str) -> xr.DataArray:
    require(results, "whole")
    log = xr.apply_ufunc(np.log10, results.whole.sel(network=network))
    return abs(log.isel(block=0) - log.isel(block=-1))


CHANGE = Quantity(
    _change,
    "|log10 of the gradient's norm at the first block over that at the last|",
    "log10",
    (0, np.inf),
    before=True,
)

FIGURE = Figure(
    "li2018/gradient",
    "The backward identity of a residual block, layer by layer",
    source='li2018 slides, residual connections "stabilize" gradients',
    sizes=Scales(runs=(2, 5, 10), layers=(20, 56, 110), width=(4, 8, 16)),
    study=study,
    run=run,
    draw={"gradient": backward_identity},
    claims=(
        claim("identity", "dL/dx = dL/dh (dF/dx + I) at every block", gap("resnet") < ROUNDING),
        claim("without", "Without the skip only dL/dh dF/dx is left", gap("plainnet") < ROUNDING),
        claim(
            "kept", "So gradients reach the first block of the ResNet within a factor of ten of the last one's",
            average(CHANGE, "resnet") < 1, ours=True,
        ),
        claim("not-kept", "In the PlainNet they do not", average(CHANGE, "plainnet") > 1, ours=True),
    ),
    differs=(
        'The slides give the identity, and say that the gradient is "carried to the next module untouched"; by how '
        "much it changes from the last block to the first is ours to measure, and the factor of ten is ours.",
    ),
    labels={
        "whole": "norm of the loss's gradient by a block's input (nats)",
        "through_skip": "norm of its part through the skip (nats)",
        "through_block": "norm of its part through the block (nats)",
        "gap": "distance of both parts' sum from the whole / its norm",
        "block": "block, from the inputs on",
    },
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
