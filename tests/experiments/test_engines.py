"""The same study computed in this process, in several processes, and on a Ray cluster that loses a node."""

import dataclasses
import json
import logging
import os
import threading

import own_figure
import pytest
import torch
import xarray as xr

from nonsingular import cli
from nonsingular.data import DataSpec
from nonsingular.errors import InputError, LibraryWarning
from nonsingular.experiments.run import archive, chunk, engines, study
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import NetworkSpec
from nonsingular.papers.registry import experiments
from nonsingular.training import Member, Trainer, TrainingSpec

SPEC = Spec(
    "test/engines",
    "smoke",
    runs=4,
    data=DataSpec("digits", train=200, test=50),
    networks=(Member("plain", NetworkSpec(3, 8)), Member("residual", NetworkSpec(3, 8, skip="identity"))),
    training=TrainingSpec(epochs=6, batch=50, learning_rate=1e-2),
    instruments={"train_accuracy": None, "weight_norm": None},
)
TWO_AT_ONCE = {"runs_at_once": 2, "checkpoint_seconds": 0.0}  # four chunks, and a stretch is one epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_study(SPEC, Workspace(tmp_path_factory.mktemp("whole"), **TWO_AT_ONCE))


class Counter:
    def __init__(self):
        self.total = self.done = 0

    def start(self, name, total, unit=""):
        self.total += total

    def advance(self, steps=1):
        self.done += steps


@pytest.fixture
def delivered(monkeypatch):
    """What arrived in the store, in order: (rows, epoch)."""
    seen = []
    write = study._write

    def note(store, rows, epoch, measured):
        seen.append((tuple(rows), epoch))
        write(store, rows, epoch, measured)

    monkeypatch.setattr(study, "_write", note)
    return seen


def assert_everything_once(delivered):
    assert len(delivered) == len(set(delivered)) == 4 * (SPEC.training.epochs + 1)


@pytest.mark.usefixtures("quick_start")
def test_several_devices(whole, tmp_path, monkeypatch, delivered):
    monkeypatch.setattr(engines, "open_engine", lambda _: engines.devices(["cpu", "cpu"]))
    progress = Counter()
    results = run_study(SPEC, Workspace(tmp_path, progress=progress, **TWO_AT_ONCE))
    xr.testing.assert_identical(results, whole)
    assert_everything_once(delivered)
    assert progress.done == progress.total > 0


