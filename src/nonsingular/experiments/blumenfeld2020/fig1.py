"""Figure 1 (and 5): one hidden layer on MNIST whose features are copies of fewer and fewer (§2.1, appendix E)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.blumenfeld2020.protocol import POINTS, Measure, accuracy, claim
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference
from nonsingular.experiments.effects import slope
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.experiments.study import run_study
from nonsingular.networks import NetworkSpec
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.training import Member, TrainingSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCALES = {
    "smoke": ("digits", 3, 2, None, None, None),
    "laptop": ("mnist", 30, 10, 10_000, 5_000, 10),
    "paper": ("mnist", 30, 75, 10_000, None, None),
}
"""Scale -> data, seeds, epochs of 100 steps of 100 images (7 500 steps in the paper), images and their size."""

WIDTH = 32
FEATURES = (1, 2, 4, 8, 16, 32)
NOISE = 0.1
LITTLE = 0.5  # percentage points


def member(width: int, features: int, noise: float = 0.0) -> Member:
    """``width`` units, of which ``features`` differ."""
    init = f"replicated:{features}" + (f":{noise}" if noise else "")
    return Member(name(width, features, noise), NetworkSpec(1, width, init=init))


def name(width: int, features: int, noise: float = 0.0) -> str:
    """As in ``32-from-4+noise``."""
    return f"{width}-from-{features}" + ("+noise" if noise else "")


def specs(scale: str, data: str | None = None) -> Spec:
    """Copies of 1 to 32 features in a layer of 32, with and without noise, and layers of the features alone."""
    images, runs, epochs, train, test, size = at_scale(_SCALES, scale)
    source = data or images
    if source == "digits":
        train, test, size = None, None, None
    return Spec(
        "blumenfeld2020/fig1",
        scale,
        runs=runs,
        data=DataSpec(source, train, test, scaling="channels", size=size),
        networks=(
            *(member(WIDTH, f) for f in FEATURES),
            *(member(WIDTH, f, NOISE) for f in FEATURES),
            *(member(f, f) for f in FEATURES[:-1]),
        ),
        training=TrainingSpec(epochs, batch=100, learning_rate=0.1, optimiser="sgd"),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "correlations")),
    )


SERIES = {
    "copies": [name(WIDTH, f) for f in FEATURES],
    "copies+noise": [name(WIDTH, f, NOISE) for f in FEATURES],
    "features alone": [*(name(f, f) for f in FEATURES[:-1]), name(WIDTH, WIDTH)],
}


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy, and distinct features left after training, against the number of unique features at the start."""

    def curves(values: xr.DataArray) -> xr.DataArray:
        rows = [
            values.sel(network=networks).rename(network="features").assign_coords(features=list(FEATURES))
            for networks in SERIES.values()
        ]
        return xr.concat(rows, "network").assign_coords(network=list(SERIES))

    scans = [
        Scan(curves(100 * results.test_accuracy.isel(epoch=-1)), "test accuracy (%)"),
        Scan(
            curves(results.forward_correlation.isel(epoch=-1, layer=0)), "forward correlation after training (cosine)"
        ),
    ]
    title = f"One hidden layer of {WIDTH} units, copies of fewer features"
    return {
        "accuracy": over_numbers(
            scans, "features", "unique features at the start", title, base=2, attributes=results.attrs
        )
    }


def _better(first: str, second: str) -> Measure:
    def effect(results: xr.Dataset) -> Effect:
        a, b = accuracy(results, first), accuracy(results, second)
        return difference(a, b, note=f"{float(a.mean()):.2f} % against {float(b.mean()):.2f} %")

    return effect


def _claim(id: str, statement: str, effect: Measure, region: Region, unit: str = POINTS) -> Claim:
    return claim("fig1", id, "§2.1, figures 1 and 5", statement, effect, region, unit)


DOUBLINGS = {name(WIDTH, f): float(np.log2(f)) for f in FEATURES}
CLAIMS = (
    _claim(
        "fewer-unique-features",
        f"Test accuracy falls with fewer unique features among {WIDTH} units (slope over 1 to {WIDTH}).",
        lambda r: slope(r, DOUBLINGS, accuracy),
        POSITIVE,
        "percentage points a doubling",
    ),
    *(
        _claim(
            f"replicas-worse-than-none-{f}",
            f"{WIDTH} units copied from {f} do worse than {f} units alone (with copies minus without).",
            _better(name(WIDTH, f), name(f, f)),
            NEGATIVE,
        )
        for f in (1, 4, 16)
    ),
    *(
        _claim(
            f"noise-repairs-{f}",
            f"Small noise repairs it: copies of {f} with noise come within {LITTLE:g} points of {WIDTH} unique "
            "features.",
            _better(name(WIDTH, f, NOISE), name(WIDTH, WIDTH)),
            Region(low=-LITTLE),
        )
        for f in (1, 4, 16)
    ),
    _claim(
        "noise-helps",
        "Noise helps copies of a single feature (with noise minus without).",
        _better(name(WIDTH, 1, NOISE), name(WIDTH, 1)),
        POSITIVE,
    ),
)

EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/fig1",
        "Replicated features on MNIST, with and without noise",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            f"The text names neither widths nor the size of the noise: {WIDTH} units, and noise of {NOISE:g} of the "
            "weights' standard deviation. The readout starts from Glorot-normal weights of its own, one a copy.",
        ),
    ),
)
