"""Condition numbers of hidden representations, and how weights change: what figures 5 to 8 compare.

The article says that PlainNet's representations have infinite condition numbers from about the 80th layer on with
CIFAR-10 (the 100th with CIFAR-100), ResNet's never. It does not say which matrix a representation is, nor of which
layers. Two are judged (``MATRICES``), at the layers that end a block, where what the skip brings has been added
(benchmarks/README.md has what was measured of them):

- samples by features, one feature a channel at a place: the matrix that a layer maps to the next one's, which is what
  the article's linear algebra is about; claims without a suffix;
- samples and places by channels, the units of a convolution: claims that end in ``-channels``.

Nothing is judged where the ResNet has not trained. That its condition numbers are never infinite tells nothing of
skips where PlainNet's are not either, and is not judged there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, difference, mean
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.quantities import Quantity
from nonsingular.experiments.run.instruments.representations import WEIGHT_QUANTILES
from nonsingular.experiments.verbs import Measure
from nonsingular.intervals import wilson
from nonsingular.networks.residual import LAYERS_A_BLOCK
from nonsingular.words import counted, percentage

NETWORKS = ("plainnet", "resnet")
MATRICES = {"": "sample_condition_number", "-channels": "streamed_condition_number"}
"""Suffix of claims -> variable."""
READ = {"": "samples by features", "-channels": "samples and places by channels"}
AFTER_ADDITION = slice(None, None, LAYERS_A_BLOCK["bottleneck"])
"""The first layer, and the last one of every block."""
ONSET = {"cifar100": 100, "cifar100-fine": 100}
"""The paper's layer; ``DEFAULT_ONSET`` with CIFAR-10."""
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
    """Condition numbers by run and layer after an addition, infinite where the rank is deficient."""
    return last_look(results, matrix, network).dropna("run", how="all").isel(layer=AFTER_ADDITION)


def infinite(results: xr.Dataset, network: str, matrix: str) -> xr.DataArray:
    """Whether condition numbers are infinite, by run and layer after an addition."""
    return xr.apply_ufunc(np.isinf, condition(results, network, matrix))


def first_infinite(infinite: xr.DataArray) -> np.ndarray:
    """Of each run the first layer with an infinite condition number; where there is none, the layer after the last."""
    layers = infinite.layer.values
    rows = infinite.transpose("run", "layer").values
    return np.where(rows.any(axis=1), layers[rows.argmax(axis=1)], layers[-1] + 1)


def onset(results: xr.Dataset, network: str, matrix: str) -> Effect:
    """The first layer with an infinite condition number.

    A run without one counts as the layer after the last, so that the mean is a lower bound; infinite if no run has one.
    """
    where = infinite(results, network, matrix)
    first, last = first_infinite(where), int(where.layer[-1])
    found = first <= last
    after = [float(row.where(row.layer > f).mean()) for row, f in zip(where, first, strict=True) if f < last]
    later = f"; of the layers after it {percentage(float(np.mean(after)))} are infinite too" if after else ""
    note = f"{int(found.sum())} of {counted(len(first), 'run')} with one{later}"
    if not found.any():
        return Effect(math.inf, math.inf, math.inf, len(first), note)
    return mean(first, note=note, within=(1, last + 1))


def of_matrix(words: str, unit: str) -> Callable[[Callable[[xr.Dataset, str], Effect]], Callable[[str], Measure]]:
    """Makes a verb of an effect of condition numbers after each addition; it takes the suffix of a matrix."""

    def verb(effect: Callable[[xr.Dataset, str], Effect]) -> Callable[[str], Measure]:
        def of(suffix: str) -> Measure:
            said = f"representations as {READ[suffix]}, after each addition; {words}"
            return Measure(lambda results: effect(results, MATRICES[suffix]), said, unit, NETWORKS)

        return of

    return verb


@of_matrix("first layer with an infinite condition number over the paper's", "of the paper's layer")
def relative_onset(results: xr.Dataset, matrix: str) -> Effect:
    """The onset over the paper's."""
    found, expected = onset(results, "plainnet", matrix), ONSET.get(results.attrs.get("data", ""), DEFAULT_ONSET)
    where = f"layer {found.value:.0f} [{found.low:.0f} to {found.high:.0f}]" if found.value < math.inf else "none"
    note = f"{where}, paper about {expected}; {found.note}"
    return Effect(found.value / expected, found.low / expected, found.high / expected, found.runs, note)


