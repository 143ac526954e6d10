"""What initialisation and batch normalisation do for PlainNets, and whether there is a depth at which neither helps.

PlainNets (no skips) of several depths are trained from Glorot's start (``plainnet-glorot``), from He's
(``plainnet-he``), from He's with batch normalisation (``plainnet-norm``), and ResNets with both. A network is called
``family-layers``; a run is a seed.
"""

from __future__ import annotations

from dataclasses import replace

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.experiments.verbs import claim
from nonsingular.networks import ResidualSpec, plainnet, resnet
from nonsingular.papers.oyedotun2021 import depth
from nonsingular.papers.oyedotun2021.parts import drawings
from nonsingular.papers.oyedotun2021.parts.by_depth import at_all_depths, best_of_deepest, deepest
from nonsingular.training import Member

REMEDIES: dict[str, dict[str, object]] = {
    "plainnet-glorot": {"batch_norm": False, "init": "glorot"},
    "plainnet-he": {"batch_norm": False, "init": "he"},
    "plainnet-norm": {"batch_norm": True, "init": "he"},
}
"""Family -> what its networks have; the first has neither."""


def study(size: Size) -> Spec:
    """PlainNets with neither remedy, with one and with both, and ResNets with both, at several depths."""
    make: dict[str, ResidualSpec]
    networks = []
    for layers in size.depths:
        plain, skips = plainnet(layers, width=size.width), resnet(layers, width=size.width)
        make = {family: replace(plain, **fields) for family, fields in REMEDIES.items()} | {"resnet": skips}  # type: ignore[arg-type]
        networks += [Member(f"{family}-{layers}", network) for family, network in make.items()]
    spec = depth.study(size, tuple(networks))
    return replace(spec, instruments={**spec.instruments, "representations": (LAST,)})


FIGURE = Figure(
    "oyedotun2021/remedies",
    "Initialisation and batch normalisation for networks without skips, by depth",
    source="oyedotun2021 (article), what are skip connections?",
    sizes=Scales(
        runs=(2, 3, 3, 5),
        epochs=(2, 24, 10, 200),
        width=(4, 8, 8, 16),
        depths=((8, 14), *((8, 20, 56, 110),) * 2, (8, 20, 56, 110, 164)),
    ),
    study=study,
    needs=trained(),
    draw={"depth": drawings.over_depth, "conditioning": drawings.conditioning_of_deepest},
    claims={
        "start-alleviates": claim(
            "A start made for rectifiers alleviates the training problems of deep PlainNets",
            at_all_depths("plainnet-he", "plainnet-glorot") > 0,
        ),
        "batch-norm-alleviates": claim(
            "Batch normalisation alleviates the training problems of deep PlainNets",
            at_all_depths("plainnet-norm", "plainnet-he") > 0,
        ),
        "beyond-some-depth-nothing-does": claim(
            "Beyond some depth PlainNets cannot be trained in spite of initialisation and batch normalisation",
            best_of_deepest(tuple(REMEDIES), "resnet") < HALFWAY,
        ),
        "skips-do": claim(
            "Skip connections alleviate the training problems of the deepest networks",
            deepest("resnet", "plainnet-norm") > 0,
        ),
    },
    differs=(
        "The article says that initialisation schemes and batch normalisation can alleviate the training problems, and "
        "that beyond some depth optimising PlainNets is impossible; it shows nothing of either. The starts are "
        "Glorot's and He's, depths and networks ours. The deepest here is the depth that is asked about.",
        *depth.DIFFERS[3:],
        "Condition numbers of the deepest networks, with and without batch normalisation, are drawn and not judged.",
    ),
)
