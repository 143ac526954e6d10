"""Networks that start from layers of others, which are trained first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import xarray as xr
from torch import nn

from nonsingular.data import prepare
from nonsingular.errors import InputError
from nonsingular.experiments.run.rates import with_rates
from nonsingular.experiments.run.study import kept_weights, run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import VGGSpec, build
from nonsingular.networks.vgg import CONVOLUTIONS

DONOR = "vgg-11"
WARM = {"vgg-13-warm": 13, "vgg-16-warm": 16}


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
    return results.reindex(network=names).assign(_of_all(searched, names).variables)


def _of_all(searched: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """What the search for one network found, for all that train at its rate; the others' own losses are nowhere."""
    if not searched:
        return searched
    found = searched.reindex(network=names)
    return found.assign(learning_rate=found.learning_rate.fillna(searched.learning_rate.item()))


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
