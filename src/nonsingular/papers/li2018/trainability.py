"""What lets a 30-layer network train: architecture, optimiser, start, hyperparameters, one change at a time.

Plain fully-connected networks of 30 hidden layers are trained with gradient descent: the ``baseline``, and each
network that differs from it in one thing (a skip, a normalisation, fewer layers, another optimiser, start, rate, ...).
What a change gains is how much further, in percent of the way from guessing to no error, it comes than the baseline. A
run is a seed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.drawings import Picture
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import classes
from nonsingular.experiments.needs import all_of, trained
from nonsingular.experiments.quantities import reached
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, average, claim, larger, largest_of, question, weighted_sum
from nonsingular.networks import NetworkSpec
from nonsingular.plots.depth import changes
from nonsingular.training import Member, TrainingSpec

DEPTH = 30
BASELINE = "baseline"
SKIPS = "skips"
SKIPS_HE = "skips, He"
"""Not of the table: what a better start gains where there are skips."""

NETWORK: dict[str, dict[str, dict[str, Any]]] = {
    "architecture": {
        SKIPS: {"skip": "identity"},
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


def study(size: Size) -> Spec:
    """The baseline, 30 plain layers with Glorot-normal weights and gradient descent, and each change of it alone."""
    name, own = size.dataset("cifar10"), {change: f for rows in TRAINING.values() for change, f in rows.items()}
    train, test = (None, None) if name == "digits" and size.scale != "smoke" else size.images
    baseline = NetworkSpec(DEPTH, size.width)
    fields = {BASELINE: {}, **{change: f for rows in NETWORK.values() for change, f in rows.items()}}
    fields |= {**{change: {} for change in own}, SKIPS_HE: {"skip": "identity", "init": "he"}}
    fields |= {change: {"width": size.width * f["width"]} for change, f in fields.items() if "width" in f}
    return size.spec(
        data=DataSpec(name, train, test, scaling="standardised"),
        networks={Member(change, replace(baseline, **f)): own.get(change, {}) for change, f in fields.items()},
        training=TrainingSpec(size.epochs, batch=100, learning_rate=0.01, optimiser="sgd"),
        instruments=("train_accuracy", "test_accuracy"),
    )


def draw(results: xr.Dataset) -> Picture:
    """The table as a picture."""
    title = f"One change at a time on a plain network of {DEPTH} layers"
    return changes(results, CATEGORIES | {SKIPS_HE: "two changes"}, BASELINE, title, 100 / classes(results))


MARGIN = 10.0
CHOICES = {
    "architecture": "network architecture",
    "optimiser": "optimizer",
    "initialisation": "initialization",
    "hyperparameters": "hyperparameter choices",
}
"""What the slides call them."""


def gains(change: str) -> Measure:
    """What one change alone gains."""
    return larger(reached(), change, BASELINE)


FIGURE = Figure(
    "li2018/trainability",
    "What lets a 30-layer network train: one change at a time",
    source="li2018 slides, trainability depends on model choices",
    sizes=Scales(
        runs=(2, 5, 10, 10),
        epochs=(2, 40, 40, 60),
        width=(16, 64, 64, 128),
        images=((300, 200), (2_000, 1_000), (None, None), (None, None)),
    ),
    study=study,
    draw={"changes": draw},
    needs=trained(),
    claims={
        **{
            f"depends-on-{category}": claim(
                f"Trainability depends on the {words}",
                largest_of({change: gains(change) for change, c in CATEGORIES.items() if c == category}) > MARGIN,
            )
            for category, words in CHOICES.items()
        },
        "fragments-need-a-good-start": claim(
            "Fragmentation, which comes with removing skip connections, requires a good initialization: a better start "
            "gains more without them",
            weighted_sum(reached(), {"He": 1, BASELINE: -1, SKIPS_HE: -1, SKIPS: 1}) > 0,
            source="li2018 slides, the effect of depth",
            needs=all_of(trained(50.0, SKIPS), trained(50.0, SKIPS_HE)),
        ),
        "baseline": question(
            f"Without any of the changes a plain network of {DEPTH} layers does not train",
            average(reached(), BASELINE) < MARGIN,
            needs=trained(50.0, *CATEGORIES),
        ),
        **{
            change.replace(" ", "-").replace("/", "over"): question(
                f"Trainability depends on the {category}: a change to {change} alone gains more than {MARGIN:g} % of "
                "the way",
                gains(change) > MARGIN,
                needs=trained(50.0, BASELINE, *CATEGORIES),
            )
            for change, category in CATEGORIES.items()
        },
    },
    differs=(
        "The slides name four kinds of choices. Which changes stand for each, what counts as a gain (10 % of the way "
        "from guessing to no error) and the baseline are ours: a kind of choice matters if the best of its changes "
        "gains, and the claims of single changes are ours and outside the paper's score.",
        "A good initialization is He's here and a poor one Glorot's, with rectified units and no batch normalisation; "
        "what it gains with skips is told where both networks with skips trained.",
    ),
)
