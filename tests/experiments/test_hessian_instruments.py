"""The instruments that count eigenvalues, on a population of tiny networks."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional as F

from nonsingular.curvature.moments import PARAMETERS, Mixture
from nonsingular.data import DataSpec, prepare
from nonsingular.experiments.run.instruments import INSTRUMENTS, LABELS, PERCENT, Snapshot
from nonsingular.experiments.run.instruments.hessian import MIXTURE, PARTS, WINDOW
from nonsingular.networks import NetworkSpec, build
from nonsingular.papers.orhan2018.parts.eigenvalue_shares import fitted
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


@pytest.mark.parametrize("name", ["hessian_exact", "hessian_lanczos", "hessian_few_lanczos", "hessian_moments"])
def test_fractions_of_every_run_but_the_diverged(snapshot, name):
    measured = INSTRUMENTS[name].measure(snapshot)
    assert set(measured) == set(INSTRUMENTS[name].variables)
    assert {variable for variable in measured if variable not in MIXTURE} <= set(LABELS) & PERCENT
    method = name.removeprefix("hessian_").removeprefix("few_")
    for run in (0, 2):
        expected = dense_fractions(snapshot, run)
        assert sum(float(measured[f"{part}_{method}"][run]) for part in PARTS) == pytest.approx(1)
        for part in PARTS if method != "moments" else ():  # the mixture need not fit
            low, high = (
                measured.get(f"{part}_{method}_{end}", measured[f"{part}_{method}"]) for end in ("low", "high")
            )
            assert float(low[run]) - 1e-9 <= expected[part] <= float(high[run]) + 1e-9
    assert all(values[1].isnan() for values in measured.values())


def test_the_mixture_that_is_kept_is_the_one_the_fractions_come_from(snapshot):
    measured = INSTRUMENTS["hessian_moments"].measure(snapshot)
    for run in (0, 2):
        fitted = Mixture(*(float(measured[name][run]) for name in MIXTURE))
        assert fitted.cdf(-WINDOW) == pytest.approx(float(measured["negative_moments"][run]), rel=1e-9, abs=1e-15)
        assert 1 - fitted.cdf(WINDOW) == pytest.approx(float(measured["positive_moments"][run]), rel=1e-9, abs=1e-12)


def test_fitted_spectra_are_drawn_after_three_epochs_or_the_last():
    rng = np.random.default_rng(0)
    shape = (2, 3, 3)
    values = {"w": 1e-3 * rng.random(shape), "xi": rng.random(shape), "omega": 1 + rng.random(shape)}
    values["alpha"] = rng.normal(size=shape)
    data = xr.Dataset(
        {f"mixture_{name}": (("network", "run", "epoch"), v) for name, v in values.items()},
        {"network": ["plain", "residual"], "run": range(3), "epoch": [0, 3, 5]},
    )
    data["mixture_w"][1] = np.nan  # never to be fitted
    axes = fitted("Spectra")(data).axes[0]
    line = axes.get_lines()[0]
    at_three = [Mixture(*(values[n][0, run, 1] for n in PARAMETERS)) for run in range(3)]
    x = line.get_xdata()
    np.testing.assert_allclose(line.get_ydata(), np.mean([m.pdf(x) for m in at_three], 0))
    assert [x.get_label() for x in axes.get_lines()] == ["plain, 3 runs"]
    assert "after 5 epochs" in fitted("Spectra")(data.sel(epoch=[0, 5])).get_suptitle()
