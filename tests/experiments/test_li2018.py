"""Surfaces and paths of li2018: small real runs, known answers, claims made to hold, to fail and to be in doubt."""

import dataclasses

import matplotlib.figure
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex

from nonsingular import landscape
from nonsingular.data import DataSpec
from nonsingular.experiments.claims import judge
from nonsingular.experiments.run import chunk, engines
from nonsingular.experiments.run.rates import with_rates
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.networks import VGGSpec
from nonsingular.papers.li2018 import fig1, fig2, fig5, fig6, fig7, fig9
from nonsingular.papers.li2018.parts import curvature, drawings, lines
from nonsingular.papers.li2018.parts.comparisons import ROUGHNESS
from nonsingular.plots import style
from nonsingular.training import Store
from nonsingular.training.store import load_checkpoint

EXPERIMENTS = {m.FIGURE.id: m.FIGURE for m in (fig1, fig2, fig5, fig6, fig7, fig9)}
RUNS = 12


def verdicts(id, results):
    return {c.id.split("/")[-1]: judge(c, results, scale="smoke", data="none").verdict for c in EXPERIMENTS[id].claims}


def only(verdict, found):
    assert set(found.values()) == {verdict}, found


def rough(values, noise, reached=1.0):
    """Synthetic results: every measure of a network is its value, with noise over runs.

    Args:
        values: network -> value.
        noise: standard deviation over runs.
        reached: training accuracy at the end, of all networks or network -> accuracy.
    """
    rng = np.random.default_rng(0)
    names = list(values)
    level = np.array([values[n] for n in names])[:, None]
    measures = (*ROUGHNESS, "elongation", "sharpness", "test_error")
    end = [reached.get(n, 1.0) if isinstance(reached, dict) else reached for n in names]
    accuracy = np.broadcast_to(np.stack([np.full(len(names), 0.1), end], axis=1)[:, None], (len(names), RUNS, 2)).copy()
    return xr.Dataset(
        {m: (("network", "run"), level + noise * rng.normal(size=(len(names), RUNS))) for m in measures}
        | {"guidance": (("network", "run"), -level + noise * rng.normal(size=(len(names), RUNS)))}
        | {"train_accuracy": (("network", "run", "epoch"), accuracy)},
        {"network": names, "run": np.arange(RUNS), "epoch": [0, 1]},
        {"data": "cifar10"},
    )


AGREE = {
    "li2018/fig1": {"resnet-56": 1.0, "plainnet-56": 9.0},
    "li2018/fig5": {"resnet-20": 1.0, "plainnet-20": 2.0, "resnet-56": 1.2, "plainnet-56": 7.0,
                    "resnet-110": 1.3, "plainnet-110": 9.0},
    "li2018/fig6": {"resnet-k1": 3.0, "resnet-k2": 2.0, "resnet-k4": 1.0,
                    "plainnet-k1": 9.0, "plainnet-k2": 7.0, "plainnet-k4": 5.0},
}  # fmt: skip


@pytest.mark.parametrize("id", AGREE)
def test_claims_about_surfaces_hold_fail_and_are_in_doubt(id):
    only("holds", verdicts(id, rough(AGREE[id], 0.05)))
    opposite = rough({n: 10 - v for n, v in AGREE[id].items()}, 0.05)
    if id.endswith("fig5"):
        opposite["test_error"] = -opposite.test_error
        # Skips: still smaller gains without, but depth adds with them.
        for measure in ROUGHNESS:
            opposite[measure].loc["resnet-56"] += 20
            opposite[measure].loc["resnet-110"] += 40
    only("fails", verdicts(id, opposite))
    found = list(verdicts(id, rough(dict.fromkeys(AGREE[id], 5.0), 3.0)).values())
    assert found.count("inconclusive") >= len(found) - 1, found  # intervals miss 1 time in 20
    left_out = rough({k: v for k, v in AGREE[id].items() if k != "plainnet-56" and "plainnet-k" not in k}, 0.05)
    assert "inconclusive" in verdicts(id, left_out).values()


