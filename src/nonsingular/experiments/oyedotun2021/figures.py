"""Figures 5 to 8: activations and weights through the depth of PlainNet and ResNet, and their condition numbers.

The article draws activations and weights of the PlainNet (figures 5 and 6) and of the ResNet (7 and 8), and says of the
hidden representations that PlainNet's have infinite condition numbers from about the 80th layer on with CIFAR-10 (the
100th with CIFAR-100), ResNet's never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import POSITIVE, Claim, Effect, NotMeasured, Region, difference, mean
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.oyedotun2021.tables import DIFFERS, study
from nonsingular.experiments.representation_instruments import ACTIVATION_QUANTILES, WEIGHT_QUANTILES
from nonsingular.experiments.sharing import run_shared
from nonsingular.plots.depth import conditioning, distributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"plainnet": "PlainNet", "resnet": "ResNet"}
ONSET = {"cifar100": 100, "cifar100-fine": 100}  # the paper's layer; 80 with CIFAR-10
DEFAULT_ONSET = 80


def last_look(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """A variable by run and layer at the end of training.

    Raises:
        NotMeasured: it was not measured there, or every run diverged.
    """
    values = per_run(results, variable, network).dropna("layer", how="all").isel(epoch=-1)
    if not values.notnull().any():
        raise NotMeasured(f"{variable} of {network} at the end of training (or all runs diverged)")
    return values


def condition(results: xr.Dataset, network: str) -> xr.DataArray:
    """Condition numbers by run and layer, infinite where the rank is deficient."""
    return last_look(results, "streamed_condition_number", network).dropna("run", how="all")


def _infinite(values: xr.DataArray) -> xr.DataArray:
    return xr.apply_ufunc(np.isinf, values)


def onset(results: xr.Dataset, network: str) -> Effect:
    """The first layer with an infinite condition number.

    A run without one counts as the layer after the last, so that the mean is a lower bound; infinite if no run has one.
    """
    infinite = _infinite(condition(results, network)).transpose("run", "layer").values
    depth = infinite.shape[1]
    found = infinite.any(axis=1)
    first = np.where(found, infinite.argmax(axis=1) + 1, depth + 1)
    after = [float(np.mean(row[f:])) for row, f in zip(infinite, first, strict=True) if f < depth]
    later = f"; of the layers after it {np.mean(after):.0%} are infinite too" if after else ""
    note = f"{int(found.sum())} of {len(first)} runs have one{later}"
    if not found.any():
        return Effect(math.inf, math.inf, math.inf, len(first), note)
    return mean(first, note=note)


def _paper_onset(results: xr.Dataset) -> float:
    return ONSET.get(results.attrs.get("data", ""), DEFAULT_ONSET)


def relative_onset(results: xr.Dataset) -> Effect:
    """The onset over the paper's."""
    found, expected = onset(results, "plainnet"), _paper_onset(results)
    where = f"layer {found.value:.0f} [{found.low:.0f} to {found.high:.0f}]" if found.value < math.inf else "none"
    note = f"{where}, paper about {expected}; {found.note}"
    return Effect(found.value / expected, found.low / expected, found.high / expected, found.runs, note)


def _infinite_layers(results: xr.Dataset) -> Effect:
    return mean(_infinite(condition(results, "resnet")).sum("layer"))


def _log(values: xr.DataArray, ceiling: float = 16.0) -> xr.DataArray:
    """log10, with infinite as 10^16, beyond all that float64 tells from it."""
    return xr.apply_ufunc(lambda x: np.minimum(np.log10(x), ceiling), values)


