"""Figures 5 to 8: activations and weights through the depth of PlainNet and ResNet, and their condition numbers.

The networks of tables 1 to 3: PlainNet and ResNet of 164 layers, equal but for the skips. Of every layer the
distribution of activations and weights is kept, and the condition number (largest over smallest singular value) of the
matrix of activations on some images, infinite where it is singular: then what tells samples apart is lost. A run is a
seed. Claims in ``-channels`` take another matrix (see ``MEASURED``).
"""

from __future__ import annotations

from functools import partial

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.experiments.verbs import Declared, average, claim, larger, question
from nonsingular.papers.oyedotun2021.parts import drawings, protocol
from nonsingular.papers.oyedotun2021.parts import representations as r

OURS = ("-channels",)
"""Endings of claims about the other reading of the text, which must not count a claim of it twice."""
RARELY = 50.0
"""Percent of runs: of what never happens Wilson's interval reaches 43 % with the five runs of the paper scale."""
MEASURED = (
    "The text names neither the matrix nor the layers whose condition numbers it gives. Judged are the last layers of "
    "the blocks, where skips have been added (in post-activation networks rectified, as the next layer reads them). "
    "The paper's matrix is taken to be samples by features (each channel at each place); claims that end in -channels "
    "have samples and places by channels, are ours and do not count.",
    "Both are measured on 256 training images, in training mode and float64. With fewer samples than features, as "
    "in most layers, the first is singular where samples depend on each other; with more samples it is so earlier.",
    "Infinite is a condition number whose smallest singular value is below the largest times the matrix's longer side "
    "times the machine epsilon of float64. Batch normalisation keeps channels alive, so that the matrix by channels "
    "has not been seen singular in post-activation networks; in pre-activation ones (paper scale) PlainNet's is so by "
    "construction in every block, whose last layer maps few channels linearly to four times as many.",
    "With batch normalisation, as He et al. have it; oyedotun2021/remedies has networks without. Nothing is said of "
    "representations where the ResNet has not trained.",
    "The article shows figures 6 and 8, of weights, without a word of them; their claims are ours.",
)


def conditions_of_plainnet(suffix: str) -> dict[str, Declared]:
    """Claims of figure 5 about one of the matrices."""
    said = partial(claim, ours=suffix in OURS)
    return {
        f"onset{suffix}": said(
            "PlainNet's representations have infinite condition numbers from about layer 80 on with CIFAR-10, layer "
            "100 with CIFAR-100",
            r.relative_onset(suffix).between(0.5, 1.5),
            expected="about 1 (layer 80 or 100)",
        ),
        f"worse-conditioned{suffix}": said(
            "In the second half of its layers PlainNet is worse conditioned than ResNet",
            r.worse(suffix) > 0,
        ),
    }


def conditions_of_resnet(suffix: str) -> dict[str, Declared]:
    """Claims of figure 7 about one of the matrices."""
    said = partial(claim, ours=suffix in OURS)
    return {
        f"never-infinite{suffix}": said(
            "ResNet's representations never have an infinite condition number, where PlainNet's have",
            r.never_infinite(suffix) < RARELY,
            expected="0 (below 50 %, which five runs can tell)",
        ),
        f"fewer-infinite{suffix}": said(
            "Fewer of ResNet's layers have infinite condition numbers than of PlainNet's",
            r.fewer_infinite(suffix) > 0,
        ),
        f"later-onset{suffix}": said(
            "ResNet's first infinite condition number comes later in depth than PlainNet's, or never",
            r.later_onset(suffix) > 0,
        ),
        f"high-early-then-falls{suffix}": said(
            "ResNet's condition numbers are high in the early layers and fall", r.falls(suffix) > 0
        ),
    }


def figure(number: int, what: str, claims: dict[str, Declared], **draw: object) -> Figure:
    """One of the four: equal but for what is drawn and said."""
    return Figure(
        f"oyedotun2021/fig{number}",
        what,
        source=f"oyedotun2021 (article), discussion, figure {number}",
        sizes=protocol.SIZES,
        study=partial(protocol.study, "cifar10"),
        draw=draw,  # type: ignore[arg-type]
        claims=claims,
        needs=trained(HALFWAY, "resnet"),
        differs=(*protocol.DIFFERS, *MEASURED),
    )


FIGURES = (
    figure(
        5,
        "PlainNet's activations through its depth, and condition numbers",
        {**conditions_of_plainnet(""), **conditions_of_plainnet("-channels")},
        activations=drawings.distribution("activation", "plainnet"),
        conditioning=drawings.conditioning,
    ),
    figure(
        6,
        "PlainNet's weights through its depth",
        {
            "gradients-out-of-balance": question(
                "Before training PlainNet's gradients at the first and the last layer differ by more than ResNet's",
                larger(r.IMBALANCE, "plainnet", "resnet") > 0,
            )
        },
        weights=drawings.distribution("weight", "plainnet"),
    ),
    figure(
        7,
        "ResNet's activations through its depth, and condition numbers",
        {**conditions_of_resnet(""), **conditions_of_resnet("-channels")},
        activations=drawings.distribution("activation", "resnet"),
        conditioning=drawings.conditioning,
    ),
    figure(
        8,
        "ResNet's weights through its depth",
        {
            "gradients-in-balance": question(
                "Before training ResNet's gradients at the first and the last layer are of one order of magnitude",
                average(r.IMBALANCE, "resnet") < 1,
            ),
            "weights-move": question(
                "Training changes the spread of ResNet's weights more than of PlainNet's",
                larger(r.SPREAD_CHANGE, "resnet", "plainnet") > 0,
            ),
        },
        weights=drawings.distribution("weight", "resnet"),
    ),
)