@pytest.mark.usefixtures("quick_start")
def test_kept_weights_and_protocols_of_single_networks_on_every_engine(tmp_path, monkeypatch):
    slower = {"training": {"residual": {"learning_rate": 1e-3}}}
    spec = dataclasses.replace(SPEC, runs=2, keep="epochs", settings=slower)
    here, there, end, alone = (
        Workspace(tmp_path / name, runs_at_once=1, checkpoint_seconds=0.0) for name in ("here", "there", "end", "alone")
    )
    results = run_study(spec, here)
    run_study(dataclasses.replace(spec, keep="end"), end)
    plain = dataclasses.replace(spec, networks=spec.networks[1:], settings={}, keep="")
    plain = dataclasses.replace(plain, training=dataclasses.replace(plain.training, learning_rate=1e-3))
    expected = run_study(plain, alone)
    xr.testing.assert_allclose(results.sel(network=["residual"]).train_loss, expected.train_loss)
    monkeypatch.setattr(engines, "open_engine", lambda _: engines.devices(["cpu"]))
    xr.testing.assert_identical(run_study(spec, there), results)
    mine, theirs, last = (study.kept_weights(w) for w in (here, there, end))
    assert list(mine) == list(theirs) == list(last) == [chunk.Row(n, r) for n in range(2) for r in range(2)]
    for row, states in mine.items():
        assert len(states) == len(theirs[row]) == spec.training.epochs + 1
        for a, b in zip([*states, states[-1]], [*theirs[row], *last[row]], strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.usefixtures("quick_start")
def test_another_engine_finishes_what_one_began(whole, tmp_path, monkeypatch):
    step = Trainer._step
    left = iter(range(30))

    def mortal(self, *arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", mortal)
    with pytest.raises(KeyboardInterrupt):
        run_study(SPEC, Workspace(tmp_path, **TWO_AT_ONCE))
    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(engines, "open_engine", lambda _: engines.devices(["cpu"]))
    xr.testing.assert_identical(run_study(SPEC, Workspace(tmp_path, **TWO_AT_ONCE)), whole)


def test_work_is_cut_for_all_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "open_engine", lambda _: engines.devices(["cpu"] * 3))
    monkeypatch.setattr(engines.Elsewhere, "run", lambda self, jobs, *_: sizes.extend(len(j.rows) for j in jobs))
    sizes = []
    run_study(SPEC, Workspace(tmp_path))
    assert sizes == [2, 2, 2, 2]  # four rows a kind in three chunks or more


def test_a_damaged_checkpoint_is_done_without(whole, tmp_path):
    workspace = Workspace(tmp_path, **TWO_AT_ONCE)
    run_study(SPEC, workspace)
    path = tmp_path / "checkpoints" / "1.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"1\.pt is not a readable checkpoint.*started again now"):
        xr.testing.assert_identical(run_study(SPEC, workspace), whole)


def test_unknown_engines_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown engine 'slurm'; there are local, ray"):
        Workspace(tmp_path, engine="slurm")


ONE_OF_EACH_KIND = {e.run: e for e in experiments() if e.spec("smoke").training}.values()


@pytest.mark.parametrize("one", ONE_OF_EACH_KIND, ids=lambda one: one.id)
def test_whatever_trains_asks_for_the_engine(one, tmp_path, monkeypatch):
    def asked(workspace):
        assert workspace.engine == "ray"
        raise Asked

    monkeypatch.setattr(engines, "open_engine", asked)
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained without asking for an engine"))
    with pytest.raises(Asked):
        one.run(one.spec("smoke"), Workspace(tmp_path, engine="ray"))


class Asked(Exception):
    """For an engine."""


def test_what_trains_nothing_says_that_it_is_computed_here(tmp_path):
    options = ["--scale", "smoke", "--engine", "ray", "--out", str(tmp_path / "o")]
    with pytest.warns(LibraryWarning, match=r"subnetworks trains no networks: it is computed in this process, not on"):
        assert cli.run(["reproduce", "blumenfeld2020/subnetworks", *options]) == 0


# --- Ray ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head and a node with one core each; one for all tests of this file, for it takes seconds to come up."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's own switch to the loopback address
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "no_monitor": True}
    )
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    cluster.wait_for_nodes()
    yield cluster, node
    ray.shutdown()
    cluster.shutdown()


def test_a_node_dies_and_nothing_is_lost_or_done_twice(whole, tmp_path, cluster, delivered):
    cluster, node = cluster
    progress = Counter()

    def kill():
        while len(delivered) < 6:
            done.wait(0.05)
        cluster.remove_node(node, allow_graceful=False)

    done = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    results = run_study(SPEC, Workspace(tmp_path, progress=progress, engine="ray", **TWO_AT_ONCE))
    killer.join()
    xr.testing.assert_identical(results, whole)
    assert_everything_once(delivered)
    assert progress.done == progress.total


@pytest.mark.parametrize("whose", ["paper", "own"])
def test_ray_on_the_command_line(capsys, tmp_path, cluster, whose):
    """A user's own modules cannot be imported by the workers: they are sent along."""
    figure = "orhan2018/fig6" if whose == "paper" else own_figure.written(tmp_path)
    shorter = ["--epochs", "1", "--networks", "plain,residual"] if whose == "paper" else []
    for engine in ("local", "ray"):
        options = ["--scale", "smoke", "--runs", "2", *shorter, "--engine", engine, "--out", str(tmp_path / engine)]
        assert cli.run(["reproduce", figure, *options]) == 0, capsys.readouterr().err
    local, ray = (tmp_path / engine for engine in ("local", "ray"))
    xr.testing.assert_identical(archive.read(ray), archive.read(local))
    assert (ray / "claims.json").read_text() == (local / "claims.json").read_text()
    assert any(row["measured"] is not None for row in json.loads((ray / "claims.json").read_text()))


def test_without_ray_one_line_names_the_extra(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    status = cli.run(
        ["reproduce", "orhan2018/fig3", "--scale", "smoke", "--engine", "ray", "--out", str(tmp_path / "o")]
    )
    error = capsys.readouterr().err
    assert status == 2
    assert "pip install 'ray" in error
    assert error.count("\n") == 1
