"""Figures 5 to 8: activations and weights through the depth of PlainNet and ResNet, and their condition numbers.

The article draws activations and weights of the PlainNet (figures 5 and 6) and of the ResNet (7 and 8), and says of the
hidden representations that PlainNet's have infinite condition numbers from about the 80th layer on with CIFAR-10 (the
100th with CIFAR-100), ResNet's never. It does not say which matrix a representation is, nor of which layers. Two are
judged, at the layers that end a block, where what the skip brings has been added (``MATRICES``; docs/depth.md has what
was measured of them):

- samples by features, one feature a channel at a place: the matrix that a layer maps to the next one's, which is what
  the article's linear algebra is about; claims without a suffix;
- samples and places by channels, the units of a convolution: claims that end in ``-channels``.

Nothing is judged where the ResNet has not trained. That its condition numbers are never infinite tells nothing of skips
where PlainNet's are not either, and is not judged there.
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
from nonsingular.experiments.fit import require_trained
from nonsingular.experiments.run.instruments.representations import ACTIVATION_QUANTILES, WEIGHT_QUANTILES
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.networks.residual import LAYERS_A_BLOCK
from nonsingular.papers.oyedotun2021.tables import DIFFERS, study
from nonsingular.plots.depth import conditioning, distributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"plainnet": "PlainNet", "resnet": "ResNet"}
MATRICES = {"": "sample_condition_number", "-channels": "streamed_condition_number"}  # suffix of claims -> variable
AFTER_ADDITION = slice(None, None, LAYERS_A_BLOCK["bottleneck"])  # the first layer, and the last one of every block
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


def condition(results: xr.Dataset, network: str, matrix: str) -> xr.DataArray:
    """Condition numbers by run and layer after an addition, infinite where the rank is deficient.

    Raises:
        NotMeasured: the ResNet has not trained, so that nothing can be told of its skips.
    """
    require_trained(results, "resnet")
    return last_look(results, matrix, network).dropna("run", how="all").isel(layer=AFTER_ADDITION)


def _infinite(values: xr.DataArray) -> xr.DataArray:
    return xr.apply_ufunc(np.isinf, values)


def first_infinite(infinite: xr.DataArray) -> np.ndarray:
    """Of each run the first layer with an infinite condition number; where there is none, the layer after the last."""
    layers = infinite.layer.values
    rows = infinite.transpose("run", "layer").values
    return np.where(rows.any(axis=1), layers[rows.argmax(axis=1)], layers[-1] + 1)


def onset(results: xr.Dataset, network: str, matrix: str) -> Effect:
    """The first layer with an infinite condition number.

    A run without one counts as the layer after the last, so that the mean is a lower bound; infinite if no run has one.
    """
    infinite = _infinite(condition(results, network, matrix))
    first, last = first_infinite(infinite), int(infinite.layer[-1])
    found = first <= last
    after = [float(row.where(row.layer > f).mean()) for row, f in zip(infinite, first, strict=True) if f < last]
    later = f"; of the layers after it {np.mean(after):.0%} are infinite too" if after else ""
    note = f"{int(found.sum())} of {len(first)} runs have one{later}"
    if not found.any():
        return Effect(math.inf, math.inf, math.inf, len(first), note)
    return mean(first, note=note, within=(1, last + 1))


def _paper_onset(results: xr.Dataset) -> float:
    return ONSET.get(results.attrs.get("data", ""), DEFAULT_ONSET)


def relative_onset(results: xr.Dataset, matrix: str) -> Effect:
    """The onset over the paper's."""
    found, expected = onset(results, "plainnet", matrix), _paper_onset(results)
    where = f"layer {found.value:.0f} [{found.low:.0f} to {found.high:.0f}]" if found.value < math.inf else "none"
    note = f"{where}, paper about {expected}; {found.note}"
    return Effect(found.value / expected, found.low / expected, found.high / expected, found.runs, note)


def _infinite_layers(results: xr.Dataset, matrix: str) -> dict[str, xr.DataArray]:
    """Network -> how many of its layers are infinite, by run."""
    return {name: _infinite(condition(results, name, matrix)).sum("layer") for name in NAMES}


def never_infinite(results: xr.Dataset, matrix: str) -> Effect:
    """How many layers of the ResNet are infinite.

    Raises:
        NotMeasured: none, but none of the PlainNet either.
    """
    counts = _infinite_layers(results, matrix)
    plain, residual = (counts[name] for name in NAMES)
    if not residual.any() and not plain.any():
        raise NotMeasured("PlainNet has no infinite condition number either, which tells nothing of skips")
    return mean(residual, note=f"PlainNet: {float(plain.mean()):.3g}", within=(0, math.inf))


def fewer_infinite(results: xr.Dataset, matrix: str) -> Effect:
    """How many more layers of the PlainNet are infinite, in percent of the layers after an addition."""
    layers = condition(results, "resnet", matrix).sizes["layer"]
    plain, residual = (100 * count / layers for count in _infinite_layers(results, matrix).values())
    note = f"PlainNet {float(plain.mean()):.3g}, ResNet {float(residual.mean()):.3g} of {layers} layers, in percent"
    return difference(plain, residual, note=note, within=(-100, 100))


def later_onset(results: xr.Dataset, matrix: str) -> Effect:
    """The ResNet's first infinite layer minus the PlainNet's; where there is none, the layer after the last counts."""
    infinite = {name: _infinite(condition(results, name, matrix)) for name in NAMES}
    last = int(infinite["resnet"].layer[-1])
    first = {name: first_infinite(values) for name, values in infinite.items()}
    return difference(first["resnet"], first["plainnet"], within=(-last, last))


