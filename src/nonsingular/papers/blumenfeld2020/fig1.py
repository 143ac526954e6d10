"""Figure 1 (and 5): hidden layers of several widths whose features are copies of fewer (§2.1, appendix E)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region
from nonsingular.experiments.effects import slope
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import NetworkSpec
from nonsingular.papers.blumenfeld2020.protocol import POINTS, Measure, accuracy, better, claim, when_trained
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.training import Member, TrainingSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS = (16, 32, 64)
FEATURES = (1, 2, 4, 8, 16, 32)
FEW = (1, 4, 16)

_SCALES = {
    "smoke": ("digits", 3, 2, 100, FEW, None, None, None),
    "laptop": ("mnist", 30, 10, 100, FEW, 10_000, 5_000, 10),
    "overnight": ("mnist", 30, 10, 80, FEW, None, None, None),
    "paper": ("mnist", 30, 10, 80, FEATURES, None, None, None),
}
"""Scale -> data, seeds, epochs, images a step, unique features beside all of them, images and their size.

At the paper's scale 10 epochs of MNIST's 60 000 images in steps of 80 are its 7 500 steps.
"""

SMALL = ("digits", "stl10")
"""Data sets with fewer images than the laptop scale takes of MNIST."""

NOISE = 0.1
LITTLE = 0.5  # percentage points


def counts(width: int, features: tuple[int, ...] = FEATURES) -> tuple[int, ...]:
    """Numbers of unique features in a layer of ``width`` units, up to all of them."""
    return (*(f for f in features if f < width), width)


def member(width: int, features: int, noise: float = 0.0) -> Member:
    """``width`` units, of which ``features`` differ."""
    init = f"replicated:{features}" + (f":{noise}" if noise else "")
    return Member(name(width, features, noise), NetworkSpec(1, width, init=init))


def name(width: int, features: int, noise: float = 0.0) -> str:
    """As in ``32-from-4+noise``."""
    return f"{width}-from-{features}" + ("+noise" if noise else "")


def specs(scale: str, data: str | None = None) -> Spec:
    """Copies of fewer features in layers of every width, with and without noise, and layers of the features alone."""
    images, runs, epochs, batch, features, train, test, size = at_scale(_SCALES, scale)
    source = data or images
    if source in SMALL:
        train, test = None, None
    if source == "digits":
        size = None
    alone = sorted({f for width in WIDTHS for f in counts(width, features)} - set(WIDTHS))
    return Spec(
        "blumenfeld2020/fig1",
        scale,
        runs=runs,
        data=DataSpec(source, train, test, scaling="channels", size=size),
        networks=(
            *(member(width, f) for width in WIDTHS for f in counts(width, features)),
            *(member(width, f, NOISE) for width in WIDTHS for f in counts(width, features)[:-1]),
            *(member(f, f) for f in alone),
        ),
        training=TrainingSpec(epochs, batch=batch, learning_rate=0.1, optimiser="sgd"),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "correlations")),
    )


def series(width: int, features: tuple[int, ...]) -> dict[str, list[str]]:
    """Curve -> its networks, one for each number of unique features; a full layer needs no noise and stands alone."""
    full = name(width, width)
    return {
        "copies": [name(width, f) for f in features],
        "copies+noise": [full if f == width else name(width, f, NOISE) for f in features],
        "features alone": [name(f, f) for f in features],
    }


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """By width: accuracy, and features' likeness after training, against the unique features at the start."""
    return {f"accuracy-{width}": _figure(results, width) for width in WIDTHS if _found(results, width)}


def _found(results: xr.Dataset, width: int) -> tuple[int, ...]:
    """Numbers of unique features that the results have for a width."""
    return tuple(f for f in counts(width) if name(width, f) in results.network)


def _figure(results: xr.Dataset, width: int) -> Figure:
    features = _found(results, width)

    def curves(values: xr.DataArray) -> xr.DataArray:
        curve = series(width, features)
        rows = [
            values.reindex(network=networks).rename(network="features").assign_coords(features=list(features))
            for networks in curve.values()
        ]
        return xr.concat(rows, "network").assign_coords(network=list(curve))

    scans = [
        Scan(curves(100 * results.test_accuracy.isel(epoch=-1)), "test accuracy (%)"),
        Scan(
            curves(results.forward_correlation.isel(epoch=-1, layer=0)), "forward correlation after training (cosine)"
        ),
    ]
    title = f"One hidden layer of {width} units, copies of fewer features"
    return over_numbers(scans, "features", "unique features at the start", title, base=2, attributes=results.attrs)


def _slope(width: int) -> Measure:
    def effect(results: xr.Dataset) -> Effect:
        places = {name(width, f): float(np.log2(f)) for f in _found(results, width)}
        if len(places) < 3:
            raise NotMeasured(f"fewer than three numbers of unique features among {width} units")
        return slope(results, places, accuracy)

    return effect


def _claim(
    id: str, width: int, statement: str, effect: Measure, region: Region, unit: str = POINTS, ours: bool = False
) -> Claim:
    """A claim about layers of one width, of networks of which the one with unique features had time to train."""
    guarded = when_trained(effect, name(width, width))
    return claim("fig1", id, "§2.1, figures 1 and 5", statement, guarded, region, unit, ours)


def _better(first: str, second: str) -> Measure:
    return lambda results: better(results, first, second)


def _claims(width: int) -> tuple[Claim, ...]:
    fewer = [f for f in FEW if f < width]
    return (
        _claim(
            f"fewer-unique-features-{width}",
            width,
            f"Test accuracy falls with fewer unique features among {width} units (slope over 1 to {width}).",
            _slope(width),
            POSITIVE,
            "percentage points a doubling",
        ),
        *(
            _claim(
                f"replicas-worse-than-none-{width}-from-{f}",
                width,
                f"{width} units copied from {f} do worse than {f} units alone (with copies minus without).",
                _better(name(width, f), name(f, f)),
                NEGATIVE,
                ours=True,  # the text says that they may
            )
            for f in fewer
        ),
        *(
            _claim(
                f"noise-repairs-{width}-from-{f}",
                width,
                f"Small noise repairs it: {width} copies of {f} with noise come within {LITTLE:g} points of {width} "
                "unique features.",
                _better(name(width, f, NOISE), name(width, width)),
                Region(low=-LITTLE),
            )
            for f in fewer
        ),
        _claim(
            f"noise-helps-{width}",
            width,
            f"Noise helps {width} copies of a single feature (with noise minus without).",
            _better(name(width, 1, NOISE), name(width, 1)),
            POSITIVE,
        ),
    )


CLAIMS = tuple(c for width in WIDTHS for c in _claims(width))

EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/fig1",
        "Replicated features on MNIST, with and without noise",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            "The text names neither widths, nor the size of a step, nor that of the noise: "
            f"{', '.join(map(str, WIDTHS))} units, steps of 80 images and noise of {NOISE:g} of the weights' "
            "standard deviation.",
        ),
    ),
)
