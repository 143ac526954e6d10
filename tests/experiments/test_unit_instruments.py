"""Instruments of figures 5 to 7: silent rectifiers before the skip is added, and biases on the way to their targets."""

import pytest
import torch

from nonsingular.data import DataSpec, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.run.instruments import INSTRUMENTS, LABELS, PERCENT, Snapshot
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import BiasPenalty, Trainer, TrainingSpec


def trainer(specs, penalties=(), **options):
    task = prepare(DataSpec("digits", train=200, test=20))
    seeds = list(range(len(specs)))
    networks = [build(spec, task.inputs, task.classes, seed) for spec, seed in zip(specs, seeds, strict=True)]
    return Trainer(networks, seeds, task, TrainingSpec(epochs=50, batch=50, **options), penalties)


@pytest.mark.parametrize("skip", ["none", "identity", "orthogonal", "hyper"])
def test_silent_rectifiers_are_counted_before_the_skip_is_added(skip):
    trained = trainer([NetworkSpec(4, 32, skip=skip)] * 2)
    trained.train_epoch()
    snapshot = Snapshot(trained, samples=60)
    found = INSTRUMENTS["silent_rectifier"].measure(snapshot)["silent_rectifier"]
    assert "silent_rectifier" in set(LABELS) & PERCENT
    for run in (0, 1):
        network = trained.population.network(run)
        x = snapshot.inputs
        seen = [x, *(activation[run] for activation in snapshot.activations)]
        for l, layer in enumerate(network.layers):  # noqa: E741
            silent = (layer.linear(seen[l]) <= 0).double().mean()
            assert float(found[run, l]) == pytest.approx(float(silent), abs=1e-6)
    whole = INSTRUMENTS["zero_response"].measure(snapshot)["zero_response"]
    if skip == "none":
        torch.testing.assert_close(found, whole)
    if skip == "orthogonal":  # sums of many numbers are never zero, however silent the units
        assert (whole[:, 1:] == 0).all()
        assert (found[:, 1:] > 0.1).all()


def test_silent_rectifiers_of_a_normalised_layer_are_those_after_its_normalisation():
    trained = trainer([NetworkSpec(3, 64, batch_norm=(2,))])
    with torch.no_grad():
        trained.population.parameters["layers.1.norm.bias"].fill_(-10.0)
    found = INSTRUMENTS["silent_rectifier"].measure(Snapshot(trained))["silent_rectifier"]
    assert float(found[0, 1]) == 1


def test_rectifiers_of_other_networks_are_refused():
    with pytest.raises(InputError, match="layers with activation relu"):
        INSTRUMENTS["silent_rectifier"].measure(Snapshot(trainer([NetworkSpec(3, 8, activation="tanh")])))


def test_biases_come_to_their_targets_and_only_the_penalised_count():
    penalties = [BiasPenalty(0.5, 1.0, 10.0), None, BiasPenalty(0, 0, 10.0), BiasPenalty(0.5, 1.0, 0.0)]
    trained = trainer([NetworkSpec(3, 8)] * 4, penalties, learning_rate=0.02)

    def gap():
        return INSTRUMENTS["bias_gap"].measure(Snapshot(trained))["bias_gap"]

    start = gap()
    assert float(start[0]) == pytest.approx(1)
    assert start[1:].isnan().all()
    for _ in range(50):
        trained.train_epoch()
    assert float(gap()[0]) < 0.2
    targets = penalties[0].targets(trained.population.network(0), seed=0)
    biases = {name: p[0] for name, p in trained.population.parameters.items()}
    left = sum(float((biases[n].detach() - t).square().sum()) for n, t in targets.items())
    whole = sum(float(t.square().sum()) for t in targets.values())
    assert float(gap()[0]) == pytest.approx((left / whole) ** 0.5, rel=1e-4)


def test_no_penalty_at_all_has_no_gap():
    assert INSTRUMENTS["bias_gap"].measure(Snapshot(trainer([NetworkSpec(2, 4)] * 2)))["bias_gap"].isnan().all()
