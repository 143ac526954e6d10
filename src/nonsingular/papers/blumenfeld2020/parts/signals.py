"""What passes through networks at their start: angles between signals, their norms, and gradients, layer by layer."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from nonsingular.data import prepare
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.measures import capture, layer_names, weight_names
from nonsingular.networks import ConstNetSpec, StackSpec, build


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Cosines of pairs of images, norms, gradients by features and by weights, after every layer, in float64."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    kinds, widths, depth = (spec.settings[key] for key in ("kinds", "widths", "depth"))
    found: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
    for kind, width, seed in workspace.each("signals", product(kinds, widths, spec.seeds), "networks"):
        network = build(StackSpec(depth, width, kind), task.shape, task.classes, seed)
        for name, values in signals(network.double(), task.train_inputs.double(), task.train_labels).items():
            found[name].append(values.detach().numpy())
    shape = (len(kinds), len(widths), spec.runs)
    dims = ("network", "width", "run", "layer")
    data = {
        name: (dims + VARIABLES[name], np.stack(values).reshape(*shape, *values[0].shape))
        for name, values in found.items()
    }
    strided = build(ConstNetSpec(width=widths[0], widening=1), task.shape, task.classes, spec.seed).double()
    averaged, single = through_strides(strided, task.train_inputs.double())
    data["strided_cosine"] = (("strided_layer", "pair"), averaged.numpy())
    data["shifted_cosine"] = (("shift", "strided_layer", "pair"), single.numpy())
    coordinates = {"network": kinds, "width": widths, "layer": np.arange(1, depth + 1)}
    return xr.Dataset(data, coordinates, attrs={"data": spec.data.name, "scaling": spec.data.scaling})


VARIABLES: dict[str, tuple[str, ...]] = {
    "cosine": ("pair",),
    "norm": (),
    "gradient_norm": (),
    "weight_gradient_norm": (),
    "inner_gradient_norm": (),
}


def signals(network: torch.nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What passes through the layers of a network, one row a layer.

    Returns:
        ``cosine`` of the features of each pair of samples, ``norm``: mean norm of the features, ``gradient_norm``:
        mean norm of the gradient of a sample's loss by them, ``weight_gradient_norm``: of the mean loss by the weights
        of the layer's last convolution, ``inner_gradient_norm``: by those of the one before it; NaN if there is none.
    """
    layers = layer_names(network)
    weights = [network.get_parameter(name) for name in weight_names(network, layers).values()]
    parameters = dict(network.named_parameters())
    inner = [parameters.get(f"{name}.inner.weight") for name in layers]
    with capture(network, layers) as seen:
        outputs = network(inputs)
        features = [seen.activations[name] for name in layers]
    loss = F.cross_entropy(outputs, labels, reduction="sum")
    gradients = torch.autograd.grad(loss, [*features, *weights], retain_graph=True)
    none = torch.tensor(torch.nan)
    by_inner = [none if w is None else torch.autograd.grad(loss, w, retain_graph=True)[0].norm() for w in inner]
    first, second = torch.triu_indices(len(inputs), len(inputs), offset=1)
    flat = [f.flatten(1) for f in features]
    return {
        "cosine": torch.stack([F.cosine_similarity(f[first], f[second]) for f in flat]),
        "norm": torch.stack([f.norm(dim=1).mean() for f in flat]),
        "gradient_norm": torch.stack([g.flatten(1).norm(dim=1).mean() for g in gradients[: len(layers)]]),
        "weight_gradient_norm": torch.stack([g.norm() / len(inputs) for g in gradients[len(layers) :]]),
        "inner_gradient_norm": torch.stack(by_inner) / len(inputs),
    }


STRIDE = 4
"""Of ConstNet's two halvings of the image together."""


@torch.no_grad()
def through_strides(network: torch.nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the features of pairs of images in a network that takes pixels away, averaged over translations.

    Args:
        network: a ConstNet at its start.
        inputs: images; all their circular shifts by less than ``STRIDE`` pixels stand for a distribution that
            translations do not change.

    Returns:
        The cosine that mean inner products over the shifts make, ``[layer pair]``; and that of each shift,
        ``[shift layer pair]``.
    """
    layers = layer_names(network)
    products = []  # [shift][layer, sample, sample]
    for row in range(STRIDE):
        for column in range(STRIDE):
            with capture(network, layers) as seen:
                network(inputs.roll((row, column), (2, 3)))
            flat = [seen.activations[name].flatten(1) for name in layers]
            products.append(torch.stack([f @ f.mT for f in flat]))
    first, second = torch.triu_indices(len(inputs), len(inputs), offset=1)

    def cosine(inner: Tensor) -> Tensor:
        square = inner.diagonal(dim1=-2, dim2=-1)
        return inner[..., first, second] / (square[..., first] * square[..., second]).sqrt()

    every = torch.stack(products)
    return cosine(every.mean(0)), cosine(every)
