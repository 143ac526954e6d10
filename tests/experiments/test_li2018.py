"""Surfaces and paths of li2018: small real runs, known answers, claims made to hold, to fail and to be in doubt."""

import dataclasses

import matplotlib.figure
import numpy as np
import pytest
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments.claims import judge
from nonsingular.experiments.li2018 import fig1, fig5, fig6, fig9, trained
from nonsingular.experiments.workspace import Workspace
from nonsingular.networks import VGGSpec
from nonsingular.training import Store

EXPERIMENTS = {m.EXPERIMENTS[0].id: m.EXPERIMENTS[0] for m in (fig1, fig5, fig6, fig9)}
RUNS = 12


def verdicts(id, results):
    return {c.id.split("/")[-1]: judge(c, results, scale="smoke", data="none").verdict for c in EXPERIMENTS[id].claims}


def only(verdict, found):
    assert set(found.values()) == {verdict}, found


def rough(values, noise):
    """Synthetic results: every measure of a network is its value, with noise over runs."""
    rng = np.random.default_rng(0)
    names = list(values)
    level = np.array([values[n] for n in names])[:, None]
    measures = ("nonconvex", "total_variation", "excess_variation", "sharpness", "test_error")
    return xr.Dataset(
        {m: (("network", "run"), level + noise * rng.normal(size=(len(names), RUNS))) for m in measures},
        {"network": names, "run": np.arange(RUNS)},
    )


AGREE = {
    "li2018/fig1": {"resnet-56": 1.0, "plainnet-56": 9.0},
    "li2018/fig5": {"resnet-20": 1.0, "plainnet-20": 2.0, "resnet-56": 1.5, "plainnet-56": 9.0},
    "li2018/fig6": {"resnet-k1": 3.0, "resnet-k2": 2.0, "resnet-k4": 1.0,
                    "plainnet-k1": 9.0, "plainnet-k2": 7.0, "plainnet-k4": 5.0},
}  # fmt: skip


@pytest.mark.parametrize("id", AGREE)
def test_claims_about_surfaces_hold_fail_and_are_in_doubt(id):
    only("holds", verdicts(id, rough(AGREE[id], 0.05)))
    opposite = rough({n: 10 - v for n, v in AGREE[id].items()}, 0.05)
    if "test_error" in opposite and id.endswith("fig5"):
        opposite["test_error"] = -opposite.test_error
        opposite.nonconvex.loc["resnet-56"] += 20
        opposite.total_variation.loc["resnet-56"] += 20
        opposite.excess_variation.loc["resnet-56"] += 20
    only("fails", verdicts(id, opposite))
    found = list(verdicts(id, rough(dict.fromkeys(AGREE[id], 5.0), 3.0)).values())
    assert found.count("inconclusive") >= len(found) - 1, found  # intervals miss 1 time in 20
    left_out = rough({k: v for k, v in AGREE[id].items() if k != "plainnet-56" and "plainnet-k" not in k}, 0.05)
    assert "inconclusive" in verdicts(id, left_out).values()


def paths(late, in_plane, noise):
    rng = np.random.default_rng(0)
    names = list(late)
    return xr.Dataset(
        {
            "late_crossing": (
                ("network", "run"),
                np.array(list(late.values()))[:, None] + noise * rng.normal(size=(len(names), RUNS)),
            ),
            "in_plane": (("network", "run"), in_plane + noise * rng.normal(size=(len(names), RUNS))),
        },
        {"network": names, "run": np.arange(RUNS)},
    )


def test_claims_about_paths_hold_fail_and_are_in_doubt():
    names = ("small-batch", "small-batch-decay", "large-batch", "large-batch-decay")
    only("holds", verdicts("li2018/fig9", paths(dict(zip(names, (0.2, 0.8, 0.3, 0.7), strict=True)), 0.8, 0.01)))
    only("fails", verdicts("li2018/fig9", paths(dict(zip(names, (0.9, 0.3, 0.9, 0.3), strict=True)), 0.2, 0.01)))
    doubt = verdicts("li2018/fig9", paths(dict.fromkeys(names, 0.64), 0.4, 0.5))
    assert list(doubt.values()).count("inconclusive") >= len(doubt) - 1, doubt


AXIS = np.linspace(-1, 1, 41)


def plane(loss, path):
    X, Y = np.meshgrid(AXIS, AXIS)
    return xr.Dataset(
        {"loss": (("y", "x"), loss(X, Y)), "path_x": ("checkpoint", path[:, 0]), "path_y": ("checkpoint", path[:, 1])},
        {"x": AXIS, "y": AXIS},
    )


