"""Every claim's judge must be able to hold, to fail and to be in doubt: shown on synthetic results."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from synthetic_results import BUILDERS, SPEED, agreeing, contradicting, doubtful, fig_s3, results, scaled

from nonsingular import intervals
from nonsingular.experiments.claims import judge
from nonsingular.papers.registry import experiment


def verdicts(id, data):
    """Claim -> verdict; the keys are what follows the experiment's own id."""
    return {
        c.id.removeprefix(f"{id}/"): judge(c, data, scale="smoke", data="none").verdict for c in experiment(id).claims
    }


def only(verdict, found):
    assert set(found.values()) == {verdict}, {name: v for name, v in found.items() if v != verdict}


@pytest.mark.parametrize("id", BUILDERS)
def test_results_that_agree_hold(id):
    only("holds", verdicts(id, agreeing(id)))


@pytest.mark.parametrize("id", BUILDERS)
def test_results_that_contradict_fail(id):
    only("fails", verdicts(id, contradicting(id)))


@pytest.mark.parametrize("id", BUILDERS)
def test_results_too_noisy_to_tell_are_inconclusive(id):
    only("inconclusive", verdicts(id, doubtful(id)))


@pytest.mark.parametrize("id", [id for id in BUILDERS if id != "orhan2018/figS3"])
def test_results_without_what_a_claim_needs_are_inconclusive(id):
    """Nothing but one network's accuracy, or none of it: no verdict, and no failure of the program."""
    data = agreeing(id)
    some = data[["train_accuracy"]]
    for few in (some.isel(network=[0]), some.isel(network=[0]).assign_coords(network=["another"])):
        found = [judge(c, few, scale="smoke", data="none") for c in experiment(id).claims]
        unmeasured = [j for j in found if j.note.startswith("not measured")]
        assert unmeasured
        assert {j.verdict for j in unmeasured} == {"inconclusive"}


@pytest.mark.parametrize("id", BUILDERS)
def test_claims_are_told_apart_and_sourced(id):
    claims = experiment(id).claims
    assert len({c.id for c in claims}) == len(claims)
    assert len({c.statement for c in claims}) == len(claims)
    assert all(c.id.startswith(f"{id}/") and c.source for c in claims)


def test_demo():
    speed = SPEED | {"bias-regularised": 0.55}
    agree = {"train_accuracy": speed, "linear_dependence": {**dict.fromkeys(speed, 0.5), "plain": 0.9}}
    contradict = {"train_accuracy": scaled(-1, speed), "linear_dependence": {**dict.fromkeys(speed, 0.5), "plain": 0.1}}
    only("holds", verdicts("demo", results(agree, 0.01)))
    only("fails", verdicts("demo", results(contradict, 0.01)))


def test_a_network_left_out_is_not_measured():
    data = agreeing("orhan2018/fig3")[["train_accuracy"]].sel(network=["plain", "residual"])
    found = verdicts("orhan2018/fig3", data)
    assert found.pop("residual-faster-than-plain") == "holds"
    only("inconclusive", found)


def verdict_of(id, claim, data):
    return verdicts(id, data)[claim]


def with_accuracy(data, **values):
    """The same results with the accuracies of some networks changed to a number."""
    data = data.copy(deep=True)
    for name, value in values.items():
        data.train_accuracy.loc[{"network": name.replace("_", "-")}] += value - float(
            data.train_accuracy.sel(network=name.replace("_", "-")).mean()
        )
    return data


