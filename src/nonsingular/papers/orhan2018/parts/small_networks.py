"""What figures S1 to S3 and S6 share: networks so small that their Hessians are counted exactly (Note 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nonsingular.data import DataSpec
from nonsingular.experiments.scales import Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, claim, faster, larger
from nonsingular.papers.orhan2018.parts import protocol
from nonsingular.papers.orhan2018.parts.differences import IMAGES

PCA = 128  # Note 4: inputs reduced to as many components as the larger networks have units

DIFFERS = (
    "The paper does not say on how many samples its Hessians are taken; here on the first 1 000 training samples.",
    *IMAGES,
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


def residual_ahead(kind: str, train: str = "accuracy", panels: Iterable[str] = ("",) * 4) -> dict[str, Declared]:
    """What figures S1 and S6 say of accuracies and exact spectra of residual networks against plain ones.

    Args:
        kind: of networks, in a word.
        train: id of the claim about training accuracy.
        panels: where the figure shows training and test accuracy, degenerate and negative eigenvalues.
    """
    networks = f"{kind} residual networks"
    tests = {
        train: (f"{networks} train faster than plain ones", faster("residual", "plain") > 0),
        "test-accuracy": (f"{networks} do better on test images", larger("test_accuracy", "residual", "plain") > 0),
        "degenerate": (
            f"{networks} have fewer eigenvalues within 0.1 of zero",
            larger("degenerate_exact", "residual", "plain") < 0,
        ),
        "negative": (f"{networks} have more negative eigenvalues", larger("negative_exact", "residual", "plain") > 0),
    }
    return {id: claim(*said, panel=panel) for (id, said), panel in zip(tests.items(), panels, strict=True)}