def _falls(results: xr.Dataset) -> Effect:
    log = _log(condition(results, "resnet"))
    tenth, half = max(1, log.sizes["layer"] // 10), log.sizes["layer"] // 2
    return mean(log.isel(layer=slice(0, tenth)).mean("layer") - log.isel(layer=slice(half, None)).mean("layer"))


def _worse(results: xr.Dataset) -> Effect:
    half = condition(results, "plainnet").sizes["layer"] // 2
    logs = [
        _log(condition(results, name)).isel(layer=slice(half, None)).mean("layer") for name in ("plainnet", "resnet")
    ]
    return difference(*logs)


def imbalance(results: xr.Dataset, network: str) -> xr.DataArray:
    """log10 of the gradient norm at the first over that at the last layer, before training, by run."""
    norms = per_run(results, "streamed_gradient_norm", network).sel(epoch=0).dropna("layer", how="all")
    log = xr.apply_ufunc(np.log10, norms.where(norms > 0))
    return log.isel(layer=0, drop=True) - log.isel(layer=-1, drop=True)


def _spread_change(results: xr.Dataset, network: str) -> xr.DataArray:
    """Mean over layers of |log10| of the change of the weights' spread (95 % minus 5 % quantile) over training."""
    low, high = WEIGHT_QUANTILES[0], WEIGHT_QUANTILES[-1]
    end = last_look(results, high, network) - last_look(results, low, network)
    start = per_run(results, high, network).sel(epoch=0) - per_run(results, low, network).sel(epoch=0)
    return abs(xr.apply_ufunc(np.log10, end / start)).mean("layer")


ARTICLE = "Oyedotun et al. 2021 (article), discussion"
OURS = "ours, beside figure {} of the article, which states nothing of it"


def _claim(figure: int, name: str, source: str, statement: str, effect: Callable[[xr.Dataset], Effect],
           region: Region, unit: str, expected: str = "") -> Claim:  # fmt: skip
    return Claim(f"oyedotun2021/fig{figure}/{name}", source, statement, effect, region, unit, expected)


CLAIMS = {
    5: (
        _claim(
            5, "onset", ARTICLE,
            "PlainNet's representations have infinite condition numbers from about layer 80 on with CIFAR-10, "
            "layer 100 with CIFAR-100 (first infinite layer over the paper's; within half of it).",
            relative_onset, Region(0.5, 1.5), "of the paper's layer", "about 1 (layer 80 or 100)",
        ),
        _claim(
            5, "worse-conditioned", ARTICLE,
            "In the second half of its layers PlainNet is worse conditioned than ResNet (mean log10 condition number, "
            "PlainNet minus ResNet, infinite counted as 16).",
            _worse, POSITIVE, "log10",
        ),
    ),
    6: (
        _claim(
            6, "gradients-out-of-balance", OURS.format(6),
            "Before training PlainNet's gradients at the first and the last layer differ by more than ResNet's "
            "(|log10 ratio|, PlainNet minus ResNet).",
            lambda r: difference(abs(imbalance(r, "plainnet")), abs(imbalance(r, "resnet"))), POSITIVE, "log10",
        ),
    ),
    7: (
        _claim(
            7, "never-infinite", ARTICLE,
            "ResNet's representations never have an infinite condition number (number of such layers at the end).",
            _infinite_layers, Region(high=0.5), "layers", "0",
        ),
        _claim(
            7, "high-early-then-falls", ARTICLE,
            "ResNet's condition numbers are high in the early layers and fall (mean log10 in the first tenth of the "
            "layers minus the second half).",
            _falls, POSITIVE, "log10",
        ),
    ),
    8: (
        _claim(
            8, "gradients-in-balance", OURS.format(8),
            "Before training ResNet's gradients at the first and the last layer are of one order of magnitude "
            "(|log10 ratio| below 1).",
            lambda r: mean(abs(imbalance(r, "resnet"))), Region(high=1.0), "log10",
        ),
        _claim(
            8, "weights-move", OURS.format(8),
            "Training changes the spread of ResNet's weights more than of PlainNet's (mean |log10| of the change, "
            "ResNet minus PlainNet).",
            lambda r: difference(_spread_change(r, "resnet"), _spread_change(r, "plainnet")), POSITIVE, "log10",
        ),
    ),
}  # fmt: skip


def draw(results: xr.Dataset, network: str, what: str) -> Mapping[str, Figure]:
    """The distribution by layer at the epochs that were looked at; with activations also conditioning and gradients."""
    names = {"activation": ACTIVATION_QUANTILES, "weight": WEIGHT_QUANTILES}[what]
    depth = int(results.sizes["layer"]) + 1
    title = f"{what.capitalize()}s of {NAMES[network]}-{depth} by layer"
    figures = {f"{what}s": distributions(results, network, names, what, title)}
    if what == "activation":
        figures["conditioning"] = conditioning(results, list(NAMES), f"Representations of {depth}-layer networks")
    return figures


FIGURES = {
    5: ("plainnet", "activation"),
    6: ("plainnet", "weight"),
    7: ("resnet", "activation"),
    8: ("resnet", "weight"),
}

EXPERIMENTS = tuple(
    Experiment(
        f"oyedotun2021/fig{number}",
        f"{NAMES[network]}'s {what}s through its depth" + (", and condition numbers" if what == "activation" else ""),
        partial(study, f"oyedotun2021/fig{number}", "cifar10"),
        run_shared,
        partial(draw, network=network, what=what),
        CLAIMS[number],
        differs=(
            *DIFFERS,
            "A representation is the matrix of all samples and places by channels, in float64; it is singular where "
            "its smallest singular value is below the largest times its longer side times the machine epsilon.",
        ),
    )
    for number, (network, what) in FIGURES.items()
)