@pytest.mark.parametrize("id", AGREE)
def test_networks_that_have_not_trained_are_not_compared(id):
    """Whatever their surfaces look like; the claims say why."""
    results = rough(AGREE[id], 0.05, reached=0.4)
    for claim in EXPERIMENTS[id].claims:
        found = judge(claim, results, scale="laptop", data="cifar10")
        assert found.verdict == "inconclusive", claim.id
        assert "train" in found.note
        assert "33 " in found.note  # (0.4 - 0.1) / 0.9


def test_the_deep_plain_network_alone_untrained_leaves_the_shallow_comparisons():
    values = {"resnet-8": 1.0, "plainnet-8": 1.1, "resnet-20": 1.1, "plainnet-20": 3.0, "resnet-56": 1.2,
              "plainnet-56": -50.0}  # fmt: skip
    results = rough(values, 0.01, reached={"plainnet-56": 0.2})
    claims = EXPERIMENTS["li2018/fig5"].claims
    found = {c.id.split("/")[-1]: judge(c, results, scale="laptop", data="cifar10") for c in claims}
    assert found["skips-smooth-20-nonconvex"].verdict == "holds"
    assert found["skips-smooth-56-nonconvex"].verdict == "inconclusive"
    assert "plainnet-56 came 11 percent of the way" in found["skips-smooth-56-nonconvex"].note
    added = found["depth-roughens-plain-nonconvex"]
    assert added.verdict == "holds"
    assert added.measured == pytest.approx((3.0 - 1.1) / np.log2(20 / 8), abs=0.02)
    assert added.note.startswith("depths 8, 20")
    assert "plainnet-56 (11 % of the way)" in added.note
    assert found["skips-prevent-nonconvex"].verdict == "holds"
    first = judge(EXPERIMENTS["li2018/fig1"].claims[0], results, scale="laptop", data="cifar10")
    assert first.measured == pytest.approx(1.9, abs=0.02)
    assert first.note.startswith("20 layers")


def test_a_run_that_has_not_trained_is_left_out_of_a_network_that_has():
    results = rough({"resnet-56": 1.0, "plainnet-56": 9.0}, 0.0)
    results.train_accuracy.loc["plainnet-56", 0, 1] = 0.1
    results.excess_variation.loc["plainnet-56", 0] = 1e6
    found = judge(EXPERIMENTS["li2018/fig1"].claims[1], results, scale="laptop", data="cifar10")
    assert found.measured == pytest.approx(8.0)


def paths(late, in_plane, noise, reached=1.0):
    rng = np.random.default_rng(0)
    names = list(late)
    accuracy = np.full((len(names), RUNS, 61), 0.1)
    accuracy[..., -1] = reached
    return xr.Dataset(
        {
            "late_crossing": (
                ("network", "run"),
                np.array(list(late.values()))[:, None] + noise * rng.normal(size=(len(names), RUNS)),
            ),
            "in_plane": (("network", "run"), in_plane + noise * rng.normal(size=(len(names), RUNS))),
            "train_accuracy": (("network", "run", "epoch"), accuracy),
        },
        {"network": names, "run": np.arange(RUNS), "epoch": np.arange(61)},
        {"data": "cifar10"},
    )


def test_claims_about_paths_hold_fail_and_are_in_doubt():
    names = ("small-batch", "small-batch-decay", "large-batch", "large-batch-decay")
    only("holds", verdicts("li2018/fig9", paths(dict(zip(names, (0.2, 0.8, 0.3, 0.7), strict=True)), 0.8, 0.01)))
    only("fails", verdicts("li2018/fig9", paths(dict(zip(names, (0.9, 0.3, 0.9, 0.3), strict=True)), 0.2, 0.01)))
    doubt = verdicts("li2018/fig9", paths(dict.fromkeys(names, 0.64), 0.4, 0.5))
    assert list(doubt.values()).count("inconclusive") >= len(doubt) - 1, doubt
    walk = verdicts("li2018/fig9", paths(dict.fromkeys(names, 0.64), landscape.random_walk(61), 0.003))
    assert "holds" not in {v for name, v in walk.items() if "two-directions" in name}  # what any walk does
    agreeing = dict(zip(names, (0.2, 0.8, 0.3, 0.7), strict=True))
    only("inconclusive", verdicts("li2018/fig9", paths(agreeing, 0.8, 0.01, reached=0.5)))  # they have not trained