@of_matrix("share of runs in which any of ResNet's layers has an infinite condition number at the end", "% of the runs")
def never_infinite(results: xr.Dataset, matrix: str) -> Effect:
    """In how many runs the ResNet has a layer with an infinite condition number, with Wilson's interval.

    Not how many layers: of those, runs without any say little, since another might have all of them.

    Raises:
        NotMeasured: none has, but no PlainNet either.
    """
    plain, residual = (infinite(results, name, matrix).any("layer").values for name in NETWORKS)
    if not residual.any() and not plain.any():
        raise NotMeasured("PlainNet has no infinite condition number either, which tells nothing of skips")
    low, high = (100 * end for end in wilson(int(residual.sum()), residual.size))
    note = f"ResNet in {residual.sum()} of {counted(residual.size, 'run')}, PlainNet in {plain.sum()}"
    return Effect(100 * float(residual.mean()), low, high, residual.size, note)


@of_matrix("share of layers with an infinite condition number, PlainNet minus ResNet", "percent of the layers")
def fewer_infinite(results: xr.Dataset, matrix: str) -> Effect:
    """How many more layers of the PlainNet have an infinite one, in percent of the layers after an addition."""
    plain, residual = (100 * infinite(results, name, matrix).mean("layer") for name in NETWORKS)
    note = f"PlainNet {float(plain.mean()):.3g}, ResNet {float(residual.mean()):.3g} % of the layers"
    return difference(plain, residual, note=note, within=(-100, 100))


@of_matrix(
    "first layer with an infinite condition number, ResNet minus PlainNet, none counted as the layer after the last",
    "layers",
)
def later_onset(results: xr.Dataset, matrix: str) -> Effect:
    """The ResNet's first layer with one minus the PlainNet's; where there is none, the layer after the last counts."""
    plain, residual = (infinite(results, name, matrix) for name in NETWORKS)
    last = int(residual.layer[-1])
    return difference(first_infinite(residual), first_infinite(plain), within=(-last, last))


CEILING = 16.0


def _log(values: xr.DataArray) -> xr.DataArray:
    """log10, with infinite as 10^16, beyond all that float64 tells from it."""
    return xr.apply_ufunc(lambda x: np.minimum(np.log10(x), CEILING), values)


@of_matrix(
    "ResNet's mean log10 condition number in the first tenth of the layers minus that in the second half, infinite "
    "counted as 16",
    "log10",
)
def falls(results: xr.Dataset, matrix: str) -> Effect:
    """Mean log10 of ResNet's condition numbers in the first tenth of the layers minus that in the second half."""
    log = _log(condition(results, "resnet", matrix))
    tenth, half = max(1, log.sizes["layer"] // 10), log.sizes["layer"] // 2
    change = log.isel(layer=slice(0, tenth)).mean("layer") - log.isel(layer=slice(half, None)).mean("layer")
    return mean(change, within=(-CEILING, CEILING))


@of_matrix(
    "mean log10 condition number in the second half of the layers, PlainNet minus ResNet, infinite counted as 16",
    "log10",
)
def worse(results: xr.Dataset, matrix: str) -> Effect:
    """Mean log10 of the condition numbers in the second half of the layers: PlainNet minus ResNet."""
    logs = [_log(condition(results, name, matrix)) for name in NETWORKS]
    halves = [log.isel(layer=slice(log.sizes["layer"] // 2, None)).mean("layer") for log in logs]
    return difference(*halves, within=(-CEILING, CEILING))


def imbalance(results: xr.Dataset, network: str) -> xr.DataArray:
    """log10 of the gradient norm at the first over that at the last layer, before training, by run."""
    norms = per_run(results, "streamed_gradient_norm", network).sel(epoch=0).dropna("layer", how="all")
    log = xr.apply_ufunc(np.log10, norms.where(norms > 0))
    return log.isel(layer=0, drop=True) - log.isel(layer=-1, drop=True)


IMBALANCE = Quantity(
    lambda results, network: abs(imbalance(results, network)),
    "|log10 of the gradient norm at the first over that at the last layer| before training",
    "log10",
    (0, math.inf),
    before=True,
)


def _spread_change(results: xr.Dataset, network: str) -> xr.DataArray:
    low, high = WEIGHT_QUANTILES[0], WEIGHT_QUANTILES[-1]
    end = last_look(results, high, network) - last_look(results, low, network)
    start = per_run(results, high, network).sel(epoch=0) - per_run(results, low, network).sel(epoch=0)
    return abs(xr.apply_ufunc(np.log10, end / start)).mean("layer")


SPREAD_CHANGE = Quantity(
    _spread_change,
    "mean over layers of |log10 of the change of the weights' spread, 5 to 95 %|",
    "log10",
    (0, math.inf),
)
