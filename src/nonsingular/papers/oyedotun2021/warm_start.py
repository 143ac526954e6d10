"""VGG-13 and VGG-16 from scratch, and started from a trained VGG-11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import nn

from nonsingular.data import prepare
from nonsingular.errors import InputError
from nonsingular.experiments.claims import NotMeasured
from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.fit import HALFWAY, fitted
from nonsingular.experiments.needs import every, trained
from nonsingular.experiments.quantities import reached
from nonsingular.experiments.run.rates import with_rates
from nonsingular.experiments.run.study import kept_weights, run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, Needs, average, claim, more
from nonsingular.networks import VGGSpec, build
from nonsingular.networks.vgg import CONVOLUTIONS
from nonsingular.papers.oyedotun2021 import protocol
from nonsingular.training import Member, TrainingSpec

DONOR = "vgg-11"
COLD = {DONOR: 11, "vgg-13": 13, "vgg-16": 16}
WARM = {"vgg-13-warm": 13, "vgg-16-warm": 16}

TRIED = (0.003, 0.01, 0.03, 0.1)
"""Learning rates of which the donor's is taken."""
SEARCHED = {"laptop": 30, "overnight": 3}
"""Epochs that each is tried for."""


def study(size: Size) -> Spec:
    """VGG-11, -13 and -16 without batch normalisation, as in their paper, trained by gradient descent with momentum."""
    images = protocol.images(size.data or ("digits" if size.scale == "smoke" else "cifar10"), size.scale)
    images = replace(images, train=size.train, test=size.test, size=8 if images.name == "digits" else size.pixels)
    return Spec(
        size.experiment, size.scale, runs=size.runs, data=images,
        networks=tuple(
            Member(name, VGGSpec(layers, size.width, size.hidden, init="he"))
            for name, layers in (COLD | WARM).items()
        ),
        training=TrainingSpec(
            size.epochs, size.batch, 0.01, "sgd", 0.9, weight_decay=5e-4,
            augment="crop+mirror" if size.scale in ("overnight", "paper") else "none",
        ),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy")),
        settings={"rates": {"tried": list(size.rates), "epochs": SEARCHED[size.scale]}} if size.rates else {},
    )  # fmt: skip


class Donors:
    """Trained networks by the seed of their run."""

    def __init__(self, networks: Mapping[int, nn.Module]) -> None:
        self.networks = networks

    def __repr__(self) -> str:
        return f"donors of seeds {', '.join(map(str, self.networks))}"


@dataclass(frozen=True)
class Warm:
    """An architecture that starts from trained layers of the network of the same seed."""

    network: VGGSpec
    donors: Donors

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return self.network.depth

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        """A network of its own start but for the layers that the donor has too."""
        network = build(self.network, shape, classes, seed)
        with torch.no_grad():
            for mine, theirs in shared_layers(network, self.donors.networks[seed], self.network.layers):
                for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
                    p.copy_(q)
        return network