def maps(shares, bends, noise, reached=1.0):
    """Synthetic results of figure 7: how much of each network's map is nearly convex, and how much looks tell."""
    results = rough(shares, noise, reached)
    rng = np.random.default_rng(1)
    shape = (len(shares), RUNS)
    return results.assign(
        near_convex=results.nonconvex, bends=(("network", "run"), bends + noise * rng.normal(size=shape) / 100)
    )


def test_claims_about_eigenvalues_hold_fail_and_are_in_doubt():
    names = ("resnet-56", "plainnet-56", "densenet-100")
    only("holds", verdicts("li2018/fig7", maps(dict(zip(names, (80, 20, 90), strict=True)), 0.3, 1.0)))
    only("fails", verdicts("li2018/fig7", maps(dict(zip(names, (20, 80, 10), strict=True)), -0.3, 1.0)))
    only("inconclusive", verdicts("li2018/fig7", maps(dict.fromkeys(names, 50), 0.0, 20.0)))
    agreeing = dict(zip(names, (80, 20, 90), strict=True))
    only("inconclusive", verdicts("li2018/fig7", maps(agreeing, 0.3, 1.0, reached=0.2)))
    only("inconclusive", verdicts("li2018/fig7", maps(agreeing, np.nan, 1.0).drop_sel(network=["resnet-56", names[2]])))


def solutions(values, noise, reached=1.0):
    """Synthetic results of figure 2: network -> (sharpness, norm of the weights, test error)."""
    results = rough(dict.fromkeys(values, 0.0), 0.0, reached)
    rng = np.random.default_rng(0)
    for k, variable in enumerate(("sharpness", "weight_norm", "test_error")):
        level = np.array([v[k] for v in values.values()])[:, None]
        results[variable] = ("network", "run"), level + noise * rng.normal(size=(len(values), RUNS))
    return results


def test_claims_about_lines_hold_fail_and_are_in_doubt():
    names = ("small-batch", "large-batch", "small-batch-decay", "large-batch-decay")
    agreeing = dict(zip(names, ((1, 5, 20), (2, 5, 30), (2, 2, 20), (1, 4, 30)), strict=True))
    only("holds", verdicts("li2018/fig2", solutions(agreeing, 0.1)))
    opposite = {name: tuple(-v for v in values) for name, values in agreeing.items()}
    only("fails", verdicts("li2018/fig2", solutions(opposite, 0.1)))
    only("inconclusive", verdicts("li2018/fig2", solutions(dict.fromkeys(names, (1, 1, 1)), 3.0)))
    only("inconclusive", verdicts("li2018/fig2", solutions(agreeing, 0.1, reached=0.3)))


def test_sharpness_of_the_ends_of_a_line():
    x = np.linspace(-0.5, 1.5, 41)
    line = xr.DataArray(np.stack([x**2, 3 + 0 * x]), {"x": x}, ("run", "x"))
    steps = np.arange(1, 6) * 0.05
    np.testing.assert_allclose(lines.sharpness(line, 0), [np.mean(steps**2), 0], atol=1e-12)
    np.testing.assert_allclose(lines.sharpness(line, 1), [np.mean((1 - steps) ** 2) - 1, 0], atol=1e-12)
    outside = line.where((x > -0.1) & (x < 1.1))
    np.testing.assert_allclose(lines.sharpness(outside, 0), [np.mean(steps**2), 0], atol=1e-12)


