"""Where each named data set comes from, and its columns there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nonsingular.errors import InputError


@dataclass(frozen=True)
class Source:
    """A data set on the Hugging Face hub, or local Parquet files with the same columns.

    Attributes:
        folder: name of its folder of Parquet files.
        hub: repository on the hub.
        image: column of the images.
        label: column of the labels.
        classes: number of labels.
        inside: folder of the Parquet files inside the repository on the hub.
        config: configuration on the hub, where it has several.
    """

    folder: str
    hub: str
    image: str
    label: str
    classes: int
    inside: str
    config: str | None = None

    def download(self, into: str | Path) -> str:
        """The command that gets the files; ``t*`` are train and test, without unlabelled or extra images."""
        return f"hf download {self.hub} --repo-type dataset --include '{self.inside}/t*' --local-dir {into}"


SOURCES: dict[str, Source | None] = {
    "digits": None,  # scikit-learn's, bundled
    "mnist": Source("mnist", "ylecun/mnist", "image", "label", 10, "mnist"),
    "cifar10": Source("cifar10", "uoft-cs/cifar10", "img", "label", 10, "plain_text"),
    "cifar100": Source("cifar100", "uoft-cs/cifar100", "img", "coarse_label", 20, "cifar100"),
    "cifar100-fine": Source("cifar100", "uoft-cs/cifar100", "img", "fine_label", 100, "cifar100"),
    "svhn": Source("svhn", "ufldl-stanford/svhn", "image", "label", 10, "cropped_digits", config="cropped_digits"),
    "stl10": Source("stl10", "tanganke/stl10", "image", "label", 10, "data"),
}

IMAGES = {
    "digits": 1_500, "mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000, "cifar100-fine": 50_000, "svhn": 73_257,
    "stl10": 5_000,
}  # fmt: skip
"""Training images of each."""


def known(name: str) -> str:
    """The name itself.

    Raises:
        InputError: no data set of that name.
    """
    if name not in SOURCES:
        raise InputError(f"unknown data set {name!r}; there are {', '.join(SOURCES)}")
    return name
