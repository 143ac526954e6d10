"""Tables 1 to 3: training and test accuracy of PlainNet, ResNet and ResNeXt of one depth.

Three networks of 164 layers are trained: PlainNet (no skips), ResNet (summed skips) and ResNeXt (the same with grouped
convolutions); a table is a data set. A run is a seed. ``reached`` is how far accuracy came from guessing (0) to no
error (100), so that data sets of 10 and of 100 classes are judged alike; half of the way counts as trained.
"""

from __future__ import annotations

from functools import partial

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.experiments.quantities import reached
from nonsingular.experiments.verbs import claim, fails_to_train, larger, trains
from nonsingular.papers.oyedotun2021.parts import drawings, protocol

DATA = {1: ("mnist", "MNIST"), 2: ("cifar10", "CIFAR-10"), 3: ("cifar100-fine", "CIFAR-100")}


def table(number: int) -> Figure:
    """One of the three tables: equal but for the data."""
    data, called = DATA[number]
    return Figure(
        f"oyedotun2021/table{number}",
        f"PlainNet, ResNet and ResNeXt of one depth on {called}",
        source=f"oyedotun2021 (article), experimental results, table {number}",
        sizes=protocol.SIZES,
        study=partial(protocol.study, data),
        draw={
            "accuracy": Curves("train_accuracy", "test_accuracy", title="PlainNet, ResNet and ResNeXt"),
            f"table{number}": drawings.accuracies,
        },
        claims={
            "plainnet-does-not-fit": claim(
                "PlainNet does not fit even its training set",
                fails_to_train("plainnet"),
                needs=trained(HALFWAY, "resnet", "resnext"),
            ),
            "resnet-trains": claim("ResNet of the same depth trains", trains("resnet")),
            "resnext-trains": claim("ResNeXt of the same depth trains", trains("resnext")),
            **{
                f"{called.lower()}-generalises": claim(
                    f"PlainNet classifies new images worse than {called}",
                    larger(reached("test"), called.lower(), "plainnet") > 0,
                    needs=trained(),
                )
                for called in ("ResNet", "ResNeXt")
            },
        },
        differs=protocol.DIFFERS,
    )


TABLES = tuple(table(number) for number in DATA)
