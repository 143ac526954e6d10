"""Figure 1 (and 5): hidden layers of several widths whose features are copies of fewer (§2.1, appendix E).

A network of one hidden layer is trained on images of digits. Its units start as copies of fewer: of ``32-from-4`` 32
units are eight copies each of 4 unique features (equal incoming weights, outgoing ones of their own); ``+noise`` adds
small noise to the copies, ``+dropout`` drops units while training; ``4-from-4`` is a layer of 4 units without copies.
Forward correlation is the mean cosine of pairs of units' incoming weights: 1 where all are alike. A run is a seed.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from nonsingular.data import DataSpec
from nonsingular.experiments.drawings import OverNumbers
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.experiments.quantities import END, of
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, Measure, average, claim, larger, question, slope
from nonsingular.networks import DropoutSpec, NetworkSpec
from nonsingular.papers.blumenfeld2020.parts.protocol import ACCURACY
from nonsingular.training import Member, TrainingSpec

WIDTHS = (16, 32, 64)
FEATURES = (1, 2, 4, 8, 16, 32)
FEW = (1, 4, 16)
NOISE, DROPOUT = 0.1, 0.1
REPAIRED_WITHIN = 0.5  # percentage points
DROPPED = WIDTHS[-1]
"""The width at which copies are trained with dropout too."""

SMALL = ("digits", "stl10")
"""Data sets with fewer images than the laptop scale takes of MNIST."""


def counts(width: int, features: tuple[int, ...] = FEATURES) -> tuple[int, ...]:
    """Numbers of unique features in a layer of ``width`` units, up to all of them."""
    return (*(f for f in features if f < width), width)


def name(width: int, features: int, noise: float = 0.0, dropout: float = 0.0) -> str:
    """As in ``32-from-4+noise``."""
    return f"{width}-from-{features}" + ("+noise" if noise else "") + ("+dropout" if dropout else "")


def member(width: int, features: int, noise: float = 0.0, dropout: float = 0.0) -> Member:
    """``width`` units, of which ``features`` differ."""
    init = f"replicated:{features}" + (f":{noise}" if noise else "")
    spec = DropoutSpec(1, width, init=init, dropout=dropout) if dropout else NetworkSpec(1, width, init=init)
    return Member(name(width, features, noise, dropout), spec)


def study(size: Size) -> Spec:
    """Copies of fewer features, as they are, with noise, and (the widest) with dropout; and the features alone."""
    source = size.dataset("mnist")
    few = source in SMALL
    features = FEATURES if size.scale == "paper" else FEW
    alone = sorted({f for width in WIDTHS for f in counts(width, features)} - set(WIDTHS))
    return size.spec(
        data=DataSpec(
            source,
            None if few else size.train,
            None if few else size.test,
            scaling="channels",
            size=None if source == "digits" else size.pixels,
        ),
        networks=(
            *(member(width, f) for width in WIDTHS for f in counts(width, features)),
            *(member(width, f, NOISE) for width in WIDTHS for f in counts(width, features)[:-1]),
            *(member(DROPPED, f, dropout=DROPOUT) for f in FEW),
            *(member(f, f) for f in alone),
        ),
        training=TrainingSpec(size.epochs, batch=size.batch, learning_rate=0.1, optimiser="sgd"),
        instruments=("train_accuracy", "test_accuracy", "correlations"),
    )


LIKENESS = of("forward_correlation", epoch=END, layer=1).called("forward correlation after training (cosine)")


def accuracies(width: int) -> OverNumbers:
    """Accuracy, and features' likeness after training, against the unique features at the start."""
    every = {f: name(width, f) for f in counts(width)}
    return OverNumbers(
        ACCURACY,
        LIKENESS,
        series={
            "copies": {n: f for f, n in every.items()},
            "copies+noise": {n if f == width else name(width, f, NOISE): f for f, n in every.items()},
            "copies+dropout": {name(width, f, dropout=DROPOUT): f for f in every if f < width},
            "features alone": {name(f, f): f for f in every},
        },
        label="unique features at the start",
        title=f"One hidden layer of {width} units, copies of fewer features",
        base=2,
    )