def test_crossing_is_one_across_isocurves_and_zero_along_them():
    angle = np.linspace(0, np.pi, 30)
    circle = 0.7 * np.stack([np.cos(angle), np.sin(angle)], 1)
    radius = np.stack([np.linspace(0.9, 0.1, 9)] * 2, 1) / np.sqrt(2)
    bowl = lambda X, Y: np.exp(X**2 + Y**2)  # noqa: E731
    np.testing.assert_allclose(fig9.crossing(plane(bowl, circle)), 0, atol=0.03)
    np.testing.assert_allclose(fig9.crossing(plane(bowl, radius)), 1, atol=1e-3)
    diagonal = np.stack([np.linspace(0, 0.8, 5)] * 2, 1)
    np.testing.assert_allclose(fig9.crossing(plane(lambda X, Y: np.exp(X), diagonal)), np.sqrt(0.5), atol=1e-3)
    still = np.zeros((3, 2))
    assert np.isnan(fig9.crossing(plane(bowl, still))).all()


def tiny(module, runs=2, **settings):
    spec = module.EXPERIMENTS[0].specs("smoke")
    data = DataSpec("digits", 60, 40, scaling="channels", layout="image")
    training = dataclasses.replace(spec.training, epochs=3, batch=20, milestones=(2,))
    return dataclasses.replace(
        spec, runs=runs, data=data, training=training, settings={**spec.settings, "images": 20, "grid": 5, **settings}
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results by id, each read back from a store: what draw and claims see."""
    found = {}
    for module, settings in ((fig5, {}), (fig9, {"training": {}})):
        folder = tmp_path_factory.mktemp("run")
        spec = tiny(module, **settings)
        if module is fig9:
            small = tuple(
                dataclasses.replace(m, network=VGGSpec(9, width=2, hidden=4, batch_norm=True)) for m in spec.networks
            )
            spec = dataclasses.replace(spec, networks=small, settings={**spec.settings, "training": {
                "small-batch": {"weight_decay": 0.0}, "large-batch": {"batch": 60}}})  # fmt: skip
        experiment = module.EXPERIMENTS[0]
        store = Store.save(folder / "r.zarr", experiment.run(spec, Workspace(folder)))
        found[experiment.id] = (spec, folder, store.read())
    return found


@pytest.mark.parametrize("id", ["li2018/fig5", "li2018/fig9"])
def test_results_have_every_run_and_figures_are_drawn_from_them(results, id):
    spec, _, data = results[id]
    assert data.loss.dims[:2] == ("network", "run")
    assert data.loss.shape == (len(spec.networks), 2, 5, 5)
    assert np.isfinite(data.loss).all()
    assert data.train_accuracy.sizes["epoch"] == 4
    for name, figure in EXPERIMENTS[id].draw(data).items():
        assert isinstance(figure, matplotlib.figure.Figure), name
        figure.draw_without_rendering()
    assert set(verdicts(id, data).values()) <= {"holds", "fails", "inconclusive"}


def test_a_second_run_takes_up_what_the_first_left(results, monkeypatch):
    spec, folder, data = results["li2018/fig5"]
    monkeypatch.setattr(trained.chunk, "train", lambda *_: pytest.fail("a finished network is trained again"))
    again = fig5.EXPERIMENTS[0].run(spec, Workspace(folder))
    xr.testing.assert_identical(again, data.assign_coords(network=[str(n) for n in data.network.values]))


def test_a_stopped_training_goes_on(tmp_path):
    spec = tiny(fig1, runs=1)
    whole = fig1.EXPERIMENTS[0].run(spec, Workspace(tmp_path / "whole"))

    class Stop:
        steps = 0

        def start(self, *_):
            pass

        def advance(self, steps=1):
            Stop.steps += steps
            if Stop.steps == 8:  # in the third epoch of the first network
                raise KeyboardInterrupt

    workspace = Workspace(tmp_path / "parts", progress=Stop(), checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fig1.EXPERIMENTS[0].run(spec, workspace)
    kept = trained.load_checkpoint(tmp_path / "parts" / "checkpoints" / "resnet-56-0.pt")
    assert kept["trainer"]["epoch"] == 2
    xr.testing.assert_identical(fig1.EXPERIMENTS[0].run(spec, Workspace(tmp_path / "parts")), whole)


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_scales_grow_and_other_data_sets_are_taken(id):
    specs = [EXPERIMENTS[id].specs(scale) for scale in ("smoke", "laptop", "paper")]
    assert [s.data.name for s in specs] == ["digits", "cifar10", "cifar10"]
    assert [s.training.epochs for s in specs] == sorted(s.training.epochs for s in specs)
    assert specs[2].settings["grid"] == 51
    assert EXPERIMENTS[id].specs("smoke", data="mnist").data.name == "mnist"


def test_live_figures_can_be_turned(results):
    pytest.importorskip("plotly")
    figures = fig9.live(results["li2018/fig9"][2])
    assert len(figures) == 4
    for figure in figures.values():
        assert {trace.type for trace in figure.data} == {"surface", "scatter3d"}
        figure.to_json()