def test_lines_end_in_the_solutions(results):
    data = results["li2018/fig2"][2]
    assert data.loss.dims == ("pair", "run", "x")
    assert list(data.pair.values) == list(lines.PAIRS)
    assert data.sharpness.notnull().all()
    (ends,) = np.nonzero(np.isin(np.round(data.x.values, 9), (0.0, 1.0)))
    assert np.isfinite(data.loss.isel(x=ends)).all()
    for name, figure in EXPERIMENTS["li2018/fig2"].draw(data).items():
        assert isinstance(figure, matplotlib.figure.Figure), name
        figure.draw_without_rendering()


def test_looks_are_held_against_the_whole_hessian():
    """Half of the plane is a bowl, half a hill; the ratio is what it is made to be on each."""
    fine, coarse = np.linspace(-1, 1, 17), np.linspace(-1, 1, 9)
    X, Y = np.meshgrid(fine, fine)
    hill = np.broadcast_to(coarse > 0, (9, 9))
    ratio = (("curvature_y", "curvature_x"), np.where(hill, 0.0, 0.7))
    found = xr.Dataset(
        {"loss": (("y", "x"), 3 + X**3 + Y**2), "hessian_ratio": ratio},
        {"x": fine, "y": fine, "curvature_x": coarse, "curvature_y": coarse},
    )  # fmt: skip
    # Convex for x >= 0; of those the column at x = 0 has the ratio 0.7, three others 0.
    assert curvature.bends(found) == pytest.approx(0.7 - 0.7 / 4)
    assert curvature.near_convex(found) == pytest.approx(100 * 4 / 9)
    assert np.isnan(curvature.bends(found.assign(loss=(("y", "x"), 3 + X**2 + Y**2))))
    assert np.isnan(curvature.near_convex(found.assign(hessian_ratio=found.hessian_ratio.where(found.curvature_x > 0))))


def test_pieces_of_the_images_have_their_mean():
    inputs, labels = torch.randn(300, 3, 2, 2), torch.zeros(300)
    pieces = curvature.pieces([(inputs, labels)])
    assert [len(y) for _, y in pieces] == [150, 150]
    assert torch.equal(torch.cat([x for x, _ in pieces]), inputs)