@pytest.mark.parametrize("id", [id for id in BUILDERS if id != "orhan2018/figS3"])
def test_networks_that_have_not_trained_are_not_compared(id):
    """All at 12 % where guessing gives 10 %: what is compared over training has no verdict."""
    data = agreeing(id).copy(deep=True)
    data["train_accuracy"] = 0 * data.train_accuracy + 0.12
    data["train_accuracy"] += 1e-3 * data.run / data.sizes["run"]
    judged = [judge(c, data, scale="smoke", data="none") for c in experiment(id).claims]
    refused = [j for j in judged if "too little training" in j.note]
    assert {j.verdict for j in refused} == {"inconclusive"}
    starts = (
        "at the start",
        "skip matrices",
        "the skip vectors",
        "eigenvalues of the correlations",
        "| |",
        "activations too",
        "growth ",
    )
    for j in judged:
        assert j in refused or any(s in j.statement.lower() for s in starts), j.statement


@pytest.mark.parametrize("id", ["orhan2018/fig3", "orhan2018/fig4", "orhan2018/figS2"])
def test_what_else_is_compared_is_compared_of_networks_each_of_which_has_trained(id):
    """One network at chance: that it trains worse is told, how degenerate it is is not."""
    data = agreeing(id)
    if id == "orhan2018/fig3":
        data.train_accuracy.loc[{"network": "plain"}] = 0.1
    else:
        data["train_accuracy"] = xr.where(data.run < 20, 0.1 + 1e-4 * data.run, data.train_accuracy)
    found = {c.id.removeprefix(f"{id}/"): judge(c, data, scale="smoke", data="none") for c in experiment(id).claims}
    outcomes = {"residual-faster-than-plain", "hyper-faster-than-residual", "copies-above-orthogonal", "test-accuracy"}
    starts = {"gradients-vanish", "gradients-alike"}
    for name, judged in found.items():
        told = name in outcomes | starts or ("residual-hyper-residual" in name)
        assert (judged.verdict == "holds") == told, name
        assert told or "too little training" in judged.note


def test_a_treatment_that_has_not_taken_place_is_not_judged():
    for id in ("orhan2018/fig5", "orhan2018/fig6"):
        data = agreeing(id)
        treated = {name for name, v in verdicts(id, data).items() if v == "holds"}
        data["bias_gap"] = data.bias_gap + 0.6
        refused = treated - {name for name, v in verdicts(id, data).items() if v == "holds"}
        data = data.drop_vars("bias_gap")
        assert refused == treated - {name for name, v in verdicts(id, data).items() if v == "holds"}
        expected = {
            "orhan2018/fig5": {"residual-best", "plain-worst", "bias-beats-plain"}
            | {f"{n}-more-degenerate{m}" for n in ("plain", "bias-regularised") for m in ("", "-lanczos")},
            "orhan2018/fig6": {"bias-like-plain", "bias-decay", "residual-larger-than-bias"}
            | {"bn-helps-bias", "bn-near-residual"},
        }
        assert refused == expected[id]


@pytest.mark.parametrize(("malicious", "verdict"), [(0.68, "holds"), (0.55, "fails"), (0.85, "fails"), (0.6, None)])
def test_a_malicious_start_that_helps_much_does_not_cost_little(malicious, verdict):
    data = with_accuracy(agreeing("orhan2018/fig5"), malicious=malicious)
    found = verdict_of("orhan2018/fig5", "malicious-costs-little", data)
    assert found == (verdict or "inconclusive")  # half the lead of 0.2 is on the edge


@pytest.mark.parametrize(("bias_l2", "worst"), [(0.505, "holds"), (0.45, "fails")])
def test_plain_networks_are_not_the_worst_where_another_is(bias_l2, worst):
    data = with_accuracy(agreeing("orhan2018/fig5"), bias_l2=bias_l2)
    assert verdict_of("orhan2018/fig5", "plain-worst", data) == worst
    assert verdict_of("orhan2018/fig5", "residual-best", data) == "holds"


def test_residual_networks_are_not_the_best_where_another_is():
    data = with_accuracy(agreeing("orhan2018/fig5"), malicious=0.75)
    assert verdict_of("orhan2018/fig5", "residual-best", data) == "fails"
    assert verdict_of("orhan2018/fig5", "residual-above-plain", data) == "holds"


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.59, "holds"), (0.56, "fails"), (0.61, "holds"), (0.65, "fails")])
def test_near_residual_is_near_on_either_side(accuracy, verdict):
    data = agreeing("orhan2018/fig6")
    data.train_accuracy.loc[{"network": "bias-regularised+bn"}] += accuracy - 0.59
    assert verdict_of("orhan2018/fig6", "bn-near-residual", data) == verdict


