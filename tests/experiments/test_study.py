import dataclasses

import numpy as np
import pytest
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.errors import InputError
from nonsingular.experiments.run.instruments import INSTRUMENTS, LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import NetworkSpec
from nonsingular.training import BiasPenalty, Member, Trainer, TrainingSpec

CHEAP = [name for name in INSTRUMENTS if not name.startswith("hessian")]  # those are in test_hessian_instruments.py

SPEC = Spec(
    "test/study",
    "smoke",
    runs=3,
    seed=5,
    data=DataSpec("digits", train=200, test=50),
    networks=(
        Member("plain", NetworkSpec(3, 8)),
        Member("deep", NetworkSpec(5, 8, skip="identity")),
        Member("biased", NetworkSpec(3, 8), BiasPenalty(0.5, 0.5, 0.1)),
    ),
    training=TrainingSpec(epochs=3, batch=50, learning_rate=1e-2),
    instruments=dict.fromkeys(CHEAP) | {"gradient_norm": (0, 2)},
)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def results(folder):
    return run_study(SPEC, Workspace(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_study(SPEC, Workspace(tmp_path_factory.mktemp("whole"), runs_at_once=2))


def test_results_carry_the_fields_names(results):
    assert results.network.values.tolist() == ["plain", "deep", "biased"]
    assert results.run.values.tolist() == [5, 6, 7]
    assert results.epoch.values.tolist() == [0, 1, 2, 3]
    assert results.layer.values.tolist() == [1, 2, 3, 4, 5]
    assert results.train_accuracy.notnull().all()
    assert set(results.data_vars) <= set(LABELS)


def test_instruments_measure_when_asked(results):
    measured = results.gradient_norm.sel(network="deep").notnull().all(["run", "layer"])
    assert measured.values.tolist() == [True, False, True, False]


def test_shallow_networks_have_no_deep_layers(results):
    assert results.weight_norm.sel(network="plain", layer=[4, 5]).isnull().all()
    assert results.weight_norm.sel(network="deep").notnull().all()


def test_members_that_share_a_structure_share_a_start(results):
    start = results.weight_norm.sel(epoch=0)
    xr.testing.assert_allclose(start.sel(network="plain", drop=True), start.sel(network="biased", drop=True))


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_results_do_not_depend_on_how_runs_are_cut(results, whole, tmp_path, at_once):
    cut = whole if at_once == 2 else run_study(SPEC, Workspace(tmp_path, runs_at_once=at_once))
    smooth = ["train_loss", "weight_norm", "activation_norm"]
    xr.testing.assert_allclose(cut[smooth], results[smooth], rtol=2e-3, atol=1e-4)


def test_other_seeds_are_other_runs(results, tmp_path):
    shifted = run_study(dataclasses.replace(SPEC, seed=6, runs=2), Workspace(tmp_path))
    both = [6, 7]
    xr.testing.assert_allclose(shifted.train_loss.sel(run=both), results.train_loss.sel(run=both), rtol=2e-3)


FEW = dataclasses.replace(SPEC, instruments={"train_accuracy": None, "weight_norm": None, "gradient_norm": (0, 2)})
"""For stops at many moments; with every instrument one stop tells whether it goes on as it would have."""


@pytest.fixture(scope="module")
def whole_of_few(tmp_path_factory):
    return run_study(FEW, Workspace(tmp_path_factory.mktemp("few"), runs_at_once=2))


@pytest.mark.parametrize(("killed_after", "every"), [(13, True), *((steps, False) for steps in (1, 7, 22, 30, 35))])
def test_a_killed_study_resumes_to_the_same_results(whole, whole_of_few, tmp_path, monkeypatch, killed_after, every):
    spec, expected = (SPEC, whole) if every else (FEW, whole_of_few)
    workspace = Workspace(tmp_path / "killed", runs_at_once=2, checkpoint_seconds=0.0)
    step = Trainer._step
    steps = 0

    def mortal(self, *arguments):
        nonlocal steps
        steps += 1
        if steps == killed_after:
            raise Killed
        step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", mortal)
    with pytest.raises(Killed):
        run_study(spec, workspace)
    monkeypatch.setattr(Trainer, "_step", step)
    # Another cut is asked for, as after a change of free memory: the first one's must be kept.
    resumed = run_study(spec, dataclasses.replace(workspace, runs_at_once=3))
    xr.testing.assert_identical(resumed, expected)


def test_finished_work_is_not_done_again(results, folder, monkeypatch):
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained again"))
    xr.testing.assert_identical(run_study(SPEC, Workspace(folder)), results)


def test_a_diverged_run_is_marked_in_every_variable(tmp_path):
    wild = dataclasses.replace(
        SPEC,
        networks=SPEC.networks[:1],
        training=TrainingSpec(epochs=2, batch=50, learning_rate=1e30, optimiser="sgd"),
    )
    results = run_study(wild, Workspace(tmp_path))
    last = results.isel(epoch=-1, layer=[0, 1, 2]).drop_vars("gradient_norm")
    assert all(last[name].isnull().all() for name in last.data_vars)
    assert results.isel(epoch=0).train_accuracy.notnull().all()


def test_more_images_than_there_are_is_refused(tmp_path):
    greedy = dataclasses.replace(SPEC, data=DataSpec("digits", train=10**6))
    with pytest.raises(InputError, match="has 1,500 training images, 1,000,000 were asked for"):
        run_study(greedy, Workspace(tmp_path))


def test_specs_have_a_digest_of_their_content():
    assert SPEC.digest == dataclasses.replace(SPEC).digest
    assert SPEC.digest != dataclasses.replace(SPEC, seed=6).digest
    assert hash(SPEC) == hash(dataclasses.replace(SPEC))
    assert np.all([word in SPEC.to_json() for word in ("digits", "identity", "learning_rate")])