def _log(values: xr.DataArray, ceiling: float = 16.0) -> xr.DataArray:
    """log10, with infinite as 10^16, beyond all that float64 tells from it."""
    return xr.apply_ufunc(lambda x: np.minimum(np.log10(x), ceiling), values)


def _falls(results: xr.Dataset, matrix: str) -> Effect:
    log = _log(condition(results, "resnet", matrix))
    tenth, half = max(1, log.sizes["layer"] // 10), log.sizes["layer"] // 2
    return mean(log.isel(layer=slice(0, tenth)).mean("layer") - log.isel(layer=slice(half, None)).mean("layer"))


def _worse(results: xr.Dataset, matrix: str) -> Effect:
    logs = [_log(condition(results, name, matrix)) for name in NAMES]
    return difference(*(log.isel(layer=slice(log.sizes["layer"] // 2, None)).mean("layer") for log in logs))


def imbalance(results: xr.Dataset, network: str) -> xr.DataArray:
    """log10 of the gradient norm at the first over that at the last layer, before training, by run."""
    norms = per_run(results, "streamed_gradient_norm", network).sel(epoch=0).dropna("layer", how="all")
    log = xr.apply_ufunc(np.log10, norms.where(norms > 0))
    return log.isel(layer=0, drop=True) - log.isel(layer=-1, drop=True)


def _weights_move(results: xr.Dataset) -> Effect:
    require_trained(results, "resnet")
    return difference(_spread_change(results, "resnet"), _spread_change(results, "plainnet"))


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


def _reading(effect: Callable[[xr.Dataset, str], Effect], matrix: str) -> Callable[[xr.Dataset], Effect]:
    return lambda results: effect(results, matrix)


READ = {"": "samples by features", "-channels": "samples and places by channels"}


def _conditions(figure: int, suffix: str) -> tuple[Claim, ...]:
    """The claims of a figure about one of the two matrices."""
    matrix, read = MATRICES[suffix], f"representations as {READ[suffix]}, after each addition"
    rows: dict[int, tuple[tuple[str, str, Callable[[xr.Dataset, str], Effect], Region, str, str], ...]] = {
        5: (
            (
                "onset",
                "PlainNet's representations have infinite condition numbers from about layer 80 on with CIFAR-10, "
                f"layer 100 with CIFAR-100 ({read}; first infinite layer over the paper's; within half of it).",
                relative_onset, Region(0.5, 1.5), "of the paper's layer", "about 1 (layer 80 or 100)",
            ),
            (
                "worse-conditioned",
                "In the second half of its layers PlainNet is worse conditioned than ResNet "
                f"({read}; mean log10 condition number, PlainNet minus ResNet, infinite counted as 16).",
                _worse, POSITIVE, "log10", "",
            ),
        ),
        7: (
            (
                "never-infinite",
                "ResNet's representations never have an infinite condition number, where PlainNet's have "
                f"({read}; number of such layers at the end).",
                never_infinite, Region(high=0.5), "layers", "0",
            ),
            (
                "fewer-infinite",
                f"Fewer of ResNet's layers have infinite condition numbers than of PlainNet's ({read}; PlainNet minus "
                "ResNet).",
                fewer_infinite, POSITIVE, "percent of the layers", "",
            ),
            (
                "later-onset",
                f"ResNet's first infinite condition number comes later in depth than PlainNet's, or never ({read}; "
                "ResNet minus PlainNet, none counted as the layer after the last).",
                later_onset, POSITIVE, "layers", "",
            ),
            (
                "high-early-then-falls",
                f"ResNet's condition numbers are high in the early layers and fall ({read}; mean log10 in the first "
                "tenth of the layers minus the second half).",
                _falls, POSITIVE, "log10", "",
            ),
        ),
    }  # fmt: skip
    return tuple(
        _claim(figure, f"{name}{suffix}", ARTICLE, statement, _reading(effect, matrix), region, unit, expected)
        for name, statement, effect, region, unit, expected in rows[figure]
    )


CLAIMS = {
    5: (*_conditions(5, ""), *_conditions(5, "-channels")),
    6: (
        _claim(
            6, "gradients-out-of-balance", OURS.format(6),
            "Before training PlainNet's gradients at the first and the last layer differ by more than ResNet's "
            "(|log10 ratio|, PlainNet minus ResNet).",
            lambda r: difference(abs(imbalance(r, "plainnet")), abs(imbalance(r, "resnet"))), POSITIVE, "log10",
        ),
    ),
    7: (*_conditions(7, ""), *_conditions(7, "-channels")),
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
            _weights_move, POSITIVE, "log10",
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


MEASURED = (
    "The text names neither the matrix nor the layers whose condition numbers it gives. Judged are the last layers of "
    "the blocks, where skips have been added (in post-activation networks rectified, as the next layer reads them). "
    "The paper's matrix is taken to be samples by features (each channel at each place); claims that end in -channels "
    "have samples and places by channels.",
    "Both are measured on 256 training images, in training mode and float64. With fewer samples than features, as "
    "in most layers, the first is singular where samples depend on each other; with more samples it is so earlier.",
    "Infinite is a condition number whose smallest singular value is below the largest times the matrix's longer side "
    "times the machine epsilon of float64. Batch normalisation keeps channels alive, so that the matrix by channels "
    "has not been seen singular in post-activation networks; in pre-activation ones (paper scale) PlainNet's is so by "
    "construction in every block, whose last layer maps few channels linearly to four times as many.",
    "With batch normalisation, as He et al. have it. Without, in 4 epochs at 4 channels, neither network trained.",
)

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
        differs=(*DIFFERS, *MEASURED),
    )
    for number, (network, what) in FIGURES.items()
)