def shared_layers(network: nn.Module, donor: nn.Module, layers: int) -> list[tuple[nn.Module, nn.Module]]:
    """The eleven layers of a VGG with ``layers`` layers that VGG-11 has too, each with its counterpart in ``donor``.

    They are the first convolutions of every stage, as many as VGG-11 has there, and the three linear layers.
    """
    mine: list[int] = []
    start = 0
    for there, here in zip(CONVOLUTIONS[11], CONVOLUTIONS[layers], strict=True):
        mine += range(start, start + there)
        start += here
    mine += [start, start + 1]
    pairs = [(network.layers[i], layer) for i, layer in zip(mine, donor.layers, strict=True)]  # type: ignore[index,arg-type]
    return [*pairs, (network.readout, donor.readout)]  # type: ignore[list-item]


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train the donors and the networks from scratch, then those that start from the donor of their own run.

    Raises:
        InputError: warm starts alone were asked for.
    """
    assert spec.data is not None
    assert spec.training is not None
    names = [m.name for m in spec.networks]
    members = tuple(m for m in spec.networks if m.name not in WARM)
    if not members:
        raise InputError(f"a warm start needs its donor: have {DONOR} among --networks")
    donor = next((m for m in members if m.name == DONOR), None)
    _, searched = with_rates(replace(spec, networks=(donor or members[0],)), workspace)
    if "learning_rate" in searched:  # of all networks: their protocol is one
        rate = float(searched.learning_rate[0])
        spec = replace(spec, training=replace(spec.training, learning_rate=rate))
    inside = replace(workspace, folder=workspace.folder / "cold")
    studies = [run_study(replace(spec, networks=members, keep="end"), inside)]
    warm = [m for m in spec.networks if m.name in WARM]
    if donor is not None and warm:  # else there is nothing to start from
        donors = _donors(spec, workspace, inside, members.index(donor))
        started = tuple(replace(m, network=Warm(m.network, donors)) for m in warm)  # type: ignore[arg-type]
        there = replace(workspace, folder=workspace.folder / "warm")
        studies.append(run_study(replace(spec, networks=started), there))
    results = xr.concat([study.drop_dims("layer") for study in studies], "network", combine_attrs="drop_conflicts")
    return results.reindex(network=names).assign(searched.variables if donor is not None else {})


def _donors(spec: Spec, workspace: Workspace, inside: Workspace, number: int) -> Donors:
    """The trained donors that a study has kept."""
    assert spec.data is not None
    task = prepare(spec.data, workspace.data_dir)
    trained = {}
    for row, weights in kept_weights(inside).items():
        if row.network == number:
            donor = build(spec.networks[number].network, task.shape, task.classes, spec.seed + row.run)
            donor.load_state_dict(weights[-1])
            trained[spec.seed + row.run] = donor
    return Donors(dict(sorted(trained.items())))


DONATED = trained(HALFWAY, DONOR)
"""Nothing is said of a warm start, nor of what it should mend, where the donor itself did not train."""


def lost(network: str) -> Needs:
    """That a network has not trained from scratch: there is nothing to rescue of one that has."""

    def need(results: xr.Dataset, measure: Measure) -> None:
        came = float(np.nanmean(fitted(results, network)))
        if came > HALFWAY:
            raise NotMeasured(f"{network} trains from scratch here ({came:.0f} % of the way): nothing is to be rescued")

    return need


FIGURE = Figure(
    "oyedotun2021/vgg-warm-start",
    "VGG-13 and VGG-16 started from a trained VGG-11",
    source="oyedotun2021 (article), introduction",
    sizes=Scales(
        runs=(2, 3, 3, 5), epochs=(2, 100, 10, 100), width=(4, 16, 16, 64), hidden=(16, 64, 64, 512),
        train=(200, 1000, None, None), test=(100, 500, None, None), pixels=(8, 8, 16, None),
        batch=(50, 50, 128, 128), rates=((), TRIED, TRIED, ()),
    ),
    study=study,
    run=run,
    draw={
        "accuracy": Curves(
            "train_accuracy", "test_accuracy", title="VGG networks from scratch and from a trained VGG-11"
        )
    },
    claims=(
        claim("vgg-11-trains", "VGG-11 trains from scratch", average(reached(), DONOR) > HALFWAY),
        *(
            declared
            for layers in (13, 16)
            for declared in (
                claim(
                    f"vgg-{layers}-fails", f"VGG-{layers} does not train from scratch",
                    average(reached(), f"vgg-{layers}") < HALFWAY, needs=DONATED,
                ),
                claim(
                    f"vgg-{layers}-rescued", f"VGG-{layers} trains when it starts from a trained VGG-11",
                    more(reached(), f"vgg-{layers}-warm", f"vgg-{layers}") > 0,
                    needs=every(DONATED, lost(f"vgg-{layers}")),
                ),
                claim(
                    f"vgg-{layers}-warm-trains", f"Started from a trained VGG-11, VGG-{layers} trains",
                    average(reached(), f"vgg-{layers}-warm") > HALFWAY, needs=DONATED,
                ),
            )
        ),
    ),
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
    labels={"tried_loss": "training loss after the search of a rate (nats)", "learning_rate": "learning rate",
            "rate": "learning rate that was tried"},
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
