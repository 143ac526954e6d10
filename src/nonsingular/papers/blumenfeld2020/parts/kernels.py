"""Tangent kernels of networks at their start, and those of linear models."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.data import prepare
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import build


def tangent_kernel(network: nn.Module, inputs: Float[Tensor, "sample ..."]) -> Float[Tensor, "sample sample class"]:
    """Sums over all parameters of products of derivatives of one output at two samples, in float64.

    Batch normalisation uses its running statistics, so that a sample's output is a function of that sample.
    """
    network = network.double().eval()
    rows = []
    for x in inputs.double():
        outputs = network(x[None])[0]
        by_class = [
            torch.cat([g.flatten() for g in torch.autograd.grad(out, list(network.parameters()), retain_graph=True)])
            for out in outputs[:CLASSES]
        ]
        rows.append(torch.stack(by_class))
    jacobian = torch.stack(rows)
    return torch.einsum("ikp,jkp->ijk", jacobian, jacobian)


CLASSES = 2  # whose outputs' kernels are computed


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Kernels of the networks and of the linear model of the pooled pixels, and eigenvalues of both."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    inputs = task.train_inputs
    kernels, linear = [], []
    for member in workspace.each("kernels", spec.networks, "networks"):
        network = build(member.network, task.shape, task.classes, spec.seed)
        kernels.append(tangent_kernel(network, inputs).detach().numpy())
        linear.append(linear_kernel(inputs, network.readout.in_features).numpy())  # type: ignore[union-attr, arg-type]
    ours, theirs = np.stack(kernels), np.stack(linear)
    full = _linear_in_pixels(inputs).numpy()
    spectra = np.stack([*(np.linalg.eigvalsh(k[..., 0])[::-1] for k in ours), np.linalg.eigvalsh(full)[::-1]])
    names = [m.name for m in spec.networks]
    return xr.Dataset(
        {
            "kernel": (("network", "sample", "other", "class"), ours),
            "linear": (("network", "sample", "other"), theirs),
            "spectrum": (("model", "mode"), np.maximum(spectra / spectra[:, :1], 1e-20)),
        },
        coords={"network": names, "model": [*names, "linear-in-pixels"], "mode": np.arange(1, len(inputs) + 1)},
        attrs={"data": spec.data.name, "scaling": spec.data.scaling},
    )


def linear_kernel(inputs: Float[Tensor, "sample channel height width"], features: int) -> Float[Tensor, "sample other"]:
    r"""The tangent kernel of :math:`f = w\,s(x) + b` with ``features`` copies of the scalar s.

    s is the inputs' ``brightness``.
    """
    s = brightness(inputs)
    return features * s[:, None] * s[None, :] + 1


def brightness(inputs: Float[Tensor, "sample channel height width"]) -> Float[Tensor, " sample"]:
    """What ConstNet's features are at the start: the mean over channels and over every fourth pixel each way.

    The two strides leave every fourth one.
    """
    return inputs.double()[:, :, ::4, ::4].mean((1, 2, 3))


def _linear_in_pixels(inputs: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample other"]:
    x = inputs.double().flatten(1)
    return x @ x.T + 1