def tiny(module, runs=2, **settings):
    spec = module.FIGURE.spec("smoke")
    data = DataSpec("digits", 60, 40, scaling="channels", layout="image")
    training = dataclasses.replace(spec.training, epochs=3, batch=20, milestones=(2,))
    return dataclasses.replace(
        spec, runs=runs, data=data, training=training, settings={**spec.settings, "images": 20, "grid": 5, **settings}
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results by id, each read back from a store: what draw and claims see."""
    found = {}
    for module, settings in (
        (fig2, {"training": {}, "grid": 9}),
        (fig5, {}),
        (fig7, {"map": 3, "products": 3}),
        (fig9, {"training": {}}),
    ):
        folder = tmp_path_factory.mktemp("run") / module.__name__.rpartition(".")[2]
        spec = tiny(module, **settings)
        if module in (fig2, fig9):
            small = tuple(
                dataclasses.replace(m, network=VGGSpec(9, width=2, hidden=4, batch_norm=True)) for m in spec.networks
            )
            spec = dataclasses.replace(spec, networks=small, settings={**spec.settings, "training": {
                "small-batch": {"weight_decay": 0.0}, "large-batch": {"batch": 60},
                "large-batch-decay": {"batch": 30}}})  # fmt: skip
        experiment = module.FIGURE
        store = Store.save(folder / "r.zarr", experiment.run(spec, Workspace(folder)))
        found[experiment.id] = (spec, folder, store.read())
    return found


@pytest.mark.parametrize("id", ["li2018/fig5", "li2018/fig7", "li2018/fig9"])
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
    monkeypatch.setattr(chunk, "train", lambda *_: pytest.fail("a finished network is trained again"))
    again = fig5.FIGURE.run(spec, Workspace(folder))
    xr.testing.assert_identical(again, data.assign_coords(network=[str(n) for n in data.network.values]))


class Stop:
    """Progress that is interrupted after so many units of the stretch of work with this unit."""

    def __init__(self, unit, after):
        self.unit, self.left, self.current = unit, after, ""

    def start(self, name, total, unit="net-steps"):
        self.current = unit

    def advance(self, steps=1):
        if self.current == self.unit:
            self.left -= steps
            if self.left <= 0:
                raise KeyboardInterrupt


@pytest.mark.usefixtures("quick_start")
def test_stopped_training_and_stopped_surfaces_go_on_here_and_elsewhere(tmp_path, monkeypatch):
    """Stopped in the third epoch, and again in the second surface; finished by another process: as if in one go."""
    spec = tiny(fig1, runs=1, grid=3)
    whole = fig1.FIGURE.run(spec, Workspace(tmp_path / "whole" / "fig1"))
    folder = tmp_path / "parts" / "fig1"
    for unit, after in (("net-steps", 8), ("points", 14)):
        with pytest.raises(KeyboardInterrupt):
            fig1.FIGURE.run(spec, Workspace(folder, progress=Stop(unit, after), checkpoint_seconds=0.0))
        kept = load_checkpoint(folder / "training" / "checkpoints" / "0.pt")
        assert kept["epoch"] == (2 if unit == "net-steps" else 3)
    state = load_checkpoint(folder / "checkpoints" / "plainnet-14-0.pt")
    assert (state["points"], list(state["files"])) == (4, ["surface.npz"])
    monkeypatch.setattr(engines, "open_engine", lambda _: engines.devices(["cpu"]))
    monkeypatch.setattr(chunk, "train", lambda *_: pytest.fail("a finished network is trained again"))
    xr.testing.assert_identical(fig1.FIGURE.run(spec, Workspace(folder, checkpoint_seconds=0.0)), whole)


def test_figures_of_the_same_networks_train_them_once(results, monkeypatch):
    spec, folder, data = results["li2018/fig9"]
    monkeypatch.setattr(chunk, "train", lambda *_: pytest.fail("a finished network is trained again"))
    beside = folder.parent / "fig2"
    other = dataclasses.replace(spec, experiment="li2018/fig2", settings={**spec.settings, "grid": 9})
    between = fig2.FIGURE.run(other, Workspace(beside))
    xr.testing.assert_identical(between.train_loss.drop_attrs(), data.train_loss.drop_attrs())
    assert not (beside / "training").exists()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        fig2.FIGURE.run(dataclasses.replace(other, seed=5), Workspace(folder.parent / "another"))


def test_rates_are_those_with_the_lowest_training_loss(tmp_path):
    spec = tiny(fig1, runs=1, rates={"tried": [1e-4, 0.05, 1e12], "epochs": 2})
    chosen, found = with_rates(spec, Workspace(tmp_path))
    assert found.tried_loss.dims == ("network", "rate")
    assert np.isinf(found.tried_loss.sel(rate=1e12)).all()
    assert found.learning_rate.values.tolist() == [0.05, 0.05]
    assert chosen.settings["training"] == {m.name: {"learning_rate": 0.05} for m in spec.networks}
    assert with_rates(tiny(fig1), Workspace(tmp_path))[1].sizes == {}
    later = Workspace(tmp_path / "more runs", experiment_folder=tmp_path)
    xr.testing.assert_identical(with_rates(dataclasses.replace(spec, seed=7), later)[1], found)


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_scales_grow_and_other_data_sets_are_taken(id):
    specs = [EXPERIMENTS[id].spec(scale) for scale in ("smoke", "laptop", "paper")]
    assert [s.data.name for s in specs] == ["digits", "cifar10", "cifar10"]
    assert [s.training.epochs for s in specs] == sorted(s.training.epochs for s in specs)
    assert specs[2].settings["grid"] == (81 if id == "li2018/fig2" else 51)
    assert EXPERIMENTS[id].spec("smoke", data="mnist").data.name == "mnist"


def test_the_protocol_is_the_papers():
    spec = fig5.FIGURE.spec("paper")
    protocol = spec.training
    assert (protocol.optimiser, protocol.momentum, protocol.nesterov, protocol.weight_decay) == ("sgd", 0.9, True, 5e-4)
    assert (protocol.epochs, protocol.batch, protocol.learning_rate) == (300, 128, 0.1)
    assert protocol.milestones == (150, 225, 275)
    rates = {m.name: spec.of_member(n).training.learning_rate for n, m in enumerate(spec.networks)}
    slow = {"plainnet-56": 0.01, "plainnet-110": 0.01}
    assert rates == dict.fromkeys(("resnet-20", "plainnet-20", "resnet-56", "resnet-110"), 0.1) | slow
    widest = [m for m in fig6.FIGURE.spec("paper").networks if m.name.endswith("k4")]
    wide = {m.name: m.network.build((3, 32, 32), 10, 0) for m in widest}
    for network in wide.values():
        assert network.layers[0].conv.out_channels == network.layers[1].conv.out_channels == 64
    projections = [n for n, m in wide["resnet-k4"].shortcuts.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(projections) == 2


@pytest.mark.parametrize(("data", "augment"), [("cifar10", "crop+mirror"), ("digits", "none"), ("mnist", "none"),
                                               ("svhn", "none")])  # fmt: skip
def test_only_images_that_may_be_mirrored_are(data, augment):
    assert {EXPERIMENTS[id].spec("paper", data=data).training.augment for id in EXPERIMENTS} == {augment}


@pytest.mark.parametrize("id", ["li2018/fig1", "li2018/fig5", "li2018/fig6"])
def test_titles_tell_the_depths_that_there_are(id, results):
    drawn = results["li2018/fig5"][2]
    if id != "li2018/fig5":
        drawn = drawn.isel(network=slice(2, 4))
    if id == "li2018/fig6":
        drawn = drawn.assign_coords(network=["resnet-k2", "plainnet-k2"])
    for figure in EXPERIMENTS[id].draw(drawn).values():
        title = figure.get_suptitle()
        assert {"li2018/fig1": "ResNet-14 with", "li2018/fig5": "ResNet-8 and ResNet-14 with",
                "li2018/fig6": "Wide-ResNet-14,"}[id] in title  # fmt: skip


def test_a_densenet_is_no_resnet_and_has_its_own_colour(results):
    figures = EXPERIMENTS["li2018/fig7"].draw(results["li2018/fig7"][2])
    assert "ResNet-8 with and without skip connections, DenseNet-10;" in figures["contours"].get_suptitle()
    drawn = {to_hex(line.get_color()).upper() for line in figures["share"].axes[0].lines if line.get_marker() == "o"}
    assert drawn == {style.colour(name).upper() for name in ("resnet", "plainnet", "densenet")}


def test_what_has_not_trained_is_marked_in_figures(results):
    data = results["li2018/fig5"][2]
    assert set(np.unique(data.trained)) <= {0.0, 1.0}
    for trained_share, marked in ((0.0, True), (1.0, False)):
        figures = EXPERIMENTS["li2018/fig5"].draw(data.assign(trained=0 * data.trained + trained_share))
        panels = " ".join(ax.get_title() for ax in figures["contours"].axes)
        assert ("not trained" in panels) is marked
        assert ("not trained" in figures["roughness"].get_suptitle()) is marked
        assert ("not trained" in figures["flatness"].get_suptitle()) is marked


def test_live_figures_can_be_turned(results):
    pytest.importorskip("plotly")
    figures = drawings.each_path(results["li2018/fig9"][2])
    assert len(figures) == 4
    for figure in figures.values():
        assert {trace.type for trace in figure.data} == {"surface", "scatter3d"}
        figure.to_json()
