"""What figures 2 and 9 share: VGG-9 with a small and a large batch, without and with weight decay."""

from __future__ import annotations

from nonsingular.experiments.scales import Size
from nonsingular.experiments.spec import Spec
from nonsingular.networks import VGGSpec
from nonsingular.papers.li2018.protocol import INSTRUMENTS, images, training
from nonsingular.training import Member

NETWORKS = (
    VGGSpec(9, width=4, batch_norm=True), *(VGGSpec(9, width=16, batch_norm=True),) * 2, VGGSpec(9, batch_norm=True),
)  # fmt: skip
BATCHES = ((50, 150), (100, 1000), (128, 8192), (128, 8192))
"""Smaller and larger batch at each scale."""
PROTOCOLS = {
    f"{size}-batch{'-decay' if decay else ''}": (number, decay)
    for number, size in enumerate(("small", "large"))
    for decay in (0.0, 5e-4)
}
"""Network -> which of the two batches, and weight decay."""


def study(size: Size) -> Spec:
    """The study of both figures: equal but for the points that they evaluate, so that it need be trained once.

    Args:
        size: with ``runs``, ``epochs``, ``network``, ``batches``, ``grid``, ``images`` and ``pixels``.
    """
    protocols = {
        name: {"batch": size.batches[number], "weight_decay": decay, "learning_rate": 0.1}
        for name, (number, decay) in PROTOCOLS.items()
    }
    dataset = images(size.data, size.scale, size.pixels)
    return Spec(
        size.experiment, size.scale, runs=size.runs, data=dataset,
        networks=tuple(Member(name, size.network) for name in protocols),
        training=training(size.scale, size.epochs, dataset.name), instruments=INSTRUMENTS,
        settings={"grid": size.grid, "images": size.images, "training": protocols}, keep="epochs",
    )  # fmt: skip
