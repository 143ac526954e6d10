"""The figures of orhan2018 end to end on the bundled digits, and what they refuse."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from synthetic_results import agreeing

from nonsingular import cli
from nonsingular.experiments.claims import judge
from nonsingular.papers.orhan2018 import fig1, fig4, fig7, fig8
from nonsingular.papers.orhan2018.parts import (
    best_and_worst,
    bias_regularisation,
    input_scalings,
    singular_points,
    trainable_depth,
)
from nonsingular.papers.registry import experiment
from nonsingular.plots import symmetry
from nonsingular.training import Store

pytestmark = pytest.mark.drawn

FEW = {
    "orhan2018/fig5": ["--networks", "residual,plain"],
    "orhan2018/fig7": ["--networks", "residual,orthogonal,1-vector"],
    "orhan2018/fig8": ["--networks", "tau=0,tau=0.025,covariance-tau=0.025"],
    "orhan2018/depth": [],
    "orhan2018/input-scale": [
        "--networks",
        ",".join(f"{n}@{s}" for n in ("plain", "residual") for s in input_scalings.SCALINGS),
    ],
    "orhan2018/figS6": [],
}
"""Experiment -> what keeps its run short."""


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """An experiment's folder after a short run at smoke scale, made once."""
    made = {}

    def folder(id):
        if id not in made:
            made[id] = tmp_path_factory.mktemp("out") / "o"
            short = ["--scale", "smoke", "--runs", "1", "--epochs", "1", *FEW[id]]
            assert cli.run(["reproduce", id, *short, "--out", str(made[id])]) == 0
        return made[id]

    return folder


@pytest.mark.parametrize("id", FEW)
def test_everything_is_measured_drawn_and_judged(reproduced, id):
    out = reproduced(id)
    assert len(json.loads((out / "claims.json").read_text())) == len(experiment(id).claims)
    results = Store(out / "results.zarr").read()
    assert results.train_accuracy.notnull().all()
    assert ((results.train_accuracy >= 0) & (results.train_accuracy <= 1)).all()
    assert {path.stem for path in (out / "figures").glob("*.png")} == set(experiment(id).draw(results))
    assert (out / "report.html").exists()


def test_figures_need_no_network_that_was_left_out():
    """Drawn from what there is, down to one network."""
    for id in ("orhan2018/fig7", "orhan2018/fig8", "orhan2018/depth"):
        whole = agreeing(id)
        for name in whole.network.values[:: len(whole.network) - 1]:
            experiment(id).draw(whole.sel(network=[name]))


def test_the_spec_of_figure_7_has_every_count_of_vectors():
    for scale in ("smoke", "laptop", "overnight", "paper"):
        networks = {m.name: m.network for m in fig7.FIGURE.spec(scale).networks}
        assert networks.pop("residual").skip == "identity"
        assert networks.pop("plain").skip == "none"
        counts = (128, 32, 8, 1) if scale == "overnight" else (128, 64, 32, 16, 8, 4, 2, 1)
        assert [n.skip for n in networks.values()] == [f"copies:{c}" for c in counts]
    assert fig7.FIGURE.spec("paper").networks[0].network.depth == 30
    assert fig7.FIGURE.spec("paper").runs == 10


def test_figures_5_and_6_are_one_study():
    both = [replace(experiment(f"orhan2018/{id}").spec("paper"), experiment="") for id in ("fig5", "fig6")]
    assert both[0] == both[1]
    assert [m.name for m in both[0].networks if m.penalty] == [
        bias_regularisation.BIAS,
        bias_regularisation.NORMALISED,
        "bias-l2",
    ]


def test_the_spec_of_figure_8_has_the_papers_tau():
    skips = [m.network.skip for m in fig8.FIGURE.spec("paper").networks]
    taus = ("0", "0.005", "0.01", "0.015", "0.02", "0.025")
    assert skips == [f"{kind}:{t}" for kind in ("equalised", "covariance") for t in taus]


