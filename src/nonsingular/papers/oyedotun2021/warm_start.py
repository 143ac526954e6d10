"""VGG-13 and VGG-16 from scratch, and started from a trained VGG-11.

VGG-11, -13 and -16 are trained without batch normalisation, each from its own random start; then ``vgg-13-warm`` and
``vgg-16-warm``, whose first convolutions of every stage and last layers are taken from the trained VGG-11 of the same
seed (the donor). A run is a seed.
"""

from __future__ import annotations

from dataclasses import replace

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import all_of, given, trained
from nonsingular.experiments.quantities import reached
from nonsingular.experiments.run import rates
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, Needs, claim, fails_to_train, larger, trains
from nonsingular.networks import VGGSpec
from nonsingular.papers.oyedotun2021.parts import protocol
from nonsingular.papers.oyedotun2021.parts.donors import DONOR, WARM, run
from nonsingular.training import Member, TrainingSpec

COLD = {DONOR: 11, "vgg-13": 13, "vgg-16": 16}

TRIED = (0.003, 0.01, 0.03, 0.1)
"""Learning rates of which the donor's is taken."""
SEARCHED = {"laptop": 30, "overnight": 3}
"""Epochs that each is tried for."""


def study(size: Size) -> Spec:
    """VGG-11, -13 and -16 without batch normalisation, as in their paper, trained by gradient descent with momentum."""
    images = protocol.images(size)
    images = replace(images, train=size.train, test=size.test, size=8 if images.name == "digits" else size.pixels)
    augment = "crop+mirror" if size.scale in ("overnight", "paper") else "none"
    return size.spec(
        data=images,
        networks=(
            Member(n, VGGSpec(layers, size.width, size.hidden, init="he")) for n, layers in (COLD | WARM).items()
        ),
        training=TrainingSpec(size.epochs, size.batch, 0.01, "sgd", 0.9, weight_decay=5e-4, augment=augment),
        instruments=("train_accuracy", "test_accuracy"),
        settings={"rates": {"tried": list(size.rates), "epochs": SEARCHED[size.scale]}} if size.rates else {},
    )


DONATED = trained(HALFWAY, DONOR)
"""Nothing is said of a warm start, nor of what it should mend, where the donor itself did not train."""


def lost(network: str) -> Needs:
    """That a network has not trained from scratch: there is nothing to rescue of one that has."""
    return given(fails_to_train(network), f"{network} trains from scratch here: nothing is to be rescued")


def rescued(layers: int) -> dict[str, Declared]:
    """The claims about networks of one depth."""
    cold, warm = f"vgg-{layers}", f"vgg-{layers}-warm"
    return {
        f"{cold}-fails": claim(f"VGG-{layers} does not train from scratch", fails_to_train(cold), needs=DONATED),
        f"{cold}-rescued": claim(
            f"VGG-{layers} trains when it starts from a trained VGG-11",
            larger(reached(), warm, cold) > 0,
            needs=all_of(DONATED, lost(cold)),
        ),
        f"{cold}-warm-trains": claim(
            f"Started from a trained VGG-11, VGG-{layers} trains", trains(warm), needs=DONATED
        ),
    }


FIGURE = Figure(
    "oyedotun2021/vgg-warm-start",
    "VGG-13 and VGG-16 started from a trained VGG-11",
    source="oyedotun2021 (article), introduction",
    sizes=Scales(
        runs=(2, 3, 3, 5),
        epochs=(2, 100, 10, 100),
        width=(4, 16, 16, 64),
        hidden=(16, 64, 64, 512),
        train=(200, 1000, None, None),
        test=(100, 500, None, None),
        pixels=(8, 8, 16, None),
        batch=(50, 50, 128, 128),
        rates=((), TRIED, TRIED, ()),
    ),
    study=study,
    run=run,
    draw={
        "accuracy": Curves(
            "train_accuracy", "test_accuracy", title="VGG networks from scratch and from a trained VGG-11"
        )
    },
    claims={
        "vgg-11-trains": claim("VGG-11 trains from scratch", trains(DONOR)),
        **rescued(13),
        **rescued(16),
    },
    differs=(
        "Weights start He-normal; the text names none. From Glorot-normal ones VGG-11, which should train, stays at "
        "guessing itself (16 channels, momentum: 1 560 steps at rate 0.1, 930 at 0.5, on 20 000 images of 16 x 16 "
        "pixels; 2 000 at 0.01 on 1 000 of 8 x 8). He's starts were found after VGG, and were made for such depths.",
        "At laptop and overnight scale all networks train at one rate, that of those tried with which a VGG-11 of a "
        "seed apart has the lowest training loss; at paper scale it is 0.01.",
        "The text has the first 11 layers of VGG-13 start from VGG-11. Counted from the input they would not fit: "
        "stages differ in length. Layers are taken over stage by stage: in each the first convolutions, as many as "
        "VGG-11 has there, and the three linear layers; what a stage has more of starts anew.",
        "A warm start trains as many epochs as a start from scratch, after those of its donor. Nothing is said of a "
        "rescue where the network trains from scratch.",
    ),
    labels=rates.LABELS,
)