def test_gradients_that_explode_are_not_flat():
    data = agreeing("orhan2018/fig6")
    data["gradient_norm"] = data.gradient_norm * 10 ** xr.DataArray(np.linspace(4, 0, 30), dims="layer")
    found = verdicts("orhan2018/fig6", data)
    assert found["residual-no-decay"] == "holds"
    assert found["residual-flat"] == "fails"


@pytest.mark.parametrize(("ahead", "verdict"), [(0.02, "holds"), (0.18, "fails"), (-0.02, "fails"), (0.05, None)])
def test_much_better_is_not_slightly_better(ahead, verdict):
    data = with_accuracy(agreeing("orhan2018/fig7"), orthogonal=0.65 + ahead)
    found = verdict_of("orhan2018/fig7", "orthogonal-slightly-better", data)
    assert found == (verdict or "inconclusive")


def test_no_interval_leaves_what_is_possible():
    """Two runs give wide intervals: of percentages and correlations they end at what can be."""
    for id in BUILDERS:
        data = doubtful(id)
        for claim in experiment(id).claims:
            found = judge(claim, data, scale="smoke", data="none")
            low, high = found.interval
            bound = {"percentage points": 150, "%": 100, "rank correlation": 1, "correlation": 2}.get(found.unit)
            if bound is not None and low <= high:
                bound = 200 if "/early-" in claim.id else bound  # a difference of differences
                assert -bound <= low <= high <= bound, claim.id


def test_intervals_over_points_are_over_runs():
    """The same networks at many epochs are no more evidence than at one."""
    few = fig_s3(+1, noise=1e-5, runs=30).isel(epoch=[0])
    many = xr.concat([few] * 40, "epoch").assign_coords(epoch=range(40))
    for claim in experiment("orhan2018/figS3").claims:
        a, b = (claim.effect(data) for data in (few, many))
        assert a.runs == b.runs == 30
        assert b.value == pytest.approx(a.value, rel=1e-6)
        assert (b.low, b.high) == pytest.approx((a.low, a.high), rel=1e-6)


def test_clustered_intervals_are_those_of_independent_runs_where_each_has_one_point():
    data = fig_s3(+1, noise=1e-4, runs=60).isel(epoch=[0])
    truth, estimate = (data[f"degenerate_{m}"].values.ravel() for m in ("exact", "moments"))
    found = {c.id.split("/")[-1]: c.effect(data) for c in experiment("orhan2018/figS3").claims}
    plain = intervals.mean(100 * (estimate - truth))
    bias = found["degenerate-under"]
    assert bias.value == pytest.approx(plain.value)
    assert bias.high - bias.low == pytest.approx(plain.high - plain.low, rel=0.05)
    pearson = stats.pearsonr(truth, estimate)
    assert found["degenerate-linear"].value == pytest.approx(pearson.statistic)
    width = found["degenerate-linear"].high - found["degenerate-linear"].low
    expected = pearson.confidence_interval()
    assert width == pytest.approx(expected.high - expected.low, rel=0.3)


def test_two_runs_give_no_interval_over_runs():
    found = [judge(c, fig_s3(+1, runs=2), scale="smoke", data="none") for c in experiment("orhan2018/figS3").claims]
    assert {j.verdict for j in found} == {"inconclusive"}
    many = xr.concat([fig_s3(+1, runs=2)] * 4, "epoch").assign_coords(epoch=range(8))
    for claim in experiment("orhan2018/figS3").claims:
        assert "16 points of 2 runs" in judge(claim, many, scale="smoke", data="none").note
