import json
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nonsingular.experiments import verbs
from nonsingular.experiments.claims import (
    NEGATIVE,
    POSITIVE,
    Claim,
    Effect,
    NotMeasured,
    Region,
    difference,
    exactly,
    interval_in_words,
    is_ours,
    judge,
    mean,
    rank_correlation,
)
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.report.differences import share
from nonsingular.experiments.report.pages import count, shares
from nonsingular.experiments.report.strips import strip
from nonsingular.intervals import clustered, erring_with, wilson
from nonsingular.papers.registry import experiment


def claim(effect, region=POSITIVE):
    return Claim("paper/fig/name", "paper §1", "A statement.", effect, region)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.3, "holds"),
        (-0.3, -0.1, "fails"),
        (-0.1, 0.1, "inconclusive"),
        (0.0, 0.0, "inconclusive"),  # the same in all runs: nothing was there to compare
        (-1.0, 0.0, "fails"),
    ],
)
def test_verdict_of_a_positive_effect(low, high, verdict):
    assert POSITIVE.verdict(Effect((low + high) / 2, low, high, 5)) == verdict


def test_verdict_of_a_bounded_region():
    region = Region(-1.0, 1.0)
    assert region.verdict(exactly(0.5)) == "holds"
    assert region.verdict(exactly(1.5)) == "fails"
    assert POSITIVE.verdict(exactly(0.0)) == "fails"  # an identity, not five runs of nothing
    assert region.verdict(Effect(1.0, 0.5, 1.5, 5)) == "inconclusive"


def test_an_interval_without_an_end_is_judged_by_the_end_that_it_has():
    up, down, all_ = ((2.0, 0.5, math.inf, 30), (-2.0, -math.inf, -0.5, 30), (2.0, -math.inf, math.inf, 30))
    assert [POSITIVE.verdict(Effect(*e)) for e in (up, down, all_)] == ["holds", "fails", "inconclusive"]
    assert [NEGATIVE.verdict(Effect(*e)) for e in (up, down, all_)] == ["fails", "holds", "inconclusive"]
    assert Region(-1.0, 1.0).verdict(Effect(*up)) == "inconclusive"
    row = judge(claim(lambda _: Effect(*up)), xr.Dataset(), scale="smoke", data="none").to_json()
    assert interval_in_words(row, "") == "0.5 or more"
    assert "interval: 0.5 or more" in strip(row).words


def test_no_interval_is_inconclusive():
    assert POSITIVE.verdict(Effect(3.0, math.nan, math.nan, 1)) == "inconclusive"
    assert POSITIVE.verdict(mean([5.0])) == "inconclusive"
    assert POSITIVE.verdict(mean([])) == "inconclusive"
    assert POSITIVE.verdict(difference([5.0, 6.0], [1.0])) == "inconclusive"


def test_what_was_not_measured_is_said():
    def effect(_):
        raise NotMeasured("network residual is not among the results")

    row = judge(claim(effect), xr.Dataset(), scale="smoke", data="digits").to_json()
    assert row["verdict"] == "inconclusive"
    assert row["measured"] is None
    assert row["note"] == "not measured: network residual is not among the results"


def test_scoreboard_row_has_the_contracts_fields():
    row = judge(claim(lambda _: exactly(2.0)), xr.Dataset(), scale="laptop", data="cifar10").to_json()
    assert set(row) == {
        "id", "paper", "source", "statement", "expected", "measured", "interval", "unit", "runs", "scale", "data",
        "verdict", "note", "region", "share",
    }  # fmt: skip
    assert (row["paper"], row["measured"], row["interval"], row["verdict"]) == ("paper", 2.0, [2.0, 2.0], "holds")
    assert row["expected"] == "> 0"
    assert row["region"] == [0.0, None]


def test_diverged_runs_are_left_out():
    assert mean([1.0, 2.0, 3.0, math.nan]).runs == 3
    assert mean([1.0, 2.0, 3.0, math.nan]).value == 2.0
    assert difference([1.0, 2.0], [math.nan, 4.0, 5.0]).value == -3.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(-50, 50))