def test_eigenvalues_of_trained_networks_skips_lie_on_the_unit_circle(reproduced):
    start = Store(reproduced("orhan2018/fig8") / "results.zarr").read().isel(epoch=0)
    assert start.skip_modulus.isel(layer=0).isnull().all()  # no skip into the first layer
    looked_at = start.skip_modulus.dropna("layer", how="all").layer
    assert looked_at.values.tolist() == [2, 5, 7, 10]
    moduli = start.skip_modulus.sel(layer=looked_at)
    off = np.abs(moduli - 1).max(["layer", "mode"])
    assert 0 < float(off.min()) <= float(off.max()) < 1e-6
    assert len(np.unique(off)) == off.size, (
        "kept in float32 distances of many runs were the same multiple of its rounding"
    )
    assert moduli.notnull().all()
    tau = fig8.TAUS["tau=0.025"]
    of = start.sel(network="tau=0.025", layer=looked_at)
    np.testing.assert_allclose(start.eigenvector_correlation.sum("mode").sel(layer=looked_at), 128, rtol=1e-6)
    slope = np.polyfit(np.arange(128), np.log(of.eigenvector_correlation.mean(["run", "layer"])), 1)[0]
    assert abs(-slope / tau - 1) < 0.05


def test_best_and_worst_of_a_hundred_are_ten_and_ten():
    assert fig4.FIGURE.spec("paper").runs == 100
    results = agreeing("orhan2018/fig4")
    groups = best_and_worst.groups(results)
    accuracy = results.train_accuracy.sel(network="plain").mean("epoch")
    assert groups.sizes["run"] == 10
    assert float(groups.train_accuracy.sel(network="best").min()) >= float(accuracy.sortby(accuracy)[89])
    assert float(groups.train_accuracy.sel(network="worst").max()) <= float(accuracy.sortby(accuracy)[10])


@pytest.mark.parametrize(
    ("gains", "end"),
    [
        ([1.0] * 6, 50.0),
        ([0.1] * 6, 2.0),
        ([1.0, 1.0, 1.0, 1.0, 0.0, 1.0], 10 ** ((np.log10(20) + np.log10(30)) / 2)),
        ([1.0, 0.5, 0.49, 0.0, 0.0, 0.0], 5.0),
    ],
)
def test_trainable_depth_is_where_half_the_best_gain_is_lost(gains, end):
    accuracy = np.zeros((12, 1, 2))
    accuracy[:6, 0, 1] = 0.8  # plain networks set the best gain
    accuracy[6:, 0, 1] = 0.8 * np.array(gains)
    names = list(trainable_depth.ALL)
    results = xr.Dataset(
        {"train_accuracy": (("network", "run", "epoch"), accuracy)}, {"network": names, "run": [0], "epoch": [0, 1]}
    )
    assert trainable_depth.trainable_depth(results, "residual").item() == pytest.approx(end, rel=0.05)
    assert trainable_depth.trainable_depth(results, "plain").item() == 50.0


def test_a_diverged_run_has_gained_nothing():
    results = agreeing("orhan2018/depth")
    results.train_accuracy[{"network": -1, "run": 0, "epoch": -1}] = np.nan
    last = str(results.network.values[-1])
    assert float(trainable_depth.GAIN(results, last).isel(run=0)) == 0


def test_every_scaling_is_trained(reproduced):
    results = Store(reproduced("orhan2018/input-scale") / "results.zarr").read()

    def start(variable, network, scaling):
        return results[variable].sel(network=input_scalings.at(network, scaling)).isel(epoch=0, run=0)

    for factor, scaling in ((0.01, "unit*0.01"), (0.1, "unit*0.1"), (1.0, "unit"), (10.0, "unit*10")):
        assert float(start("input_norm", "plain", scaling)) == pytest.approx(factor, rel=0.05)  # of 1 000 samples
    # Networks with zero biases are proportional to their inputs, so their growth does not depend on the scale.
    growth = [input_scalings.growth(results, input_scalings.at("residual", s)) for s in input_scalings.PROPORTIONAL]
    for other in growth[1:]:
        np.testing.assert_allclose(other, growth[0], rtol=1e-4)
    first = [start("activation_norm", "plain", s).isel(layer=0) for s in ("unit", "unit*10")]
    np.testing.assert_allclose(first[1] / first[0], 10, rtol=1e-4)


