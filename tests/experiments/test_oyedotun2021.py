"""Verdicts of oyedotun2021 on synthetic results, the studies that several figures share, and the warm start."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.experiments import fit
from nonsingular.experiments.claims import judge
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.reproducing import reproduce
from nonsingular.experiments.run import study
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.networks import NetworkSpec, Residual, VGGSpec, build
from nonsingular.papers.oyedotun2021 import depth, tables
from nonsingular.papers.oyedotun2021.parts import donors, drawings
from nonsingular.papers.oyedotun2021.parts.by_depth import families as by_family
from nonsingular.papers.oyedotun2021.parts.representations import MATRICES as MATRIX_OF
from nonsingular.papers.oyedotun2021.parts.representations import onset, relative_onset
from nonsingular.papers.oyedotun2021.remedies import REMEDIES
from nonsingular.papers.registry import experiment
from nonsingular.training import Member, TrainingSpec

RUNS, EPOCHS, LAYERS = 10, 4, 163
TRIO = ("plainnet", "resnet", "resnext")


def accuracies(values, noise=0.0, seed=0, runs=RUNS):
    """Results of a study: split -> network -> accuracy at the end, with noise over runs; chance at the start."""
    rng = np.random.default_rng(seed)
    networks = list(next(iter(values.values())))
    data = {}
    for split, by_network in values.items():
        end = np.array([by_network[n] for n in networks])[:, None, None] + noise * rng.normal(
            size=(len(networks), runs, 1)
        )
        data[f"{split}_accuracy"] = (
            ("network", "run", "epoch"),
            np.linspace(0.1, end[..., 0], EPOCHS).transpose(1, 2, 0),
        )
        data[f"{split}_loss"] = (("network", "run", "epoch"), np.ones((len(networks), runs, EPOCHS)))
    return xr.Dataset(
        data, {"network": networks, "run": range(runs), "epoch": range(EPOCHS)}, {"data": "cifar10", "layers": 164}
    )


def both(**networks):
    return {"train": networks, "test": networks}


def verdicts(id, data):
    return {c.id.split("/")[-1]: judge(c, data, scale="smoke", data="none").verdict for c in experiment(id).claims}


def only(verdict, found, but=()):
    assert {v for k, v in found.items() if k not in but} == {verdict}, found


@pytest.mark.parametrize("table", ["table1", "table2", "table3"])
def test_tables(table):
    id = f"oyedotun2021/{table}"
    only("holds", verdicts(id, accuracies(both(plainnet=0.2, resnet=0.9, resnext=0.9), 0.01)))
    only("fails", verdicts(id, accuracies(both(plainnet=0.9, resnet=0.3, resnext=0.8), 0.01)), but=["resnext-trains",
         "plainnet-does-not-fit"])  # fmt: skip
    doubtful = verdicts(id, accuracies(both(plainnet=0.56, resnet=0.56, resnext=0.56), 0.5))
    assert list(doubtful.values()).count("inconclusive") >= 4, doubtful  # intervals miss 1 time in 20


def test_a_plain_network_fails_only_where_there_was_time_to_train():
    found = verdicts("oyedotun2021/table2", accuracies(both(plainnet=0.2, resnet=0.3, resnext=0.3), 0.01))
    assert found["plainnet-does-not-fit"] == "inconclusive"
    assert found["resnet-trains"] == "fails"
    found = verdicts("oyedotun2021/table2", accuracies(both(plainnet=0.9, resnet=0.95, resnext=0.95), 0.01))
    assert found["plainnet-does-not-fit"] == "fails"


def test_a_run_that_diverged_came_nowhere_and_is_named():
    data = accuracies(both(plainnet=0.3, resnet=0.9, resnext=0.9))
    data["train_accuracy"][0, :4, 1:] = np.nan
    data["train_loss"][0, :4, 1:] = np.nan
    assert fit.fitted(data, "plainnet")[:4].tolist() == [0] * 4
    assert fit.fitted(data, "plainnet")[5] == pytest.approx(100 * (0.3 - 0.1) / 0.9)
    assert fit.diverged(data, "plainnet", "resnet") == "4 of 10 plainnet runs diverged"


MATRICES = ("sample_condition_number", "streamed_condition_number")


def looks(plain, residual, imbalance=(3.0, 0.1), spread=(1.0, 2.0), noise=1e-3, reached=(0.12, 0.9), runs=RUNS):
    """Results of the study behind the figures: condition numbers by layer at the end, gradients and weights.

    ``plain`` and ``residual`` are [layer] or [run, layer], the same for both matrices; ``reached`` accuracies.
    """
    rng = np.random.default_rng(0)
    shape = (2, runs, EPOCHS, LAYERS)
    dims = ("network", "run", "epoch", "layer")
    both = np.stack([np.broadcast_to(c, (runs, LAYERS)) for c in (plain, residual)])
    condition = np.broadcast_to(both[:, :, None], shape) * np.exp(noise * rng.normal(size=(2, runs, 1, 1)))
    slope = np.array(imbalance)[:, None, None, None] + noise * rng.normal(size=(2, runs, 1, 1))
    gradient = np.broadcast_to(10 ** (slope * np.linspace(1, 0, LAYERS)), shape)
    width = 1 + (np.array(spread)[:, None, None, None] - 1) * np.linspace(0, 1, EPOCHS)[:, None]
    width = np.broadcast_to(width, shape) * np.exp(noise * rng.normal(size=(2, runs, EPOCHS, 1)))
    variables = {
        **{name: (dims, condition.copy()) for name in MATRICES},
        "streamed_gradient_norm": (dims, gradient),
        "weight_q05": (dims, -width),
        "weight_q95": (dims, width),
    }
    trained = accuracies({"train": dict(zip(("plainnet", "resnet"), reached, strict=True))}, runs=runs)
    return trained.assign(variables).assign_coords(layer=np.arange(LAYERS) + 1)


def infinite_from(layer, value=10.0):
    return np.where(np.arange(LAYERS) + 1 >= layer, np.inf, value)


NEVER = ("never-infinite", "never-infinite-channels")
FALLING = np.geomspace(1e5, 1e2, LAYERS)


def test_figures_5_to_8():
    agree = looks(infinite_from(80), FALLING)
    contradict = looks(FALLING, infinite_from(30), imbalance=(0.1, 3.0), spread=(2.0, 1.0))
    for number in (5, 6, 7, 8):
        only("holds", verdicts(f"oyedotun2021/fig{number}", agree))
        only("fails", verdicts(f"oyedotun2021/fig{number}", contradict))
    even = looks(np.full(LAYERS, 50.0), np.full(LAYERS, 50.0), imbalance=(1.0, 1.0), spread=(1.5, 1.5), noise=1.0)
    for number in (6, 8):
        only("inconclusive", verdicts(f"oyedotun2021/fig{number}", even))


@pytest.mark.parametrize(
    ("runs", "singular", "verdict"),
    [(3, 0, "inconclusive"), (5, 0, "holds"), (5, 1, "inconclusive"), (20, 4, "holds"), (5, 5, "fails")],
)
def test_never_is_said_of_runs_by_an_interval_of_their_share(runs, singular, verdict):
    residual = np.stack([infinite_from(LAYERS - 10)] * singular + [FALLING] * (runs - singular))
    found = verdicts("oyedotun2021/fig7", looks(infinite_from(80), residual, runs=runs))
    assert [found[name] for name in NEVER] == [verdict, verdict]


def test_condition_numbers_in_doubt():
    """Half of the runs of both networks become infinite half way, some runs of the ResNet in a few layers."""
    half = np.stack([infinite_from(60) if run % 2 else FALLING**4 for run in range(RUNS)])
    found = verdicts("oyedotun2021/fig5", looks(half, half)) | verdicts("oyedotun2021/fig7", looks(half, half))
    only("inconclusive", found, but=["never-infinite", "never-infinite-channels"])
    few = np.stack([FALLING] * (RUNS - 4) + [infinite_from(LAYERS - 10)] * 4)
    found = verdicts("oyedotun2021/fig7", looks(infinite_from(80), few))
    assert found["never-infinite"] == found["never-infinite-channels"] == "inconclusive"
    assert found["fewer-infinite"] == found["later-onset"] == "holds"


def test_each_claim_reads_its_own_matrix():
    data = looks(infinite_from(80), FALLING)
    data["streamed_condition_number"] = looks(FALLING, infinite_from(30)).streamed_condition_number
    for figure in ("fig5", "fig7"):
        for name, verdict in verdicts(f"oyedotun2021/{figure}", data).items():
            expected = "fails" if name.endswith("-channels") else "holds"
            assert verdict == expected, name


def test_nothing_is_told_of_skips_before_the_resnet_has_trained():
    for reached in ((0.12, 0.3), (0.12, np.nan)):
        data = looks(infinite_from(80), FALLING, reached=reached)
        for figure in ("fig5", "fig7", "fig8"):
            only("inconclusive", verdicts(f"oyedotun2021/{figure}", data), but=["gradients-in-balance"])


def test_never_infinite_is_vacuous_where_no_network_is():
    found = verdicts("oyedotun2021/fig7", looks(FALLING, FALLING))
    assert found["never-infinite"] == found["never-infinite-channels"] == "inconclusive"
    assert found["fewer-infinite"] == found["later-onset"] == "inconclusive"  # there are as many, none


def test_what_is_singular_inside_a_block_is_not_counted():
    inside = np.where(np.arange(LAYERS) % 3, np.inf, FALLING)
    assert onset(looks(infinite_from(80), inside), "resnet", MATRICES[0]).value == np.inf
    only("holds", verdicts("oyedotun2021/fig7", looks(infinite_from(80), inside)))


@pytest.mark.parametrize(("suffix", "matrix"), MATRIX_OF.items())
def test_onset_is_the_first_infinite_layer_with_its_interval(suffix, matrix):
    # Layers after an addition are 1, 4, 7 and so on: 70, 73, ... 97
    data = looks(np.stack([infinite_from(68 + 3 * run) for run in range(RUNS)]), FALLING)
    found = onset(data, "plainnet", matrix)
    assert found.value == pytest.approx(83.5)
    assert 70 < found.low < 83.5 < found.high < 97
    assert relative_onset(suffix).effect(data).value == pytest.approx(83.5 / 80)
    data.attrs["data"] = "cifar100-fine"
    assert relative_onset(suffix).effect(data).value == pytest.approx(83.5 / 100)


def test_no_infinite_layer_is_no_late_one():
    data = looks(FALLING, FALLING)
    assert verdicts("oyedotun2021/fig5", data)["onset"] == "fails"
    assert relative_onset("").effect(data).value == np.inf
    data["sample_condition_number"][0, 0] = infinite_from(80)
    found = onset(data, "plainnet", MATRICES[0])
    assert found.note.startswith("1 of 10 runs")
    assert found.high <= LAYERS + 1  # no interval leaves the network


def test_before_training_nothing_is_said_of_its_end():
    data = looks(infinite_from(80), FALLING)
    for matrix in MATRICES:
        data[matrix][:, :, 1:] = np.nan
    only("inconclusive", verdicts("oyedotun2021/fig7", data))


def sweep(slopes, noise=0.0, seed=0, runs=RUNS):
    """Accuracies that change by ``slopes`` points a doubling, from 50 % at 8 layers."""
    networks = {
        f"{family}-{d}": 0.5 + slope * (np.log2(d) - 3)
        for family, slope in slopes.items()
        for d in (8, 14, 20, 56, 110)
    }
    return accuracies({"train": networks, "test": networks}, noise, seed, runs)


@pytest.mark.parametrize(("id", "families"), [("table4", ("resnet",)), ("depth-sweep", tuple(depth.KINDS))])
def test_depth(id, families):
    id = f"oyedotun2021/{id}"
    only("holds", verdicts(id, sweep({"plainnet": -0.1, **dict.fromkeys(families, 0.1)}, 0.005, runs=30)))
    only("fails", verdicts(id, sweep({"plainnet": 0.1, **dict.fromkeys(families, -0.1)}, 0.005)))
    doubtful = []
    for seed in range(4):
        found = verdicts(id, sweep(dict.fromkeys(("plainnet", *families), 0.0), 1.0, seed))
        del found["plainnet-best-depth"]  # of networks that do not differ some depth is best: see below
        doubtful += found.values()
    assert doubtful.count("inconclusive") >= 0.8 * len(doubtful)  # intervals miss 1 time in 20


@pytest.mark.parametrize(("id", "families"), [("table4", ("resnet",)), ("depth-sweep", tuple(depth.KINDS))])
def test_depth_is_not_judged_where_no_deep_network_had_time_to_train(id, families):
    data = sweep({"plainnet": -0.1, **dict.fromkeys(families, -0.03)}, 0.005)  # 0.12 and 0.39 with 110 layers
    only("inconclusive", verdicts(f"oyedotun2021/{id}", data))
    data["train_accuracy"].loc[{"network": f"{families[-1]}-110"}] = 0.9
    assert verdicts(f"oyedotun2021/{id}", data)["plainnet-ruined"] == "holds"


def test_that_depth_helps_is_said_of_new_images():
    """On training images all that is deep enough reaches no error, and cannot reach more."""
    data = sweep({"plainnet": -0.1, "resnet": 0.0})
    data["train_accuracy"].loc[{"network": [n for n in data.network.values if n.startswith("resnet")], "epoch": 3}] = (
        1.0
    )
    data["test_accuracy"] = sweep({"plainnet": -0.1, "resnet": 0.05}, 0.005).test_accuracy
    assert verdicts("oyedotun2021/table4", data)["resnet-deeper"] == "holds"
    data["test_accuracy"] = sweep({"plainnet": -0.1, "resnet": -0.05}, 0.005).test_accuracy
    assert verdicts("oyedotun2021/table4", data)["resnet-deeper"] == "fails"


def test_a_claim_of_the_article_counts_once():
    """The other reading of what a representation is, and what the article shows without a word, are ours."""
    for number in (5, 6, 7, 8):
        for found in experiment(f"oyedotun2021/fig{number}").claims:
            assert found.ours is (found.id.endswith("-channels") or number in (6, 8)), found.id


def test_intervals_do_not_leave_what_is_possible():
    few = accuracies(both(plainnet=0.5, resnet=0.98, resnext=0.9))
    few["train_accuracy"][1, ::2, -1] = 0.3
    few = few.isel(run=slice(0, 2))
    by_name = {c.id.split("/")[-1]: c.effect for c in experiment("oyedotun2021/table2").claims}
    assert by_name["resnet-trains"](few).high <= 100
    assert by_name["resnet-trains"](few).low >= -100 / 9 - 1e-9
    assert fit.possible(few) == pytest.approx((-100 / 9, 100))
    found = sweep({"plainnet": 0.0, "resnet": 0.1}).isel(run=slice(0, 2))
    found["train_accuracy"].loc[{"network": "plainnet-110", "run": 0, "epoch": 3}] = 0.9
    best = {c.id.split("/")[-1]: c.effect for c in experiment("oyedotun2021/table4").claims}["plainnet-best-depth"]
    assert (best(found).low, best(found).high) == (8, 110)


def test_the_best_depth_in_doubt():
    data = sweep({"plainnet": 0.0, "resnet": 0.0})
    for run in range(RUNS):
        data["train_accuracy"].loc[{"network": "plainnet-8" if run % 2 else "plainnet-56", "run": run, "epoch": 3}] = (
            0.9
        )
    assert verdicts("oyedotun2021/table4", data)["plainnet-best-depth"] == "inconclusive"


def test_the_sweep_compares_like_depths():
    for scale in ("smoke", "laptop", "overnight", "paper"):
        members = experiment("oyedotun2021/depth-sweep").spec(scale).networks
        assert all(int(m.name.rpartition("-")[2]) == m.network.depth + 1 for m in members)
        found = by_family(xr.Dataset(coords={"network": [m.name for m in members]}))
        assert list(found) == ["plainnet", "resnet", *list(depth.KINDS)[1:]]
        for group in zip(*(f.values() for f in found.values()), strict=True):
            assert max(group) - min(group) <= (3 if scale == "paper" else 1)
    fractal = members[-1].network
    assert (fractal.blocks, fractal.dropout, fractal.drop_path, fractal.depth) == (5, 0.4, 0.15, 160)


def test_vgg_warm_start():
    id = "oyedotun2021/vgg-warm-start"
    names = ("vgg-11", "vgg-13", "vgg-16", "vgg-13-warm", "vgg-16-warm")
    agree = dict(zip(names, (0.9, 0.2, 0.1, 0.9, 0.9), strict=True))
    contradict = dict(zip(names, (0.9, 0.9, 0.9, 0.2, 0.1), strict=True))
    only("holds", verdicts(id, accuracies(both(**agree), 0.01)))
    trains = verdicts(id, accuracies(both(**contradict), 0.01))
    only("fails", trains, but=["vgg-11-trains", "vgg-13-rescued", "vgg-16-rescued"])
    only("inconclusive", {name: trains[name] for name in ("vgg-13-rescued", "vgg-16-rescued")})
    no_help = dict(zip(names, (0.9, 0.4, 0.4, 0.2, 0.1), strict=True))
    only(
        "fails", verdicts(id, accuracies(both(**no_help), 0.01)), but=["vgg-11-trains", "vgg-13-fails", "vgg-16-fails"]
    )
    doubt = verdicts(id, accuracies(both(**dict.fromkeys(names, 0.56)), 0.5))
    assert list(doubt.values()).count("inconclusive") >= len(doubt) - 1


def test_nothing_is_rescued_of_what_trains_from_scratch():
    claims = {c.id.split("/")[-1]: c for c in experiment("oyedotun2021/vgg-warm-start").claims}
    data = accuracies(
        both(**{"vgg-11": 0.9, "vgg-13": 0.6, "vgg-16": 0.2, "vgg-13-warm": 0.95, "vgg-16-warm": 0.3}), 1e-4
    )
    found = {name: judge(claim, data, scale="laptop", data="cifar10") for name, claim in claims.items()}
    assert found["vgg-13-rescued"].verdict == "inconclusive"
    assert "vgg-13 trains from scratch here" in found["vgg-13-rescued"].note
    assert "vgg-13: 55.6" in found["vgg-13-rescued"].note
    assert found["vgg-16-rescued"].verdict == "holds"  # it got further, though not far enough to have trained
    assert found["vgg-16-warm-trains"].verdict == "fails"
    data.train_accuracy.loc["vgg-11"] = 0.2
    refused = {
        name for name, claim in claims.items() if judge(claim, data, scale="x", data="x").verdict == "inconclusive"
    }
    assert refused == set(claims) - {"vgg-11-trains"}


def remedied(glorot, he, norm, skips, noise=0.005):
    """What each family reaches at 8, 20 and 110 layers."""
    by_family_ = dict(zip((*REMEDIES, "resnet"), (glorot, he, norm, skips), strict=True))
    networks = {f"{f}-{d}": a for f, row in by_family_.items() for d, a in zip((8, 20, 110), row, strict=True)}
    return accuracies(both(**networks), noise)


def test_remedies():
    id = "oyedotun2021/remedies"
    fine = (0.9, 0.9, 0.9)
    only("holds", verdicts(id, remedied((0.9, 0.1, 0.1), (0.9, 0.6, 0.1), (0.9, 0.9, 0.3), fine)))
    only("fails", verdicts(id, remedied(fine, (0.9, 0.8, 0.8), (0.8, 0.6, 0.5), (0.9, 0.7, 0.6))), but=["skips-do"])
    noisy = ((0.5, 0.5, 0.5),) * 3 + ((0.6, 0.6, 0.6),)
    only("inconclusive", verdicts(id, remedied(*noisy, noise=1.0)), but=["beyond-some-depth-nothing-does"])
    untrained = verdicts(id, remedied(*((0.2, 0.2, 0.2),) * 4))
    only("inconclusive", untrained)
    half = remedied((0.9, 0.1, 0.1), (0.9, 0.6, 0.1), (0.9, 0.9, 0.3), fine)
    half.train_accuracy.loc["plainnet-norm-110", ::2] = 0.9
    assert verdicts(id, half)["beyond-some-depth-nothing-does"] == "inconclusive"


def test_all_networks_train_at_the_rate_found_for_the_donor(tmp_path):
    figure = experiment("oyedotun2021/vgg-warm-start")
    spec = make_spec(figure, "smoke", Overrides(runs=1, epochs=1, data="digits"))
    spec = dataclasses.replace(spec, settings={"rates": {"tried": [1e-4, 0.01], "epochs": 1}})
    found = figure.run(spec, Workspace(tmp_path))
    rates = found.learning_rate.values
    assert rates[0] in (1e-4, 0.01)
    assert (rates == rates[0]).all()
    assert np.isfinite(found.tried_loss.sel(network="vgg-11")).all()
    assert np.isnan(found.tried_loss.sel(network="vgg-16-warm")).all()


@pytest.mark.parametrize("layers", [13, 16])
def test_a_warm_start_takes_eleven_layers_and_no_more(layers):
    shape = (3, 16, 16)
    donor = build(VGGSpec(11, 4, 8), shape, 10, 5)
    cold = build(VGGSpec(layers, 4, 8), shape, 10, 0)
    warm = donors.Warm(VGGSpec(layers, 4, 8), donors.Donors({0: donor})).build(shape, 10, 0)
    pairs = donors.shared_layers(warm, donor, layers)
    assert len(pairs) == 11
    for mine, theirs in pairs:
        assert all(torch.equal(p, q) for p, q in zip(mine.parameters(), theirs.parameters(), strict=True))
    taken = {id(mine) for mine, _ in pairs}
    rest = [(a, b) for a, b in zip(warm.layers, cold.layers, strict=True) if id(a) not in taken]
    assert len(rest) == layers - 11
    for a, b in rest:
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


TINY = Overrides(runs=1, epochs=1, networks=("plainnet", "resnet"))


def tiny(id):
    found = experiment(id)
    return found, make_spec(found, "smoke", TINY)


def test_figures_share_one_study(tmp_path, monkeypatch):
    first, spec = tiny("oyedotun2021/table2")
    trained = reproduce(first, spec, Workspace(tmp_path / "table2"))

    def refuse(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr("nonsingular.experiments.run.chunk.Trainer.train_epoch", refuse)
    second, other = tiny("oyedotun2021/fig5")
    copied = reproduce(second, other, Workspace(tmp_path / "fig5"))
    xr.testing.assert_identical(trained.results.drop_attrs(), copied.results.drop_attrs())
    assert (tmp_path / "fig5" / "figures" / "conditioning.png").exists()
    with pytest.raises(AssertionError, match="trained again"):
        reproduce(second, make_spec(second, "smoke", Overrides(runs=1, epochs=1, seed=7)), Workspace(tmp_path / "fig7"))


def test_an_unfinished_or_damaged_neighbour_is_not_copied(tmp_path):
    _, spec = tiny("oyedotun2021/fig6")
    for name, content in (("unfinished", spec.to_json()), ("damaged", "{")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "spec.json").write_text(content)
        (folder / "checkpoints").mkdir()
        (folder / "results.zarr").mkdir()
    (tmp_path / "damaged" / "claims.json").write_text("[]")
    (tmp_path / "mine").mkdir()
    results = run_shared(spec, Workspace(tmp_path / "mine"))
    assert np.isfinite(results.train_accuracy).all()
    assert json.loads((tmp_path / "unfinished" / "spec.json").read_text())
    assert study.run_study(spec, Workspace(tmp_path / "mine")).identical(results)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_scales_have_164_layers_and_the_papers_data(scale):
    for number, (name, _) in tables.DATA.items():
        spec = experiment(f"oyedotun2021/table{number}").spec(scale)
        assert {m.network.layers for m in spec.networks} == {164}
        assert spec.data.name == name
        assert spec.data.layout == "image"
    plain, residual, _ = (m.network for m in spec.networks)
    assert plain == type(residual)(**{**vars(residual), "skips": False})


def test_the_papers_networks_are_those_of_he_2016b_and_xie_2017():
    spec = experiment("oyedotun2021/table2").spec("paper")
    plain, residual, aggregated = (m.network for m in spec.networks)
    assert (residual.order, residual.block, residual.shortcut) == ("pre", "bottleneck", "projected")
    assert (aggregated.order, aggregated.shortcut, aggregated.inner(0)) == ("post", "projected", 32)
    assert [count(n) for n in (plain, residual, aggregated)] == [1_661_274, 1_703_258, 2_039_898]
    assert (spec.training.rate(0), spec.training.rate(1)) == pytest.approx((0.01, 0.1))


@pytest.mark.parametrize("scale", ["smoke", "laptop"])
def test_thin_networks_have_skips_without_parameters(scale):
    plain, residual, _ = (m.network for m in experiment("oyedotun2021/table2").spec(scale).networks)
    assert count(plain) == count(residual)


def count(spec):
    with torch.device("meta"):
        return sum(p.numel() for p in Residual(spec, 3, 10).parameters())


def test_the_end_is_looked_at_however_many_epochs_are_asked_for(tmp_path):
    look = experiment("oyedotun2021/fig5").spec("laptop").instruments["representations"]
    spec = Spec(
        "test",
        "smoke",
        data=DataSpec("digits", 100, 50),
        networks=(Member("plain", NetworkSpec(2, 4)),),
        training=TrainingSpec(epochs=3, batch=50),
        instruments={"weight_norm": look},
    )
    found = study.run_study(spec, Workspace(tmp_path)).weight_norm.notnull().all(["network", "run", "layer"])
    assert found.values.tolist() == [True, True, False, True]


def test_condition_numbers_are_drawn_where_they_are_judged():
    """After additions alone: other layers have other widths, and a line through all of them is a saw."""
    data = looks(infinite_from(80), FALLING)
    data["streamed_effective_rank"] = 1 + 0 * data.weight_q95
    figure = drawings.conditioning(data)
    curves = [line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2]
    (layers,) = {tuple(line.get_xdata()) for line in curves}
    assert layers == tuple(range(1, LAYERS + 1, 3))
