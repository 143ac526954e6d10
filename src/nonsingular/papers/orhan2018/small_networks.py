"""What figures S1 to S3 share: networks of 10 layers, small enough that their Hessians are counted exactly (Note 4)."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.experiments.spec import Spec
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.differs import EVALUATED_ON
from nonsingular.plots.curves import Panel
from nonsingular.training import Member

PCA = 128  # Note 4: inputs reduced to as many components as the larger networks have units

DIFFERS = (
    "The paper does not say on how many samples its Hessians are taken; here on the first 1 000 training samples.",
    EVALUATED_ON,
)


@dataclass(frozen=True)
class Size:
    """How large a study of small networks is.

    Attributes:
        runs: seeds of every network.
        epochs: of training.
        spectra: epochs at which the Hessians' spectra are measured.
    """

    runs: int
    epochs: int
    spectra: tuple[int, ...]


def small_networks(
    experiment: str,
    scale: str,
    size: Size,
    networks: tuple[str, ...],
    *,
    width: int = 16,
    data: str | None = None,
    spectra: tuple[str, ...] = ("hessian_exact",),
) -> Spec:
    """Networks of 10 layers on PCA inputs: 4 852 parameters at width 16 with 20 classes, 14 292 at width 32.

    Args:
        experiment: id.
        scale: one of ``SCALES``.
        size: runs, epochs, and when spectra are measured.
        networks: names of the architectures.
        width: units a layer.
        data: the data set; None takes the scale's own.
        spectra: instruments of the Hessian.
    """
    images = protocol.images(data, scale, pca=PCA)
    if images.name == "digits":  # 64 pixels have no 128 components
        images = protocol.images(images.name, scale)
    return Spec(
        experiment,
        scale,
        runs=size.runs,
        data=images,
        networks=tuple(Member(name, named(name, depth=10, width=width)) for name in networks),
        training=protocol.training(images, size.epochs),
        instruments={"train_accuracy": None, "test_accuracy": None, "mean_overlap": None, "weight_norm": None}
        | dict.fromkeys(spectra, size.spectra),
    )


def measured_epochs(results: xr.Dataset) -> xr.Dataset:
    """Only the epochs at which spectra were measured."""
    return results.dropna("epoch", how="all", subset=["degenerate_exact"])


def panels(*variables: str) -> list[Panel]:
    """One panel a variable, shares in percent."""
    return [Panel(v, LABELS[v], percent=v in PERCENT) for v in variables]