def test_input_scales_that_were_kept_as_a_dimension_are_read():
    old = agreeing("orhan2018/input-scale").assign(image_norm=("scaling", np.arange(6.0)))
    new = input_scalings.flat(old)
    assert new.sizes["network"] == 24
    one = {"network": "residual", "scaling": "raw"}
    np.testing.assert_array_equal(new.train_accuracy.sel(network="residual@raw"), old.train_accuracy.sel(one))
    assert float(new.input_norm.sel(network="plain@unit*10").max()) == 3.0


def test_input_scale_has_scalings_of_its_own(capsys, tmp_path):
    arguments = ["orhan2018/input-scale", "--scale", "smoke", "--scaling", "raw", "--out", str(tmp_path / "o")]
    assert cli.run(["reproduce", *arguments]) == 2
    assert "has scalings of its own: --scaling does not apply" in capsys.readouterr().err


@pytest.mark.parametrize(("data", "chance"), [("digits", 10), ("cifar10", 10), ("cifar100", 5), ("cifar100-fine", 1)])
def test_chance_is_that_of_the_classes(data, chance):
    attributes = {"data": data, "scaling": "unit"}
    accuracy = (("network", "run", "epoch"), np.full((1, 2, 2), 0.5))
    results = xr.Dataset({"test_accuracy": accuracy}, {"network": ["constnet"], "run": [0, 1]}, attributes)
    lines = symmetry.accuracies(results, "title").axes[0].lines
    assert [line.get_xdata()[0] for line in lines if line.get_linestyle() == ":"] == [chance]


def test_spectra_counted_by_lanczos_are_drawn_where_they_were_counted():
    for id in ("orhan2018/fig3", "orhan2018/fig4", "orhan2018/fig5"):
        whole = agreeing(id)
        for name in ("weight_norm", "mean_overlap", "linear_dependence", "zero_response", "test_accuracy"):
            if name not in whole:
                whole[name] = whole.train_accuracy
        for name in ("degenerate", "negative"):
            whole[f"{name}_lanczos"] = whole.degenerate_lanczos.where(whole.epoch == 3)
            whole[f"{name}_moments"] = whole.degenerate_moments
        for name, value in {"w": 1e-4, "xi": 0.5, "omega": 1.0, "alpha": 1.0}.items():
            whole[f"mixture_{name}"] = 0 * whole.degenerate_moments + value
        assert "spectra-lanczos" in experiment(id).draw(whole)
        none = whole.drop_vars(["degenerate_lanczos", "negative_lanczos"])
        assert "spectra-lanczos" not in experiment(id).draw(none)


def at_singular_points(agree):
    """Four random networks at every kind of singularity: as figure 1 says, or the opposite."""
    kinds, networks = list(fig1.SINGULARITIES), ["plain", "skip"]
    small, large = (1e-17, 1e-2) if agree else (1e-2, 1e-17)
    values = {
        "product": [small, large],
        "least_product": [small, large],
        "product_away": [small, large],
        "nullity": [5, 0] if agree else [0, 5],
        "predicted": [5, 5],
    }
    data = {
        name: (("run", "singularity", "network"), np.broadcast_to(np.array(pair, float), (4, len(kinds), 2)))
        for name, pair in values.items()
    }
    return xr.Dataset(data, {"run": range(4), "singularity": kinds, "network": networks})


def test_claims_of_figure_1_hold_fail_and_are_undecided():
    for agree, verdict in ((True, "holds"), (False, "fails")):
        results = at_singular_points(agree)
        assert {judge(c, results, scale="smoke", data="none").verdict for c in fig1.FIGURE.claims} == {verdict}
    old = at_singular_points(True).drop_sel(singularity="elimination-relu")
    undecided = [c for c in fig1.FIGURE.claims if judge(c, old, scale="smoke", data="none").verdict == "inconclusive"]
    assert [c.id.rsplit("/")[-1].startswith("elimination-relu") for c in undecided] == [True] * 3


def test_a_dead_rectified_unit_has_null_vectors_at_any_loss_and_none_with_a_skip():
    for seed in range(3):
        kind = singular_points.KINDS["elimination-relu"]
        plain, skip = (singular_points._measure(kind, form, seed) for form in ("none", "identity"))
        assert plain["product_away"] == 0
        assert skip["least_product"] > 1e-6
