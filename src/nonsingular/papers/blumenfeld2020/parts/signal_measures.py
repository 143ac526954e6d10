"""What the claims about signals at the start measure: how angles, norms and gradients change with depth."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, exactly
from nonsingular.experiments.effects import require, selected
from nonsingular.experiments.verbs import Measure, measured


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

    words = {
        "cosine": "largest change of a cosine from the first layer on",
        "norm": "largest relative change of a norm from the first layer on",
        "gradient_norm": "largest relative change of a gradient's norm from the first layer on, below the last",
    }
    return Measure(effect, words[variable])


def lost_angle(network: str) -> Measure:
    """The change of cosines at the last layer, the mean over pairs and runs of the width where it is least."""

    def effect(results: xr.Dataset) -> Effect:
        drift = _drift(results, "cosine", network).isel(layer=-1)
        by_width = drift.mean([d for d in drift.dims if d != "width"])
        return exactly(float(by_width.min()), f"at width {int(by_width.width.values[np.argmin(by_width.values)])}")

    return Measure(effect, "mean change of a cosine at the last layer, at the width where it is least")


@measured("largest change of the cosine that mean inner products over translations make")
def on_average(results: xr.Dataset) -> Effect:
    """The largest change of a cosine from the first layer on, of cosines averaged over translations."""
    require(results, "strided_cosine", "shifted_cosine")
    both = (results[name] for name in ("strided_cosine", "shifted_cosine"))
    change, of_one = (float(abs(cosine - cosine.isel(strided_layer=0)).max()) for cosine in both)
    return exactly(change, f"at a single translation it changes by up to {of_one:.2g}")


@measured(
    "log10 of the largest over the smallest norm of a layer's weight gradient, worst over widths and runs", "log10"
)
def gradient_ratio(results: xr.Dataset) -> Effect:
    """log10 of the largest over the smallest norm of ConstNet's weights' gradients through depth."""
    require(results, "weight_gradient_norm")
    norms = paired(results.weight_gradient_norm, "constnet").isel(layer=slice(1, None))
    return exactly(float(np.log10(norms.max("layer") / np.maximum(norms.min("layer"), 1e-300)).max()))


@measured("largest norm of the gradient with respect to the first convolution of a block")
def fixup_inner(results: xr.Dataset) -> Effect:
    """The largest norm of the gradients of Fixup's inner convolutions."""
    norms = selected(results, "inner_gradient_norm", network="fixup")
    if not np.isfinite(norms).any():
        raise NotMeasured("no gradients of Fixup's inner convolutions")
    last = float(results.weight_gradient_norm.sel(network="fixup").isel(layer=slice(1, None)).min())
    return exactly(float(norms.max()), f"the smallest of the blocks' last convolutions: {last:.2g}")
