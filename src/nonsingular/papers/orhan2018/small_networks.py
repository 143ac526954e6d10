"""What figures S1 to S3 share: networks of 10 layers, small enough that their Hessians are counted exactly (Note 4)."""

from __future__ import annotations

import xarray as xr

from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.experiments.scales import Size
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


def small_networks(size: Size, *networks: str, width: int = 16, spectra: tuple[str, ...] = ("hessian_exact",)) -> Spec:
    """Networks of 10 layers on PCA inputs: 4 852 parameters at width 16 with 20 classes, 14 292 at width 32.

    Args:
        size: with ``runs``, ``epochs`` and ``spectra``, the epochs at which the Hessians' spectra are measured.
        *networks: names of the architectures.
        width: units a layer.
        spectra: instruments of the Hessian.
    """
    images = protocol.images(size.data, size.scale, pca=PCA)
    if images.name == "digits":  # 64 pixels have no 128 components
        images = protocol.images(images.name, size.scale)
    return Spec(
        size.experiment,
        size.scale,
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
