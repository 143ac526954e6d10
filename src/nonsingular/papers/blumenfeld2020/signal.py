"""§3 and appendices B, C, H: angles between signals, their norms, and gradients through depth at the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from nonsingular.data import DataSpec, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.claims import Effect, NotMeasured, Region, exactly
from nonsingular.experiments.effects import require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.measures import capture, layer_names, weight_names
from nonsingular.networks import ConstNetSpec, StackSpec, build
from nonsingular.networks.stacks import KINDS
from nonsingular.papers.blumenfeld2020.protocol import Measure, claim
from nonsingular.plots import symmetry as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCALES = {
    "smoke": (2, "digits", 10, 8, {"depth": 13, "widths": [4, 16]}),
    "laptop": (3, "cifar10", 8, 8, {"depth": 25, "widths": [8, 16, 32]}),
    "paper": (10, "cifar10", 32, None, {"depth": 101, "widths": [8, 32, 128, 256]}),
}
STABLE = ("constnet", "leakynet-1", "leakynet-I", "isometric")


def specs(scale: str, data: str | None = None) -> Spec:
    """Equally wide stacks of every kind, at one depth and several widths."""
    runs, name, samples, size, settings = at_scale(_SCALES, scale)
    images = DataSpec(data or name, train=samples, test=1, scaling="channels", layout="image", size=size)
    return Spec("blumenfeld2020/signal", scale, runs=runs, data=images, settings={**settings, "kinds": list(KINDS)})


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Cosines of pairs of images, norms, gradients by features and by weights, after every layer, in float64."""
    if spec.data is None:
        raise InputError(f"{spec.experiment} needs data")
    task = prepare(spec.data, workspace.data_dir)
    kinds, widths, depth = (spec.settings[key] for key in ("kinds", "widths", "depth"))
    workspace.progress.start("signals", len(kinds) * len(widths) * spec.runs, "networks")
    found: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
    for kind in kinds:
        for width in widths:
            for seed in range(spec.seed, spec.seed + spec.runs):
                network = build(StackSpec(depth, width, kind), task.shape, task.classes, seed)
                for name, values in signals(network.double(), task.train_inputs.double(), task.train_labels).items():
                    found[name].append(values.detach().numpy())
                workspace.progress.advance()
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


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The angles and gradients against depth."""
    return {"angles": plots.signal_angles(results), "gradients": plots.signal_gradients(results)}


# --- effects ------------------------------------------------------------------------------------------------


def paired(values: xr.DataArray, network: str) -> xr.DataArray:
    """Layers that are to be alike: the first one left out; of a LeakyNet the last ones of its pairs.

    The first layer of a pair puts out f(-x), "up to a single non-linearity" the feature before it.
    """
    values = values.sel(network=network)
    return values.isel(layer=slice(0, None, 2)) if network.startswith("leakynet") else values


def _drift(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    require(results, variable)
    values = paired(results[variable], network)
    first = values.isel(layer=0)
    if variable == "gradient_norm":
        values = values.isel(layer=slice(None, -1))
    return abs(values - first) if variable == "cosine" else abs(values / first - 1)


def worst_drift(variable: str, *networks: str) -> Measure:
    """The largest change from the first layer, over layers, widths, runs and pairs.

    Of gradients the last layer is left out: theirs comes from the random readout, and what of it the layer below does
    not pass on (in the "1" start all but the mean over channels) is lost once.
    """

    def effect(results: xr.Dataset) -> Effect:
        drifts = {n: float(_drift(results, variable, n).max()) for n in networks}
        return exactly(max(drifts.values()), ", ".join(f"{n} {d:.2g}" for n, d in drifts.items()))

    return effect


def least_drift(variable: str, network: str) -> Measure:
    """The change at the last layer, the mean over pairs and runs of the width where it is least."""

    def effect(results: xr.Dataset) -> Effect:
        drift = _drift(results, variable, network).isel(layer=-1)
        by_width = drift.mean([d for d in drift.dims if d != "width"])
        return exactly(float(by_width.min()), f"at width {int(by_width.width.values[np.argmin(by_width.values)])}")

    return effect


def _on_average(results: xr.Dataset) -> Effect:
    """The largest change of a cosine from the first layer on, of cosines averaged over translations."""
    require(results, "strided_cosine", "shifted_cosine")
    change, of_one = (
        float(abs(results[name] - results[name].isel(strided_layer=0)).max())
        for name in ("strided_cosine", "shifted_cosine")
    )
    return exactly(change, f"at a single translation it changes by up to {of_one:.2g}")


def _gradient_ratio(network: str, reduce: str) -> Measure:
    """log10 of the largest over the smallest norm of the weights' gradients through depth (after the input layer)."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "weight_gradient_norm")
        norms = paired(results.weight_gradient_norm, network).isel(layer=slice(1, None))
        ratio = np.log10(norms.max("layer") / np.maximum(norms.min("layer"), 1e-300))
        return exactly(float(getattr(ratio, reduce)()))

    return effect


