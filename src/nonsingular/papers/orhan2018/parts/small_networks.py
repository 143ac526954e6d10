"""What figures S1 to S3 and S6 share: networks so small that their Hessians are counted exactly (Note 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nonsingular.data import DataSpec
from nonsingular.experiments.scales import Size
from nonsingular.experiments.spec import Spec
from nonsingular.papers.orhan2018.parts import protocol
from nonsingular.papers.orhan2018.parts.differences import EVALUATED_ON, scaled

PCA = 128  # Note 4: inputs reduced to as many components as the larger networks have units

DIFFERS = (
    "The paper does not say on how many samples its Hessians are taken; here on the first 1 000 training samples.",
    scaled,
    EVALUATED_ON,
)


def images(size: Size) -> DataSpec:
    """The images of a scale as principal components; the digits have fewer pixels than that."""
    reduced = protocol.images(size.data, size.scale, pca=PCA)
    return replace(reduced, pca=None) if reduced.name == "digits" else reduced


def small_networks(
    size: Size,
    *networks: str,
    depth: int = 10,
    width: int = 16,
    estimators: Sequence[str] = ("hessian_exact",),
    measured: Sequence[str] = ("train_accuracy", "test_accuracy", "mean_overlap", "weight_norm"),
) -> Spec:
    """With 10 layers and 20 classes 4 852 parameters at width 16, 14 292 at width 32.

    Args:
        size: with ``runs``, ``epochs`` and ``hessian_epochs``, after which Hessians' eigenvalues are counted.
        *networks: names of the architectures.
        depth: hidden layers.
        width: units in each.
        estimators: instruments of the Hessian.
        measured: other instruments, at every epoch.
    """
    members = protocol.networks(*networks, depth=depth, width=width)
    return protocol.study(
        size, members, dict.fromkeys(measured) | dict.fromkeys(estimators, size.hessian_epochs), data=images(size)
    )
