"""Gradients at the blocks of residual networks, and what each of their two ways brings."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from nonsingular.data import prepare
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import Residual, build

PARTS = ("whole", "through_skip", "through_block")


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Gradients at the input of every block of networks at their start, in float64, batch normalisation in training."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    count = spec.settings["samples"]
    x, y = task.train_inputs[:count].double(), task.train_labels[:count]
    rows = []
    for member, seed in workspace.each(spec.experiment, product(spec.networks, spec.seeds), "networks"):
        network = build(member.network, task.shape, task.classes, seed).double().train()
        assert isinstance(network, Residual)
        rows.append(block_gradients(network, x, y))
    shape = (len(spec.networks), spec.runs, -1)
    dims = ("network", "run", "block")
    stacked = {name: np.array([row[name] for row in rows]).reshape(shape) for name in (*PARTS, "gap")}
    return xr.Dataset(
        {name: (dims, values) for name, values in stacked.items()},
        {
            "network": [m.name for m in spec.networks],
            "run": spec.seeds,
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
