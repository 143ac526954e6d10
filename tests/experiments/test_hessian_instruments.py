"""The instruments that count eigenvalues, on a population of tiny networks."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nonsingular.data import DataSpec, prepare
from nonsingular.experiments.hessian_instruments import PARTS, WINDOW
from nonsingular.experiments.instruments import INSTRUMENTS, LABELS, PERCENT, Snapshot
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import Trainer, TrainingSpec


@pytest.fixture(scope="module")
def snapshot():
    task = prepare(DataSpec("digits", train=100, test=20))
    seeds = [0, 1, 2]
    networks = [build(NetworkSpec(2, 3), task.inputs, task.classes, seed) for seed in seeds]
    trainer = Trainer(networks, seeds, task, TrainingSpec(epochs=1, batch=50, learning_rate=1e-2))
    trainer.train_epoch()
    with torch.no_grad():  # a run that has diverged
        next(iter(trainer.population.parameters.values()))[1] = float("nan")
    return Snapshot(trainer)


def dense_fractions(snapshot, run):
    network = snapshot.population.network(run)
    parameters = dict(network.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat):
        parts = zip(parameters.items(), flat.split(sizes), strict=True)
        state = {name: piece.view_as(p) for (name, p), piece in parts}
        return F.cross_entropy(torch.func.functional_call(network, state, (snapshot.inputs,)), snapshot.labels)

    flat = torch.cat([p.detach().flatten() for p in parameters.values()])
    values = torch.linalg.eigvalsh(torch.func.hessian(loss)(flat).double()).numpy()
    return {
        "degenerate": np.mean(np.abs(values) <= WINDOW),
        "negative": np.mean(values < -WINDOW),
        "positive": np.mean(values > WINDOW),
    }


@pytest.mark.parametrize("name", ["hessian_exact", "hessian_lanczos", "hessian_moments"])
def test_fractions_of_every_run_but_the_diverged(snapshot, name):
    measured = INSTRUMENTS[name].measure(snapshot)
    assert set(measured) == set(INSTRUMENTS[name].variables)
    assert set(measured) <= set(LABELS) & PERCENT
    method = name.removeprefix("hessian_")
    for run in (0, 2):
        expected = dense_fractions(snapshot, run)
        assert sum(float(measured[f"{part}_{method}"][run]) for part in PARTS) == pytest.approx(1)
        for part in PARTS if method != "moments" else ():  # the mixture need not fit
            low, high = (
                measured.get(f"{part}_{method}_{end}", measured[f"{part}_{method}"]) for end in ("low", "high")
            )
            assert float(low[run]) - 1e-9 <= expected[part] <= float(high[run]) + 1e-9
    assert all(values[1].isnan() for values in measured.values())
