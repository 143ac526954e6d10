"""What lets a 30-layer network train: architecture, optimiser, start, hyperparameters, one change at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.claims import Claim, Effect, Region, difference, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import classes, diverged, fitted, require_trained
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import NetworkSpec
from nonsingular.plots.depth import changes
from nonsingular.training import Member, TrainingSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH = 30
SCALE = {  # runs, epochs, width, training and test images
    "smoke": (2, 2, 16, 300, 200),
    "laptop": (5, 40, 64, 2_000, 1_000),
    "overnight": (10, 40, 64, None, None),
    "paper": (10, 60, 128, None, None),
}
BASELINE = "baseline"

NETWORK: dict[str, dict[str, dict[str, Any]]] = {
    "architecture": {
        "skips": {"skip": "identity"},
        "batch norm": {"batch_norm": tuple(range(1, DEPTH + 1))},
        "10 layers": {"depth": 10},
        "twice as wide": {"width": 2},  # times the scale's width
        "tanh": {"activation": "tanh"},
    },
    "initialisation": {"He": {"init": "he"}, "orthogonal": {"init": "delta-orthogonal"}},
}
"""Category -> change -> fields of the network that it sets."""

TRAINING: dict[str, dict[str, dict[str, Any]]] = {
    "optimiser": {"momentum": {"momentum": 0.9}, "Adam": {"optimiser": "adam", "learning_rate": 1e-3}},
    "hyperparameters": {
        "rate x 10": {"learning_rate": 0.1},
        "rate / 10": {"learning_rate": 0.001},
        "batch / 4": {"batch": 25},
        "weight decay": {"weight_decay": 5e-4},
    },
}
"""Category -> change -> fields of the training protocol that it sets."""

CATEGORIES = {change: category for table in (NETWORK, TRAINING) for category, rows in table.items() for change in rows}


def specs(scale: str, data: str | None = None) -> Spec:
    """The baseline, 30 plain layers with Glorot-normal weights and gradient descent, and each change of it alone."""
    runs, epochs, width, train, test = at_scale(SCALE, scale)
    name = data or ("digits" if scale == "smoke" else "cifar10")
    if name == "digits" and scale != "smoke":
        train = test = None
    baseline = NetworkSpec(DEPTH, width)
    fields = {BASELINE: {}, **{change: f for rows in NETWORK.values() for change, f in rows.items()}}
    fields |= {change: {} for rows in TRAINING.values() for change in rows}
    wider = {change: {"width": width * f["width"]} for change, f in fields.items() if "width" in f}
    return Spec(
        "li2018/trainability",
        scale,
        runs=runs,
        data=DataSpec(name, train, test, scaling="standardised"),
        networks=tuple(Member(change, replace(baseline, **f)) for change, f in (fields | wider).items()),
        training=TrainingSpec(epochs, batch=100, learning_rate=0.01, optimiser="sgd"),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy")),
        settings={"training": {change: f for rows in TRAINING.values() for change, f in rows.items()}},
    )


def _lets_train(change: str) -> Callable[[xr.Dataset], Effect]:
    def effect(results: xr.Dataset) -> Effect:
        a, b = (fitted(results, name) for name in (change, BASELINE))
        _require_time(results)
        least = _least(results)
        reached = f"reached {a.mean():.0f} against {b.mean():.0f}"
        lost = diverged(results, change, BASELINE)
        return difference(a, b, note=f"{reached}; {lost}" if lost else reached, within=(least - 100, 100 - least))

    return effect


def _baseline(results: xr.Dataset) -> Effect:
    way = fitted(results, BASELINE)
    _require_time(results)
    return mean(way, note=diverged(results, BASELINE), within=(_least(results), 100))


def _require_time(results: xr.Dataset) -> None:
    """Refuse to say what lets a network train where nothing came half of the way: there was no time."""
    require_trained(results, *(name for name in (BASELINE, *CATEGORIES) if name in results.network.values))


def _least(results: xr.Dataset) -> float:
    """The percent of the way at which no image is right: as far below chance as can be."""
    return -100 / (classes(results) - 1)


WAY = "training accuracy at the end, on the way from chance = 0 to no error = 100"
UNIT = "percent of the way"
SOURCE = "Li et al. 2018 (slides), trainability depends on model choices"
MARGIN = 10.0
CLAIMS = (
    Claim(
        "li2018/trainability/baseline",
        SOURCE,
        f"Without any of the changes a plain network of {DEPTH} layers does not train ({WAY}: less than {MARGIN:g}).",
        _baseline,
        Region(high=MARGIN),
        UNIT,
        ours=True,
    ),
    *(
        Claim(
            f"li2018/trainability/{change.replace(' ', '-').replace('/', 'over')}",
            SOURCE,
            f"Trainability depends on the {category}: {change} alone gains more than {MARGIN:g} ({WAY}).",
            _lets_train(change),
            Region(low=MARGIN),
            UNIT,
            ours=True,
        )
        for change, category in CATEGORIES.items()
    ),
)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """The table as a picture."""
    return {
        "changes": changes(results, CATEGORIES, BASELINE, f"One change at a time on a plain network of {DEPTH} layers")
    }


EXPERIMENTS = (
    Experiment(
        "li2018/trainability",
        "What lets a 30-layer network train: one change at a time",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            "The slides name the four kinds of choices; which changes stand for each, and the baseline, are ours: none "
            "of these claims counts as the paper's.",
        ),
    ),
)