def per_doubling(width: int) -> Measure:
    """Slope of the accuracy against log2 of the unique features, over the numbers that were trained."""
    places = {name(width, f): float(np.log2(f)) for f in counts(width)}
    words = f"{ACCURACY.words}: slope over 1 to {width} unique features"
    return slope(ACCURACY, places, "a doubling").called(words)


def claims(width: int) -> dict[str, Declared]:
    """The claims about layers of one width, of which the one with unique features had time to train."""
    fewer = [f for f in FEW if f < width]
    needs = trained(HALFWAY, name(width, width))
    return {
        f"fewer-unique-features-{width}": claim(
            f"Test accuracy falls with fewer unique features among {width} units", per_doubling(width) > 0, needs=needs
        ),
        **{
            # of ours: the text says that they may
            f"replicas-worse-than-none-{width}-from-{f}": question(
                f"{width} units copied from {f} do worse than {f} units alone",
                larger(ACCURACY, name(width, f), name(f, f)) < 0,
                needs=needs,
            )
            for f in fewer
        },
        **{
            f"noise-repairs-{width}-from-{f}": claim(
                f"Small noise repairs it: {width} units copied from {f} with noise come within {REPAIRED_WITHIN:g} "
                f"points of {width} unique features, or beyond",
                larger(ACCURACY, name(width, f, NOISE), name(width, width)) > -REPAIRED_WITHIN,
                needs=needs,
            )
            for f in fewer
        },
        f"noise-helps-{width}": claim(
            f"Noise helps {width} units copied from a single feature",
            larger(ACCURACY, name(width, 1, NOISE), name(width, 1)) > 0,
            needs=needs,
        ),
    }


def diverging(features: int) -> dict[str, Declared]:
    """What makes copies diverge: back-propagation alone, and dropout more."""
    copies, dropped = name(DROPPED, features), name(DROPPED, features, dropout=DROPOUT)
    named = partial(claim, source="blumenfeld2020 appendix E", needs=trained(HALFWAY, copies))
    start = of("forward_correlation", epoch=0, layer=1).called("that at the start")
    return {
        f"backpropagation-parts-{DROPPED}-from-{features}": named(
            f"Back-propagation alone makes {DROPPED} units copied from {features} diverge",
            average(LIKENESS - start, copies) < -0.01,
        ),
        f"dropout-parts-{DROPPED}-from-{features}": named(
            f"Dropout makes {DROPPED} units copied from {features} diverge more", larger(LIKENESS, dropped, copies) < 0
        ),
    }


FIGURE = Figure(
    "blumenfeld2020/fig1",
    "Replicated features on MNIST, with and without noise",
    source="blumenfeld2020 §2.1, figures 1 and 5",
    sizes=Scales(
        runs=(3, 30, 30, 30),
        epochs=(2, 10, 10, 10),
        batch=(100, 100, 80, 80),
        train=(None, 10_000, None, None),
        test=(None, 5_000, None, None),
        pixels=(None, 10, None, None),
    ),  # 10 epochs of MNIST's 60 000 images in steps of 80 are the paper's 7 500 steps
    study=study,
    draw={f"accuracy-{width}": accuracies(width) for width in WIDTHS},
    claims={
        **{name: declared for width in WIDTHS for name, declared in claims(width).items()},
        **{name: declared for f in FEW for name, declared in diverging(f).items()},
    },
    differs=(
        f"The text names neither widths, nor the size of a step, nor those of noise and dropout: "
        f"{', '.join(map(str, WIDTHS))} units, steps of 80 images, noise of {NOISE:g} of the weights' standard "
        f"deviation, and dropout of {DROPOUT:g}, which {DROPPED} units alone are trained with.",
    ),
)
