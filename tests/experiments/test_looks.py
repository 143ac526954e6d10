"""Runs added until claims are decided: intervals stay valid under looking again, and the claims say what was done."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from nonsingular import cli
from nonsingular.errors import InputError
from nonsingular.experiments import looks
from nonsingular.experiments.claims import POSITIVE, Claim, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.looks import Found, Looks
from nonsingular.experiments.report.judging import judge_again
from nonsingular.experiments.reproducing import reproduce, reproduce_until_decided
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.intervals import ERROR, erring_with

AT = (8, 12, 18, 27, 41)  # what a growth of one half gives
SIMULATIONS = 400


def decided_at(samples, error):
    """The first look at which the interval leaves zero out; None if none does."""
    for k in range(len(AT)):
        with erring_with(error(Looks(AT[: k + 1]))):
            if POSITIVE.verdict(mean(samples[: AT[k]])) != "inconclusive":
                return AT[k]
    return None


NULLS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "beta": lambda rng, shape: rng.beta(0.3, 2.0, size=shape) - 0.3 / 2.3,
}


@pytest.mark.parametrize("null", NULLS)
def test_looking_again_errs_in_five_percent_under_the_null(null):
    draws = NULLS[null](np.random.default_rng(0), (SIMULATIONS, AT[-1]))
    wrong = sum(decided_at(samples, lambda found: found.error) is not None for samples in draws)
    assert wrong <= stats.binom.ppf(0.999, SIMULATIONS, ERROR)


def test_the_same_looks_without_the_rule_err_more_often():
    draws = NULLS["normal"](np.random.default_rng(0), (SIMULATIONS, AT[-1]))
    naive = sum(decided_at(samples, lambda _: ERROR) is not None for samples in draws)
    assert naive > stats.binom.ppf(0.999, SIMULATIONS, ERROR)


def test_equal_runs_decide_nothing_at_the_first_look():
    """Four runs in five train, one does not: eight that all do are no rarity."""
    with erring_with(Looks((8,)).error):
        alike = mean([100.0] * 8, within=(0.0, 100.0))
    assert (alike.value, alike.high) == (100, 100)
    assert alike.low == pytest.approx(100 * Looks((8,)).error ** (1 / 8))
    with erring_with(Looks((8,)).error):
        assert POSITIVE.verdict(mean([1.0] * 8)) == "inconclusive"  # of what has no bounds nothing is known


def test_a_real_effect_is_decided():
    rng = np.random.default_rng(1)
    decided = [decided_at(samples, lambda found: found.error) for samples in rng.normal(1.5, size=(50, AT[-1]))]
    assert sum(d is not None for d in decided) >= 49


def test_what_all_looks_spend_is_below_five_percent():
    every = [Looks(tuple(range(looks.FIRST, n + 1))).error for n in range(looks.FIRST, 5000)]
    assert sum(every) < looks.SPENT < ERROR
    assert sum(every) == pytest.approx(looks.SPENT, rel=2e-3)
    few = [Looks(AT[: k + 1]).error for k in range(len(AT))]
    assert sum(few) == pytest.approx(looks.spent(AT[-1]))  # however often one looks
    assert Looks((4,)).error == Looks((8,)).error > 0


# --- when to stop -------------------------------------------------------------------------------------------


class Made:
    """Looks at results that take ten seconds a run."""

    def __init__(self, folder, decided_at):
        self.folder, self.decided_at, self.now, self.asked, self.done = folder, decided_at, 0.0, [], 0

    def look(self, runs):
        self.now += 10.0 * (runs - self.done)
        self.asked.append(runs)
        self.done = runs
        looks.note(self.folder, runs, begin=True)
        undecided = ["claim"] if runs < self.decided_at else []
        return Found(runs, undecided, undecided)

    def go(self, budget, runs=4):
        looks.until_decided(self.look, self.folder, runs, self.done, budget, lambda: self.now)
        return looks.read(self.folder)


def test_it_stops_when_everything_is_decided(tmp_path):
    made = Made(tmp_path, 9)
    found = made.go(1e6)
    assert made.asked == [4, 8, 12]
    assert found == Looks((8, 12), 0, 10.0, "every claim is decided")
    assert f"look 2 (after 8, 12 runs), an interval of {100 * (1 - found.error):.4g} %" in str(found)
    assert str(found).endswith("stopped: every claim is decided")


@pytest.mark.parametrize(("budget", "runs"), [(45.0, (4,)), (75.0, (7,)), (300.0, (8, 12, 18, 27, 30))])
def test_the_budget_is_kept(tmp_path, budget, runs):
    made = Made(tmp_path, 10**6)
    found = made.go(budget)
    assert made.now <= budget
    assert found.runs == runs
    assert found.stopped == "the budget is gone"


def test_few_runs_decide_nothing(tmp_path):
    assert Made(tmp_path, 1).go(1e6).runs == (8,)


def test_earlier_looks_count(tmp_path):
    made = Made(tmp_path, 10**6)
    made.go(85.0)
    found = made.go(55.0)
    assert found.runs == (8, 12, 13)


def test_a_finished_result_that_was_not_looked_at_is_the_first_look(tmp_path):
    made = Made(tmp_path, 10**6)
    made.done = 10  # asked for beforehand: what a run takes is learnt from one
    assert made.go(65.0).runs == (10, 11, 16)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Found(10, ["a"], []), "was not measured"),
        (Found(10, ["a"], ["a"], independent=False), "no independent runs"),
        (Found(10, [], []), "every claim is decided"),
    ],
)
def test_reasons_to_stop_at_once(tmp_path, found, reason):
    def look(runs):
        looks.note(tmp_path, runs, begin=True)
        return found

    looks.until_decided(look, tmp_path, 10, 0, 1e9)
    assert reason in looks.read(tmp_path).stopped


@pytest.mark.parametrize(
    ("text", "expected"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("0.5h", 1800)]
)
def test_budgets_are_read(text, expected):
    assert looks.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0h", "2", "-1h", "h", "2 hours", "nan"])
def test_other_budgets_are_refused(text):
    with pytest.raises(InputError, match="such as 2h"):
        looks.seconds(text)


# --- a whole experiment -------------------------------------------------------------------------------------


def run(spec, workspace):
    """Run k is a draw from seed k."""
    seeds = range(spec.seed, spec.seed + spec.runs)
    values = [np.random.default_rng(seed).normal(spec.settings["truth"]) for seed in seeds]
    return xr.Dataset({"x": ("run", values)}, {"run": list(seeds)})


NORMAL = Experiment(
    "test/normal", "Normal", lambda scale: Spec("test/normal", scale, runs=4, settings={"truth": 0.3}), run,
    lambda results: {}, (Claim("test/normal/positive", "here", "x is positive.", lambda r: mean(r.x)),),
)  # fmt: skip


def rows(folder):
    return json.loads((folder / "claims.json").read_text())


def test_the_claim_says_how_it_was_stopped(tmp_path):
    spec = NORMAL.spec("smoke")
    outcome = reproduce_until_decided(NORMAL, spec, Workspace(tmp_path / "a"), 1e3)
    (row,) = rows(tmp_path / "a")
    assert row["verdict"] == "holds"
    assert "stopped: every claim is decided" in row["note"]
    assert row["runs"] == outcome.results.sizes["run"] > 8
    at = looks.read(tmp_path / "a").runs
    with erring_with(Looks(at).error):
        expected = mean(outcome.results.x)
    assert row["interval"] == pytest.approx([expected.low, expected.high])
    before = rows(tmp_path / "a")
    judge_again(NORMAL, tmp_path / "a")
    assert rows(tmp_path / "a") == before
    # What is added by hand afterwards is a look too, and a new one.
    reproduce(NORMAL, replace(spec, runs=row["runs"] + 5), Workspace(tmp_path / "a"), resume=True)
    assert looks.read(tmp_path / "a").runs == (*at, row["runs"] + 5)


def test_what_is_asked_for_beforehand_is_no_look(tmp_path):
    spec = NORMAL.spec("smoke")
    reproduce(NORMAL, spec, Workspace(tmp_path / "a"))
    assert looks.read(tmp_path / "a") is None
    assert "look" not in rows(tmp_path / "a")[0]["note"]


@pytest.mark.parametrize("options", [["--until-decided"], ["--budget", "2h"], ["--until-decided", "--budget", "soon"]])
def test_until_when_is_asked_for_in_full(capsys, tmp_path, options):
    status = cli.run(["reproduce", "orhan2018/fig3", "--scale", "smoke", "--out", str(tmp_path / "o"), *options])
    assert status == 2
    assert "--budget" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_until_decided_on_the_command_line(capsys, tmp_path):
    options = ["--scale", "smoke", "--until-decided", "--budget", "0.1s", "--out", str(tmp_path / "o"), "--json"]
    assert cli.run(["reproduce", "blumenfeld2020/perturbation", *options]) == 0
    assert all("stopped: " in row["note"] for row in json.loads(capsys.readouterr().out))
