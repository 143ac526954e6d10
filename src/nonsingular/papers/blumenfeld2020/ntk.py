"""Appendix D: ConstNet's tangent kernel at the start is a linear model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.data import DataSpec, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.claims import Effect, Region, exactly
from nonsingular.experiments.effects import require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import ConstNetSpec, build
from nonsingular.papers.blumenfeld2020.protocol import Measure, claim
from nonsingular.plots import symmetry as plots
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCALES = {
    "smoke": ("digits", 8, 1, 20, None),
    "laptop": ("cifar10", 8, 1, 60, 16),
    "paper": ("cifar10", 16, 10, 200, None),
}


def specs(scale: str, data: str | None = None) -> Spec:
    """ConstNet without and with batch normalisation, and its He start for comparison."""
    name, width, widening, samples, size = at_scale(_SCALES, scale)
    return Spec(
        "blumenfeld2020/ntk",
        scale,
        data=DataSpec(data or name, train=samples, test=1, scaling="channels", layout="image", size=size),
        networks=(
            Member("constnet", ConstNetSpec(width=width, widening=widening, batch_norm=False)),
            Member("constnet+bn", ConstNetSpec(width=width, widening=widening)),
            Member("constnet-he", ConstNetSpec(width=width, widening=widening, batch_norm=False, start="he")),
        ),
    )


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
    if spec.data is None:
        raise InputError(f"{spec.experiment} needs data")
    task = prepare(spec.data, workspace.data_dir)
    inputs = task.train_inputs
    workspace.progress.start("kernels", len(spec.networks), "networks")
    kernels, linear = [], []
    for member in spec.networks:
        network = build(member.network, task.shape, task.classes, spec.seed)
        kernels.append(tangent_kernel(network, inputs).detach().numpy())
        linear.append(linear_kernel(inputs, network.readout.in_features).numpy())  # type: ignore[union-attr, arg-type]
        workspace.progress.advance()
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


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Eigenvalues of the kernels; the network's kernel against the linear model's."""
    return {"kernel": plots.kernels(results), "spectrum": plots.kernel_spectra(results)}


def _gap(network: str) -> Measure:
    def effect(results: xr.Dataset) -> Effect:
        require(results, "kernel", "linear")
        kernel = results.kernel.sel(network=network)
        distance = np.abs(kernel - results.linear.sel(network=network))
        return exactly(float(distance.max() / np.abs(kernel).max()))

    return effect


def _rank(results: xr.Dataset) -> Effect:
    require(results, "spectrum")
    values = results.spectrum.sel(model=["constnet", "linear-in-pixels"])
    ranks = (values > 1e-12).sum("mode")
    note = (
        f"a linear model of all pixels has rank {int(ranks[1])} on these images: the average over channels and pixels "
        "leaves one number of an image, its mean brightness, so the kernel is that of a line and its offset"
    )
    return exactly(float(ranks[0]), note)


SINGLE = 1e-6
"""Of the order of float32's rounding: a third, what the first layer weighs channels with, is not a float32 number."""

CLAIMS = (
    claim(
        "ntk",
        "linear",
        "appendix D",
        "Without batch normalisation ConstNet's tangent kernel at the start is a linear model's (largest relative "
        "distance from the kernel of a linear model of the image's mean).",
        _gap("constnet"),
        Region(high=SINGLE),
    ),
    claim(
        "ntk",
        "batch-norm",
        "appendix D",
        "With batch normalisation off the linear path, too (largest relative distance).",
        _gap("constnet+bn"),
        Region(high=SINGLE),
    ),
    claim(
        "ntk",
        "he-is-not",
        "appendix D",
        "The same network with a random start has another kernel (largest relative distance; above 1 %).",
        _gap("constnet-he"),
        Region(low=0.01),
    ),
    claim(
        "ntk",
        "pixels",
        "appendix D",
        "The features are as rich as those of a linear classifier of the pixels (rank of the kernel; above 2, the rank "
        "of a line in one number and its offset).",
        _rank,
        Region(low=2.5),
        "rank",
        ours=True,
    ),
)

EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/ntk",
        "ConstNet's tangent kernel is a linear model's",
        specs,
        run,
        draw,
        CLAIMS,
        differs=("No rectifier stands between the last layer and the pooling, as the appendix's derivation has it.",),
        labels={
            "kernel": "tangent kernel",
            "linear": "kernel of the linear model",
            "spectrum": "eigenvalue / the largest",
        },
    ),
)
