"""Every claim's judge must be able to hold, to fail and to be in doubt: shown on synthetic results."""

import pytest
from synthetic_results import BUILDERS, SPEED, agreeing, contradicting, doubtful, results, scaled

from nonsingular.experiments.claims import judge
from nonsingular.experiments.registry import experiment, experiments


def verdicts(id, data):
    """Claim -> verdict; the keys are what follows the experiment's own id."""
    return {
        c.id.removeprefix(f"{id}/"): judge(c, data, scale="smoke", data="none").verdict for c in experiment(id).claims
    }


def only(verdict, found):
    assert set(found.values()) == {verdict}, {name: v for name, v in found.items() if v != verdict}


def test_every_trained_experiment_of_the_paper_is_judged_here():
    ours = [e for e in experiments() if e.paper == "orhan2018"]
    trained = {e.id for e in ours if e.specs("smoke").training is not None}
    assert trained == set(BUILDERS)


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
