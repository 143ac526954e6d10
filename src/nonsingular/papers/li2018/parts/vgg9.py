"""What figures 2 and 9 share: VGG-9 with a small and a large batch, without and with weight decay."""

from __future__ import annotations

from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.networks import VGGSpec
from nonsingular.papers.li2018.parts import protocol
from nonsingular.training import Member

PROTOCOLS = {
    f"{size}-batch{'-decay' if decay else ''}": (number, decay)
    for number, size in enumerate(("small", "large"))
    for decay in (0.0, 5e-4)
}
"""Network -> which of the two batches, and weight decay."""
DIFFERS = (
    "Only networks that have trained are compared: whose training accuracy has come half of the way from guessing to "
    "no error.",
    "Both batch sizes train at rate 0.1, as in the names of the authors' files.",
)


def sizes(grid: tuple[int, int, int, int]) -> Scales:
    """Those of both figures, which differ in the points that they evaluate along an axis."""
    return Scales(
        runs=(2, 10, 5, 5),
        epochs=(4, 16, 60, 300),
        width=(4, 16, 16, 64),
        batches=((50, 150), (100, 1000), (128, 8192), (128, 8192)),
        grid=grid,
        images=(60, 256, 1000, None),
        pixels=(None, 16, 16, None),
    )


def study(size: Size) -> Spec:
    """The study of both figures: equal but for the points that they evaluate, so that it need be trained once."""
    network = VGGSpec(9, size.width, batch_norm=True)
    networks = {
        Member(name, network): {"batch": size.batches[number], "weight_decay": decay, "learning_rate": 0.1}
        for name, (number, decay) in PROTOCOLS.items()
    }
    return protocol.study(size, networks, keep="epochs")