def test_intervals_shift_with_their_samples(samples, shift):
    a, b = mean(samples), mean(np.array(samples) + shift)
    assert a.low <= a.value + 1e-9
    assert a.value <= a.high + 1e-9
    np.testing.assert_allclose([b.low, b.high], [a.low + shift, a.high + shift], atol=1e-9)


@pytest.mark.parametrize("runs", [3, 5, 10, 30])
def test_intervals_cover_the_truth_as_often_as_they_say(runs):
    rng = np.random.default_rng(runs)
    truth, repeats = 0.7, 400
    covered = np.mean([(e := mean(rng.normal(truth, 1.0, runs))).low <= truth <= e.high for _ in range(repeats)])
    assert covered > 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats)
    both = np.mean(
        [
            (e := difference(rng.normal(truth, 1.0, runs), rng.normal(0, 2.0, runs))).low <= truth <= e.high
            for _ in range(repeats)
        ]
    )
    assert both > 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats)


COVERAGE = 0.95 - 4 * math.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, n: rng.exponential(size=n), 1.0),
        (lambda rng, n: rng.uniform(size=n), 0.5),
        (lambda rng, n: rng.lognormal(0, 0.5, size=n), math.exp(0.125)),
    ],
)
def test_intervals_of_skewed_runs_cover(draw, truth):
    rng = np.random.default_rng(0)
    covered = [(e := mean(draw(rng, 8))).low <= truth <= e.high for _ in range(400)]
    assert np.mean(covered) > COVERAGE


@pytest.mark.parametrize("scale", [1.0, 1e-7, 3e5])
def test_an_interval_of_runs_that_are_mostly_equal_has_an_end_or_none(scale):
    """Resamples without spread have no error at all; one of rounding made the end millions of times the largest run."""
    values = scale * np.array([0.1] * 13 + [0.15, 0.7, 0.4])
    found = mean(values)
    assert found.high == math.inf
    assert 0 < found.low < found.value
    assert mean(values, within=(0, 1e7)).high == 1e7
    assert mean([*values, *values, *values]).high < scale


