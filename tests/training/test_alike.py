"""One network's code stands for others only where they differ in parameters and buffers alone."""

import copy
import operator
from collections import deque
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn
from torch.nn.utils import parametrizations

from nonsingular.data import DataSpec
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import DropoutSpec, FullyConnected, NetworkSpec, OwnNetwork, build
from nonsingular.papers.registry import experiments
from nonsingular.training import Member, Population, TrainingSpec
from nonsingular.training.alike import one_code, settings, structure

DIGITS = DataSpec("digits", train=200, test=100)


class Own(nn.Module):
    """Holds anything."""

    def __init__(self, held=None, act=lambda x: x):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.held, self.act = held, act

    def forward(self, x):
        return self.act(self.linear(x))


class Settings:
    def __init__(self, share):
        self.share = share


class Slots:
    __slots__ = ("share",)

    def __init__(self, share):
        self.share = share


def scaled(by, more=None):
    return lambda x: by * x if more is None else more


def keyword(value):
    def scale(x, *, by=value):
        return by * x

    return scale


PAIRS = {
    "number": (0.1, 0.5),
    "switch": (True, 1),
    "list": ([[[[[1]]]]], [[[[[2]]]]]),
    "mapping": ({"a": (1,)}, {"a": (2,)}),
    "function": (F.relu, F.elu),
    "builtin": (torch.relu, torch.tanh),
    "builtins in a list": ([operator.add], [operator.mul]),
    "what a function closes over": (scaled(1.0), scaled(2.0)),
    "what it closes over in another place": (scaled(None, 2.0), scaled(2.0, None)),
    "default": (keyword(0.1), keyword(0.2)),
    "partial": (partial(F.leaky_relu, negative_slope=0.1), partial(F.leaky_relu, negative_slope=0.2)),
    "method": (Settings("a").__init__, Settings("b").__init__),
    "tensor": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])),
    "array": (np.array([1, 2]), np.array([1, 3])),
    "NumPy's number": (np.float32(1), np.float32(2)),
    "range": (range(3), range(4)),
    "deque": (deque([1]), deque([2])),
    "fraction": (Fraction(1, 2), Fraction(1, 3)),
    "object": (Settings(Settings([0.1])), Settings(Settings([0.2]))),
    "slots": (Slots(1), Slots(2)),
    "hidden module": ([nn.Dropout(0.1)], [nn.Dropout(0.9)]),
    "hidden numbers": ([nn.Linear(2, 2)], [nn.Linear(2, 2)]),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_what_a_network_holds_is_told_apart(one, other):
    assert not one_code([Own(one), Own(other)])
    assert not one_code([Own(), Own(nn.Sequential(Own(one))), Own(nn.Sequential(Own(other)))])


@pytest.mark.parametrize("one", [pair[0] for pair in PAIRS.values()], ids=PAIRS)
def test_copies_are_alike_as_far_as_is_known(one):
    network = Own(one)
    unknown = isinstance(one, Slots)
    assert one_code([network, copy.deepcopy(network)]) != unknown


def hooked(by):
    network = Own()
    network.register_forward_hook(lambda module, inputs, output: output * by)
    return network


def tied(yes):
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    if yes:
        network[1].weight = network[0].weight
    return network


@pytest.mark.parametrize(
    "members",
    [
        [Own(act=torch.relu), Own(act=torch.tanh)],
        [hooked(1.0), hooked(2.0)],
        [FullyConnected(4, 4, 2, 8, dropout=share).eval() for share in (0.0, 0.5)],
        [parametrizations.weight_norm(nn.Linear(4, 4)) for _ in range(2)],
        [parametrizations.spectral_norm(nn.Linear(4, 4)).eval() for _ in range(2)],
    ],
    ids=["functions", "hooks", "dropout", "weight norm", "spectral norm"],
)
def test_a_population_computes_what_its_members_do(members):
    x = torch.randn(5, 4)
    population = Population(members)
    population.train(False)
    torch.testing.assert_close(population(x, shared=True), torch.stack([m(x) for m in members]))
    for run, member in enumerate(members):
        torch.testing.assert_close(population.network(run).eval()(x), member(x))
    outputs, _ = population.record(x)
    torch.testing.assert_close(outputs, torch.stack([m(x) for m in members]))


