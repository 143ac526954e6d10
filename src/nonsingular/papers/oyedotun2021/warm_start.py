"""VGG-13 and VGG-16 from scratch, and started from a trained VGG-11."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import xarray as xr
from torch import nn

from nonsingular.data import prepare
from nonsingular.errors import InputError
from nonsingular.experiments.claims import POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import diverged, fitted, possible, possible_differences, require_trained
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import kept_weights, run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import VGGSpec, build
from nonsingular.networks.vgg import CONVOLUTIONS
from nonsingular.papers.oyedotun2021 import protocol
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member, TrainingSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DONOR = "vgg-11"
WARM = {"vgg-13-warm": 13, "vgg-16-warm": 16}
SCALE = {  # runs, epochs, width, hidden units, training images, test images, size
    "smoke": (2, 2, 4, 16, 200, 100, 8),
    "laptop": (3, 100, 16, 64, 1_000, 500, 8),
    "overnight": (5, 10, 16, 64, None, None, 16),
    "paper": (5, 100, 64, 512, None, None, None),
}


def specs(scale: str, data: str | None = None) -> Spec:
    """VGG-11, -13 and -16 without batch normalisation, as in their paper."""
    runs, epochs, width, hidden, train, test, size = at_scale(SCALE, scale)
    images = protocol.images(data or ("digits" if scale == "smoke" else "cifar10"), scale)
    images = replace(images, train=train, test=test, size=8 if images.name == "digits" else size)
    networks = {DONOR: 11, "vgg-13": 13, "vgg-16": 16, **WARM}
    return Spec(
        "oyedotun2021/vgg-warm-start",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(n, VGGSpec(layers, width, hidden, init="glorot")) for n, layers in networks.items()),
        training=TrainingSpec(
            epochs, 128, 0.01, "sgd", 0.9, weight_decay=5e-4, augment="crop+mirror"
        ) if scale in ("overnight", "paper") else TrainingSpec(epochs, 50, 1e-3),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy")),
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
    task = prepare(spec.data, workspace.data_dir)
    names = [m.name for m in spec.networks]
    cold = replace(spec, networks=tuple(m for m in spec.networks if m.name not in WARM), keep="end")
    if not cold.networks:
        raise InputError(f"a warm start needs its donor: have {DONOR} among --networks")
    inside = replace(workspace, folder=workspace.folder / "cold")
    studies = [run_study(cold, inside)]
    if DONOR in names:  # else left out by the caller: nothing to start from
        trained = {}
        number = [m.name for m in cold.networks].index(DONOR)
        for row, weights in kept_weights(inside).items():
            if row.network == number:
                donor = build(cold.networks[number].network, task.shape, task.classes, spec.seed + row.run)
                donor.load_state_dict(weights[-1])
                trained[spec.seed + row.run] = donor
        donors = Donors(dict(sorted(trained.items())))
        warm = tuple(replace(m, network=Warm(m.network, donors)) for m in spec.networks if m.name in WARM)  # type: ignore[arg-type]
        if warm:
            there = replace(workspace, folder=workspace.folder / "warm")
            studies.append(run_study(replace(spec, networks=warm), there))
    results = xr.concat([study.drop_dims("layer") for study in studies], "network", combine_attrs="drop_conflicts")
    return results.reindex(network=names)


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracies over training; that of warm starts counts from where the donor stopped."""
    panels = [Panel(f"{s}_accuracy", LABELS[f"{s}_accuracy"], percent=True) for s in ("train", "test")]
    return {"accuracy": over_epochs(results, panels, "VGG networks from scratch and from a trained VGG-11")}


def _reached(network: str) -> Callable[[xr.Dataset], Effect]:
    return lambda r: mean(fitted(r, network), note=diverged(r, network), within=possible(r))


def _with_donor(network: str) -> Callable[[xr.Dataset], Effect]:
    """Nothing is said of a warm start, nor of what it should mend, where the donor itself did not train."""

    def effect(results: xr.Dataset) -> Effect:
        require_trained(results, DONOR)
        return _reached(network)(results)

    return effect


def _rescued(layers: int) -> Callable[[xr.Dataset], Effect]:
    def effect(results: xr.Dataset) -> Effect:
        require_trained(results, DONOR)
        warm, cold = (fitted(results, f"vgg-{layers}{kind}") for kind in ("-warm", ""))
        return difference(warm, cold, within=possible_differences(results))

    return effect


WAY = "training accuracy at the end, on the way from chance = 0 to no error = 100"
SOURCE = "Oyedotun et al. 2021 (article), introduction"
UNIT = "percent of the way"
CLAIMS = (
    Claim(
        "oyedotun2021/vgg-warm-start/vgg-11-trains", SOURCE,
        f"VGG-11 trains from scratch ({WAY}: more than half).", _reached(DONOR), Region(low=50.0), UNIT,
    ),
    *(
        claim
        for layers in (13, 16)
        for claim in (
            Claim(
                f"oyedotun2021/vgg-warm-start/vgg-{layers}-fails", SOURCE,
                f"VGG-{layers} does not train from scratch ({WAY}: less than half).",
                _with_donor(f"vgg-{layers}"), Region(high=50.0), UNIT,
            ),
            Claim(
                f"oyedotun2021/vgg-warm-start/vgg-{layers}-rescued", SOURCE,
                f"VGG-{layers} trains when it starts from a trained VGG-11 ({WAY}: warm minus scratch).",
                _rescued(layers), POSITIVE, UNIT,
            ),
            Claim(
                f"oyedotun2021/vgg-warm-start/vgg-{layers}-warm-trains", SOURCE,
                f"So started, VGG-{layers} trains ({WAY}: more than half).",
                _with_donor(f"vgg-{layers}-warm"), Region(low=50.0), UNIT,
            ),
        )
    ),
)  # fmt: skip

EXPERIMENTS = (
    Experiment(
        "oyedotun2021/vgg-warm-start",
        "VGG-13 and VGG-16 started from a trained VGG-11",
        specs,
        run,
        draw,
        CLAIMS,
        differs=(
            "Weights start Glorot-normal: the text names no start, and a fixed deviation is right for one width alone.",
            "Laptop and smoke scales train with Adam: in their few hundred steps gradient descent moves nothing.",
            "The text has the first 11 layers of VGG-13 start from VGG-11. Counted from the input they would not fit: "
            "stages differ in length. Layers are taken over stage by stage: in each the first convolutions, as many as "
            "VGG-11 has there, and the three linear layers; what a stage has more of starts anew.",
            "A warm start trains as many epochs as a start from scratch, after those of its donor.",
        ),
    ),
)