def test_intervals_over_dependent_units_cover():
    """Runs with different numbers of epochs, which are the same network a little later."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 20])
    covered, naive = [], []
    for _ in range(400):
        units = 0.7 + rng.normal(size=9)[cluster] + 0.2 * rng.normal(size=cluster.size)
        covered.append((e := clustered(units, cluster)).low <= 0.7 <= e.high)
        naive.append((e := mean(units)).low <= 0.7 <= e.high)
    assert np.mean(covered) > COVERAGE - 0.03  # one run in nine has a third of all points
    assert np.mean(naive) < 0.8


def test_units_that_are_copies_are_no_evidence():
    values, twice = np.random.default_rng(0).normal(size=(2, 12)), np.tile(np.arange(12), 2)
    once, again = mean(values[0]), clustered(np.tile(values[0], 2), twice)
    assert (again.value, again.low, again.high, again.runs) == pytest.approx((once.value, once.low, once.high, 12))
    pair = [np.tile(v, 2) for v in values]
    of_runs, of_copies = rank_correlation(*values), rank_correlation(*pair, cluster=twice)
    assert of_copies.runs == 12
    assert of_copies.value == pytest.approx(of_runs.value)
    assert of_copies.high - of_copies.low > 0.9 * (of_runs.high - of_runs.low)
    assert rank_correlation(*pair).high - rank_correlation(*pair).low < 0.8 * (of_runs.high - of_runs.low)


def test_a_statistic_of_clusters():
    rng = np.random.default_rng(1)
    pairs, cluster = rng.normal(size=(24, 2)), np.repeat(np.arange(8), 3)

    def slope(x):
        return float(np.polyfit(x[:, 0], x[:, 1], 1)[0])

    effect = clustered(pairs, cluster, slope)
    assert effect.value == pytest.approx(slope(pairs))
    assert effect.low < 0 < effect.high
    assert effect.note == "24 points of 8 runs"
    assert POSITIVE.verdict(clustered(pairs[:3], cluster[:3], slope)) == "inconclusive"
    assert clustered(pairs, cluster, slope, within=(-0.01, 0.01)).high == 0.01


@pytest.mark.parametrize("runs", [2, 3, 7, 8, 30])
@pytest.mark.parametrize(
    ("effect", "far"),
    [
        (lambda runs, within: mean([0.1] * runs, within=within), 0.1),
        (lambda runs, within: difference([0.3] * runs, [0.2] * runs, within=within), 0.3 - 0.2),
        (lambda runs, within: difference([0.3] * runs, [0.2] * runs, paired=True, within=within), 0.3 - 0.2),
        (lambda runs, within: clustered([0.1] * 3 * runs, np.arange(3 * runs) % runs, within=within), 0.1),
        (lambda runs, within: clustered([0.1] * runs, range(runs), lambda x: float(np.median(x)), within=within), 0.1),
    ],
)
def test_equal_runs_decide_no_further_than_another_could_be(effect, far, runs):
    def row(within, region):
        return judge(claim(lambda _: effect(runs, within), region), xr.Dataset(), scale="smoke", data="none")

    bounded = row((-1.0, 1.0), Region(-2.0, 2.0))
    share = 1 - 0.05 ** (1 / runs)  # of runs that may differ, so many being equal with a chance of 5 %
    assert bounded.interval == pytest.approx((far - share * (1 + far), far + share * (1 - far)))
    assert row((-1.0, 1.0), POSITIVE).verdict == ("holds" if far > share * (1 + far) else "inconclusive")
    unbounded = row((-math.inf, math.inf), POSITIVE)
    assert unbounded.verdict == "inconclusive"
    assert "all runs are equal and show no spread" in unbounded.note
    assert unbounded.to_json()["interval"] == [None, None]
    shown = effect(runs, (-1.0, 1.0))  # outside of a judgement it is a point
    assert shown.low == shown.high == pytest.approx(far)


def test_rank_correlation_is_scipys_and_ignores_monotone_changes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 15))
    found = rank_correlation(a, b)
    assert math.isclose(found.value, stats.spearmanr(a, b).statistic)
    assert rank_correlation(np.exp(a), b**3) == found
    assert rank_correlation(a, -b).value == -found.value
    assert POSITIVE.verdict(rank_correlation(a, a + 0.1 * b)) == "holds"
    assert POSITIVE.verdict(rank_correlation(a, -a + 0.1 * b)) == "fails"
    assert rank_correlation([1, 2, 3, math.nan, 5], [1, 2, 3, 4, 5]).runs == 4
    assert POSITIVE.verdict(rank_correlation([1, 2, 3], [1, 2, 3])) == "inconclusive"


def test_five_pairs_in_perfect_order_are_no_proof():
    few, many = (rank_correlation(range(n), range(n)) for n in (5, 20))
    assert few.low < 0.3
    assert few.high == 1
    assert few.value == many.value == 1
    assert many.low > 0.9


def test_runs_that_are_all_equal_say_that_they_show_no_spread():
    assert mean([2.0, 2.0, 2.0]).note == "all runs are equal and show no spread"
    assert mean([2.0] * 9, note="of pairs").note == "of pairs; all runs are equal and show no spread"
    assert mean([2.0, 2.0, 2.1]).note == ""


def test_the_far_end_of_the_least_shares_the_error():
    data = xr.Dataset({"x": (("kind", "run"), np.random.default_rng(0).normal(size=(5, 10)))})
    kinds = {str(k): verbs.measured("x")(lambda results, k=k: mean(results.x[k])) for k in range(5)}
    single = [mean(x) for x in data.x.values]
    least, most = verbs.smallest_of(kinds).effect(data), verbs.largest_of(kinds).effect(data)
    assert least.low == min(e.low for e in single)
    assert least.high > min(e.high for e in single)
    assert most.high == max(e.high for e in single)
    assert most.low < max(e.low for e in single)


def test_intervals_stay_within_what_is_possible():
    samples = [0.99, 1.0, 0.7]
    assert mean(samples).high > 1  # three runs: wide
    effect = mean(samples, within=(-1, 1))
    assert (effect.low, effect.high) == (mean(samples).low, 1)
    far = difference([100, 99, 60], [0, 1, 40], within=(-100, 100))
    assert far.high == 100
    assert far.value == pytest.approx(mean([100, 99, 60]).value - mean([0, 1, 40]).value)


def test_what_does_not_vary_has_no_rank_correlation():
    effect = rank_correlation([0.0] * 8, range(8))
    assert np.isnan([effect.value, effect.low, effect.high]).all()
    assert Region(high=0.0).verdict(effect) == "inconclusive"


def test_paired_runs_cancel_what_they_share():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 10, 20)
    a, b = common + 1 + rng.normal(0, 0.1, 20), common
    paired, unpaired = difference(a, b, paired=True), difference(a, b)
    assert POSITIVE.verdict(paired) == "holds"
    assert POSITIVE.verdict(unpaired) == "inconclusive"
    assert NEGATIVE.verdict(paired) == "fails"


def test_questions_of_ours_are_no_claims_of_the_paper():
    paper = claim(lambda _: exactly(1.0))
    ours = Claim("paper/fig/other", "paper §1", "A question.", lambda _: exactly(-1.0), ours=True)
    rows = [judge(c, xr.Dataset(), scale="smoke", data="none").to_json() for c in (paper, ours)]
    assert [is_ours(row) for row in rows] == [False, True]
    assert count(rows) == {"holds": 1, "fails": 0, "inconclusive": 0, "unmeasured": 0}


def test_a_claim_that_is_judged_twice_counts_once():
    row = judge(claim(lambda _: exactly(1.0)), xr.Dataset(), scale="smoke", data="none").to_json()
    assert count([row, row]) == {"holds": 1, "fails": 0, "inconclusive": 0, "unmeasured": 0}
    assert count([row, {**row, "verdict": "inconclusive"}])["holds"] == 1
    assert count([row, {**row, "verdict": "fails"}])["inconclusive"] == 1
    nothing = {**row, "verdict": "inconclusive", "note": "not measured: too little training"}
    assert count([nothing]) == {"holds": 0, "fails": 0, "inconclusive": 0, "unmeasured": 1}
    assert count([row, nothing])["holds"] == 1
    assert count([{**row, "verdict": "inconclusive"}, nothing])["inconclusive"] == 1


def test_a_score_says_at_which_share_of_the_papers_steps():
    rows = [{"source": "paper §1", "share": {"steps": steps, "runs": 0.5}} for steps in (0.005, 0.1)]
    assert shares(rows) == "0.5 to 10 % of the paper scale's training steps and 50 % of the paper scale's runs"
    assert shares([{"source": "paper §1", "share": {"steps": None, "runs": None}}, {"source": "paper §1"}]) == ""
    found = experiment("orhan2018/fig3")
    halved = json.loads(make_spec(found, "paper", Overrides(epochs=50, runs=5)).to_json())
    assert share(found, halved) == {"steps": 0.5, "runs": 0.1}
    assert share(found, json.loads(make_spec(found, "laptop", Overrides(data="cifar10")).to_json()))["steps"] < 0.1


@pytest.mark.parametrize("n", [5, 7, 8, 12, 40])
def test_runs_in_perfect_order_are_no_proof_of_perfect_order(n):
    effect = rank_correlation(range(n), np.exp(np.arange(n)))
    assert effect.low < 1 - 1e-4
    assert effect.high == pytest.approx(1)
    turned = rank_correlation(range(n), -np.arange(n))
    assert (turned.low, turned.high) == pytest.approx((-effect.high, -effect.low))
    twice = rank_correlation([*range(n)] * 2, [*range(n)] * 2, cluster=[*range(n)] * 2)
    assert twice.low == pytest.approx(effect.low) or n < 8  # fewer are widened besides
    assert twice.low < 1 - 1e-4


def test_rates_err_as_asked():
    usual = wilson(9, 10)
    with erring_with(0.001):
        careful = wilson(9, 10)
    assert careful[0] < usual[0] < usual[1] < careful[1]