def test_recurrent_networks_and_those_that_are_parametrised_are_stacked_as_before():
    for make in (lambda: nn.LSTM(4, 3), lambda: parametrizations.weight_norm(nn.Linear(4, 4)), lambda: tied(True)):
        assert one_code([make(), make()])
    assert not one_code([tied(True), tied(False)])
    assert structure(tied(False)) != structure(tied(False).double())
    assert structure(tied(False)) != structure(tied(False).requires_grad_(False))


def test_what_cannot_be_looked_at_costs_time_and_no_error():
    class Shy:
        __slots__ = ()

        def __eq__(self, other):
            raise RuntimeError("no")

    for held in (
        Shy(),
        torch.eye(3).to_sparse(),
        torch.empty(2, device="meta"),
        torch.ones(2, dtype=torch.cfloat).conj(),
    ):
        members = [Own(held), Own(held)]
        assert one_code(members[:1])
        assert structure(members[0]) == structure(members[1])
        assert one_code(members) in (True, False)
        assert settings(members[0]) == settings(members[1])


def test_networks_of_the_papers_of_equal_settings_are_computed_together():
    """A population of them that were told apart would be slow."""
    for experiment in experiments():
        spec = experiment.spec("smoke")
        kinds = {}
        for member in spec.networks:
            for seed in (0, 1):
                network = build(member.network, (3, 16, 16), 10, seed)
                kinds.setdefault((structure(network), settings(network)), []).append(network)
        for networks in kinds.values():
            assert one_code(networks), experiment.id


def trained(folder, at_once, *networks):
    spec = Spec(
        "alike",
        "smoke",
        seed=0,
        networks=tuple(Member(str(n), network) for n, network in enumerate(networks)),
        data=DIGITS,
        training=TrainingSpec(epochs=2, batch=50),
        instruments={"train_accuracy": None},
        runs=3,
    )
    return run_study(spec, Workspace(folder, runs_at_once=at_once)).train_loss


def test_dropout_acts_beside_networks_without_and_does_not_depend_on_neighbours(tmp_path):
    """A study of both once trained them as one population, with the first one's share of dropout: none."""
    networks = NetworkSpec(2, 8), DropoutSpec(2, 8, dropout=0.5)
    alone, together = (trained(tmp_path / str(n), n, *networks) for n in (1, 3))
    assert not np.any(together.sel(network="0")[:, 1:] == together.sel(network="1")[:, 1:])
    xr.testing.assert_allclose(together, alone, rtol=1e-4)


class Features(nn.Module):
    """Its features are a plain tensor: those of the first run were once every run's."""

    def __init__(self, shape, classes):
        super().__init__()
        self.features = torch.randn(*shape, 8)
        self.readout = nn.Linear(8, classes)

    def forward(self, x):
        return self.readout(torch.relu(x @ self.features))


class Choosy(nn.Module):
    """Wants whole batches, and draws a number of NumPy's while it trains."""

    def __init__(self, shape, classes, act=torch.relu):
        super().__init__()
        self.linear, self.act = nn.Linear(shape[0], classes), act

    def forward(self, x):
        if self.training:
            assert len(x) % 50 == 0
            np.random.rand()  # noqa: NPY002 (as users' networks do)
        return self.act(self.linear(x))


@pytest.mark.parametrize(
    "networks",
    [(OwnNetwork(Features),), tuple(OwnNetwork(partial(Choosy, act=act)) for act in (torch.relu, torch.tanh))],
    ids=["a tensor", "functions"],
)
def test_runs_of_users_classes_together_are_those_alone(tmp_path, networks):
    np.random.seed(0)  # noqa: NPY002
    together, alone = (trained(tmp_path / str(n), n, *networks) for n in (6, 1))
    xr.testing.assert_allclose(together, alone, rtol=1e-4)
    assert len(np.unique(together.isel(epoch=0))) == 3 * len(networks)


def test_hyper_residual_networks_drop_too():
    network = FullyConnected(4, 2, depth=3, width=64, earlier=torch.zeros(1, 64, 64), dropout=0.5)
    x = torch.randn(5, 4)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