def _fixup_inner(results: xr.Dataset) -> Effect:
    require(results, "inner_gradient_norm")
    norms = results.inner_gradient_norm.sel(network="fixup")
    if not np.isfinite(norms).any():
        raise NotMeasured("no gradients of Fixup's inner convolutions")
    last = float(results.weight_gradient_norm.sel(network="fixup").isel(layer=slice(1, None)).min())
    return exactly(float(norms.max()), f"the smallest of the blocks' last convolutions: {last:.2g}")


EXACT = Region(high=1e-6)
"""To the rounding of float32, in which random orthogonal weights are given."""


CLAIMS = (
    claim(
        "signal",
        "angles-stay",
        "§3.1, appendices B, C, H",
        "In ConstNet, LeakyNet and the isometric start angles between signals do not change with depth, at any width "
        "(largest change of a cosine).",
        worst_drift("cosine", *STABLE),
        EXACT,
    ),
    claim(
        "signal",
        "angles-stay-on-average",
        "§3.1 claim, appendix C",
        "Where ConstNet's strides take pixels away angles are preserved in distribution, for inputs that translations "
        "do not change (largest change of the cosine that mean inner products over translations make).",
        _on_average,
        EXACT,
    ),
    claim(
        "signal",
        "norms-stay",
        "§3.1, appendices B, C, H",
        "Nor do the signals' norms (largest relative change).",
        worst_drift("norm", *STABLE),
        EXACT,
    ),
    claim(
        "signal",
        "gradients-stay",
        "§3.1, appendices B, C, H",
        "Nor do the norms of gradients with respect to the features (largest relative change, below the last layer).",
        worst_drift("gradient_norm", *STABLE),
        EXACT,
    ),
    claim(
        "signal",
        "constnet-weight-gradients",
        "§3.1 claim, appendix C",
        "The gradients with respect to ConstNet's weights do not depend on depth when the width is constant (log10 of "
        "the largest over the smallest norm, worst over widths and runs).",
        _gradient_ratio("constnet", "max"),
        EXACT,
        "log10",
    ),
    claim(
        "signal",
        "he-angles-collapse",
        "§3",
        "Under He initialisation angles are not preserved (mean change of a cosine at the last layer, at the width "
        "where it is least; above 0.1).",
        least_drift("cosine", "he"),
        Region(low=0.1),
    ),
    claim(
        "signal",
        "delta-orthogonal-angles",
        "§3 (Xiao et al. 2018)",
        "With rectifiers a delta-orthogonal start alone does not preserve them either: it takes the doubled channels "
        "of appendix B (mean change of a cosine at the last layer, at the width where it is least; above 0.1).",
        least_drift("cosine", "delta-orthogonal"),
        Region(low=0.1),
    ),
    claim(
        "signal",
        "fixup-angles",
        "§1 (Zhang et al. 2019)",
        "Fixup, whose blocks end in zeros, preserves angles (largest change of a cosine).",
        worst_drift("cosine", "fixup"),
        EXACT,
    ),
    claim(
        "signal",
        "fixup-gradients",
        "§3",
        "But its gradients are not stable: those by the first convolution of every block are zero at the start "
        "(largest norm).",
        _fixup_inner,
        Region(high=1e-30),
    ),
)

EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/signal",
        "Forward angles and gradient norms against depth",
        specs,
        run,
        draw,
        CLAIMS,
        differs=(
            "Equally wide stacks at one image size and a random readout: with a readout of zeros every gradient but "
            "its own is zero. Where strides take pixels away angles stay only on average: that is judged in a ConstNet "
            "of 13 layers, over all shifts of the images by less than the four pixels that its strides skip.",
        ),
        labels={
            "cosine": "cosine of two images' features",
            "norm": "norm of the features",
            "gradient_norm": "norm of the loss's gradient by features (nats)",
            "weight_gradient_norm": "norm of the loss's gradient by weights (nats)",
            "inner_gradient_norm": "norm of the loss's gradient by inner features (nats)",
            "strided_cosine": "cosine of two images' features, mean products over translations",
            "shifted_cosine": "cosine of two images' features, at one translation",
            "width": "channels",
        },
    ),
)
