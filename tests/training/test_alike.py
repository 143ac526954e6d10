"""Networks are computed together where they differ in parameters and buffers alone."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn

from nonsingular.data import DataSpec
from nonsingular.errors import InputError
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import DropoutSpec, FullyConnected, NetworkSpec, OwnNetwork
from nonsingular.training import Member, Population, TrainingSpec
from nonsingular.training.alike import structure

DIGITS = DataSpec("digits", train=200, test=100)


class Own(nn.Module):
    """Holds anything."""

    def __init__(self, **held):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.linear(x)


class Settings:
    def __init__(self, share):
        self.share = share


def scaled(by):
    return lambda x: by * x


PAIRS = {
    "number": (0.1, 0.5),
    "switch": (True, 1),
    "word": ("relu", "tanh"),
    "list": ([1, [2]], [1, [3]]),
    "mapping": ({"a": (1,)}, {"a": (2,)}),
    "set": ({1, 2}, {1, 3}),
    "function": (F.relu, F.gelu),
    "what a function closes over": (scaled(1.0), scaled(2.0)),
    "partial": (partial(F.leaky_relu, negative_slope=0.1), partial(F.leaky_relu, negative_slope=0.2)),
    "tensor": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])),
    "array": (np.array([1, 2]), np.array([[1, 2]])),
    "object": (Settings(0.1), Settings(0.2)),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_networks_that_hold_different_things_are_refused_by_name(one, other):
    assert structure(Own(held=one)) == structure(Own(held=one))
    with pytest.raises(InputError, match="2 kinds; they differ in held"):
        Population([Own(held=one), Own(held=other)])
    with pytest.raises(InputError, match=r"2 kinds; they differ in inner\.held"):
        Population([Own(inner=Own(held=one)), Own(inner=Own(held=other))])


def test_numbers_streams_and_modes_may_differ():
    a, b = Own(noise=torch.Generator().manual_seed(0)), Own(noise=torch.Generator().manual_seed(1)).eval()
    assert structure(a) == structure(b)
    assert structure(Own(limit=float("nan"))) == structure(Own(limit=float("inf") - float("inf")))
    assert structure(Own(act=scaled(2.0))) == structure(Own(act=scaled(2.0)))
    assert structure(Own(table={"a": Settings([1.0])})) == structure(Own(table={"a": Settings([1.0])}))


def test_dropout_acts_beside_networks_without_and_does_not_depend_on_neighbours(tmp_path, task):
    """A study of both once trained them as one population, with the first one's share of dropout: none."""
    networks = (NetworkSpec(2, 8), DropoutSpec(2, 8, dropout=0.5))
    spec = Spec(
        "dropout",
        "smoke",
        seed=0,
        networks=tuple(Member(name, n) for name, n in zip(("without", "with"), networks, strict=True)),
        data=DIGITS,
        training=TrainingSpec(epochs=2, batch=50),
        instruments={"train_accuracy": None},
        runs=3,
    )
    found = [run_study(spec, Workspace(tmp_path / str(n), runs_at_once=n)) for n in (1, 3)]
    for results in found:
        assert not np.any(
            results.train_loss.sel(network="without")[:, 1:] == results.train_loss.sel(network="with")[:, 1:]
        )
    xr.testing.assert_allclose(found[0].train_loss, found[1].train_loss, rtol=1e-4)


def test_runs_of_a_class_that_draws_more_than_numbers_are_trained_each_for_itself(tmp_path):
    """Its features are a plain tensor: those of the first run were once every run's."""

    class Features(nn.Module):
        def __init__(self, shape, classes):
            super().__init__()
            self.features = torch.randn(*shape, 8)
            self.readout = nn.Linear(8, classes)

        def forward(self, x):
            return self.readout(torch.relu(x @ self.features))

    spec = Spec(
        "own",
        "smoke",
        seed=0,
        networks=(Member("own", OwnNetwork(Features)),),
        data=DIGITS,
        training=TrainingSpec(epochs=1, batch=50),
        instruments={"train_accuracy": None},
        runs=3,
    )
    together, alone = (run_study(spec, Workspace(tmp_path / str(n), runs_at_once=n)) for n in (3, 1))
    xr.testing.assert_allclose(together.train_loss, alone.train_loss, rtol=1e-4)
    assert len(np.unique(together.train_loss.isel(epoch=0))) == 3


def test_hyper_residual_networks_drop_too():
    network = FullyConnected(4, 2, depth=3, width=64, earlier=torch.zeros(1, 64, 64), dropout=0.5)
    x = torch.randn(5, 4)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
