"""The search through the command line: what it leaves, what it refuses, and that stopping it changes nothing."""

import json
import re
import signal
import sqlite3
import sys
import time

import numpy as np
import pytest
import xarray as xr

from nonsingular import cli
from nonsingular.plots.search import draw
from nonsingular.search import NUMBERS, ranges
from nonsingular.search.numbers import applied
from nonsingular.search.proposals import Proposals
from nonsingular.search.run import paper_values
from nonsingular.training import BiasPenalty, Member, TrainingSpec
from processes import Started

optuna = pytest.importorskip("optuna")

SHALLOW = ("depth=3", "width=16")
SMALL = ("search", "mu", "sigma", "lambda", *SHALLOW, "--scale", "smoke", "--epochs", "1")


def run(capsys, *arguments):
    """Exit status, standard output and standard error of a command run in this process."""
    status = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def found(capsys, *arguments):
    status, output, error = run(capsys, *arguments, "--json")
    assert status == 0, error
    return json.loads(output)


def proposals(result):
    return [[t[name] for name in ("mu", "sigma", "lambda")] for t in result["trials"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search of five trials in rounds of two, as a user runs it."""
    out = tmp_path_factory.mktemp("search") / "o"
    assert cli.run([*SMALL, "--trials", "5", "--at-once", "2", "--out", str(out), "--json"]) == 0
    return out


def kept(folder):
    return json.loads((folder / "search.json").read_text())


def test_the_folder_holds_study_figure_spec_and_trials(finished):
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{finished}/study.db")
    assert [t.value for t in study.trials] == [t["accuracy"] for t in kept(finished)["trials"]]
    assert study.best_trial.number == kept(finished)["best"]["trial"]
    assert {p.name for p in (finished / "figures").iterdir()} == {"search.png", "search.svg"}
    assert json.loads((finished / "spec.json").read_text())["settings"]["sampler"] == "random"


def test_values_lie_in_their_ranges_and_fixed_ones_stay(finished):
    result = kept(finished)
    assert result["searched"] == ["mu", "sigma", "lambda", "depth", "width"]
    for trial in result["trials"]:
        assert all(NUMBERS[n].low <= trial[n] <= NUMBERS[n].high for n in ("mu", "sigma", "lambda"))
        assert (trial["depth"], trial["width"]) == (3, 16)


def test_a_trial_is_what_training_it_alone_gives(finished):
    """The slow, obvious way: one network with its penalty in a trainer of its own."""
    from nonsingular import data, networks
    from nonsingular.experiments.run.instruments import EVALUATED
    from nonsingular.training import Trainer

    spec = json.loads((finished / "spec.json").read_text())
    task = data.prepare(data.DataSpec(**spec["data"]))
    trial = kept(finished)["trials"][3]
    network = networks.build(networks.named("plain", depth=3, width=16), task.inputs, task.classes, 0)
    penalty = BiasPenalty(trial["mu"], trial["sigma"], trial["lambda"])
    training = {k: tuple(v) if isinstance(v, list) else v for k, v in spec["training"].items()}
    trainer = Trainer([network], [0], task, TrainingSpec(**training), [penalty])
    trainer.train_epoch()
    alone = trainer.evaluate(task.train_inputs[:EVALUATED], task.train_labels[:EVALUATED])
    assert 100 * float(alone.accuracy) == pytest.approx(trial["accuracy"], abs=0.2)


def test_equal_seeds_propose_equal_trials_however_they_are_cut(capsys, finished, tmp_path):
    again = found(capsys, *SMALL, "--trials", 5, "--at-once", 4, "--out", tmp_path / "again")
    other = found(capsys, *SMALL, "--trials", 5, "--at-once", 4, "--out", tmp_path / "other", "--seed", 1)
    assert proposals(again) == proposals(kept(finished))
    assert not set(np.ravel(proposals(other))) & set(np.ravel(proposals(again)))


def test_no_proposal_is_made_twice(finished):
    assert len({tuple(p) for p in proposals(kept(finished))}) == 5


def test_a_finished_search_goes_on_with_more_trials(capsys, finished, tmp_path):
    out = tmp_path / "o"
    found(capsys, *SMALL, "--trials", 2, "--at-once", 2, "--out", out)
    longer = found(capsys, *SMALL, "--trials", 5, "--at-once", 2, "--out", out, "--resume")
    assert longer == kept(finished)


def test_results_are_not_overwritten(capsys, finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"}
    assert "--resume" in complaint(capsys, *SMALL, "--out", finished)
    assert "another spec" in complaint(capsys, *SMALL, "--seed", 3, "--out", finished, "--resume")
    assert "another spec" in complaint(capsys, *SMALL, "--sampler", "tpe", "--out", finished, "--resume")
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"} == before


def test_a_killed_search_goes_on(finished, capsys, tmp_path):
    """Killed while a round is trained: its trials are RUNNING in the study, and end as if nothing had happened."""
    out = tmp_path / "o"
    command = [*SMALL, "--trials", "5", "--at-once", "2", "--out", str(out)]
    started = Started(command, tmp_path)
    while not (out / "trials" / "0000" / "checkpoints").exists():  # until the first round is being trained
        assert started.running()
        time.sleep(0.05)
    started.send(signal.SIGKILL)
    assert started.end()[0] == -signal.SIGKILL
    states = [s for (s,) in sqlite3.connect(out / "study.db").execute("SELECT state FROM trials")]
    assert "RUNNING" in states
    assert found(capsys, *command, "--resume") == kept(finished)


def test_a_trial_killed_while_it_was_proposed_is_told_as_failed(finished, capsys, tmp_path):
    out = tmp_path / "o"
    command = [*SMALL, "--trials", "2", "--at-once", "2", "--out", out]
    found(capsys, *command)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{out}/study.db")
    half_made = study.ask().number
    result = found(capsys, *command, "--trials", 4, "--resume")
    states = {t.number: t.state.name for t in study.get_trials()}
    assert states[half_made] == "FAIL"
    assert result["trials"] == kept(finished)["trials"][:4]  # another trial, the same proposal


def test_a_round_killed_while_it_was_proposed_is_completed(finished, tmp_path):
    """Its trials must be trained in the same population as if nothing had happened."""

    class Killed(Exception):
        pass

    numbers = ranges(["mu", "sigma", "lambda", *SHALLOW])
    stopped = Proposals(tmp_path / "study.db", numbers, "random", seed=0)
    ask, asked = stopped.study.ask, 0

    def mortal(space):
        nonlocal asked
        asked += 1
        if asked == 4:
            raise Killed
        return ask(space)

    stopped.study.ask = mortal
    with pytest.raises(Killed):
        stopped.ask(5)
    resumed = Proposals(tmp_path / "study.db", numbers, "random", seed=0)
    assert resumed.unfinished() == 0
    values = [resumed.values(t) for t in resumed.round(0).values()]
    assert [[v[name] for name in ("mu", "sigma", "lambda")] for v in values] == proposals(kept(finished))


def test_a_diverged_trial_is_told_as_failed(capsys, tmp_path):
    wild = ("search", "lambda=1e30:1e38", "learning-rate=1e20", *SHALLOW, "--scale", "smoke")
    out = tmp_path / "o"
    result = found(capsys, *wild, "--epochs", 2, "--trials", 2, "--out", out)
    assert result["failed"] == 2
    assert result["best"] is None
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{out}/study.db")
    assert {t.state.name for t in study.trials} == {"FAIL"}
    status, output, _ = run(capsys, *wild, "--epochs", 2, "--trials", 2, "--out", out, "--resume")
    assert status == 0
    assert "2 of them diverged" in output


def distances(sampler, seed, path, rounds=10, together=4):
    """A search of a known objective without training: each round's mean squared distance from its peak."""
    proposals = Proposals(path, ranges(["mu", "lambda"]), sampler, seed)
    means = []
    for _ in range(rounds):
        asked = list(proposals.round(proposals.ask(together)).values())
        squared = [(t.params["mu"] / 1.5 - 0.5) ** 2 + (np.log10(t.params["lambda"]) / 5 + 0.7) ** 2 for t in asked]
        for trial, value in zip(asked, squared, strict=True):
            proposals.tell(trial, -value)
        means.append(float(np.mean(squared)))
    return means


def test_a_trial_of_which_one_run_diverged_late_has_no_value(monkeypatch, tmp_path):
    """The mean over its finite epochs would flatter it."""
    from nonsingular.experiments.run.workspace import Workspace
    from nonsingular.search import run as searching

    def study(spec, workspace):
        accuracy = np.full((len(spec.networks), 2, 3), 0.5)
        accuracy[0, 1, 2] = np.nan
        names = [m.name for m in spec.networks]
        return xr.Dataset({"train_accuracy": (("network", "run", "epoch"), accuracy)}, {"network": names})

    monkeypatch.setattr(searching, "run_study", study)
    spec = searching.make_spec("smoke", ranges(["mu"]), "plain", "random")
    told = searching._train({"0": {"mu": 0.1}, "1": {"mu": 0.2}}, spec, Workspace(tmp_path), "0000")
    assert told == {"0": None, "1": 50.0}


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp"])
def test_samplers_that_learn_do_and_are_determined_by_their_seed(tmp_path, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    first = distances(sampler, 0, tmp_path / "a.db")
    assert first[:3] == distances(sampler, 0, tmp_path / "b.db", rounds=3)
    assert first[0] != distances(sampler, 1, tmp_path / "c.db", rounds=1)[0]
    uniform = 2 / 12  # the mean over the square: what proposals that do not learn are away from its centre
    assert np.mean(first[-4:]) < 0.6 * uniform


def test_another_sampler_through_the_command_line(capsys, tmp_path):
    command = ("search", "mu", "lambda", *SHALLOW, "--scale", "smoke", "--epochs", 1, "--sampler", "tpe")
    result = found(capsys, *command, "--trials", 2, "--out", tmp_path / "o")
    assert result["sampler"] == "tpe"
    assert len({t["mu"] for t in result["trials"]}) == 2


def test_other_numbers_by_name(capsys, tmp_path):
    """Numbers that make networks of unequal structure or training are trained one after the other."""
    result = found(
        capsys, "search", "learning-rate", "depth=1:3", "width=8", "--scale", "smoke", "--epochs", 1,
        "--trials", 3, "--network", "residual", "--out", tmp_path / "o",
    )  # fmt: skip
    assert all(t["depth"] in (1, 2, 3) and 1e-5 <= t["learning-rate"] <= 1e-2 for t in result["trials"])
    assert result["network"] == "residual"


def test_the_papers_values_are_marked_on_its_data_sets():
    """A synthetic search: what is drawn is what was found, the paper's value is a line of its own."""
    assert paper_values("cifar10") == {"mu": 0.51, "sigma": 0.96}  # orhan2018 Note 2
    assert paper_values("cifar100") == {"mu": 0.91, "sigma": 0.03}
    assert paper_values("digits") == {}
    mu = {"label": "mu", "log": False, "low": 0.0, "high": 1.0}
    accuracy, attrs = [20.0, np.nan, 30.0], {"label": "accuracy over the epochs (%)"}
    results = xr.Dataset(
        {
            "accuracy": ("trial", accuracy, attrs),
            "best": ("trial", [20.0, 20.0, 30.0], attrs),
            "mu": ("trial", [0.1, 0.2, 0.3], mu | {"paper": 0.51}),
        },
        {"trial": [0, 1, 2]},
        {"data": "x", "scaling": "unit", "sampler": "random", "network": "plain", "reference": 10.0, "runs": 1},
    )
    against, course = draw(results).axes
    lines = {line.get_label(): line.get_xydata() for line in against.lines}
    assert lines["the paper's value"][:, 0].tolist() == [0.51, 0.51]
    assert lines["none of these numbers set"][:, 1].tolist() == [10.0, 10.0]
    best = next(c for c in against.collections if c.get_label() == "best")
    assert best.get_offsets().tolist() == [[0.3, 30.0]]
    assert course.lines[0].get_ydata().tolist() == [20.0, 20.0, 30.0]


def test_ranges_are_read():
    mu, rate = ranges(["mu=0.5", "lambda=1e-5:1e-3"])
    assert (mu.low, mu.high, mu.fixed) == (0.5, 0.5, True)
    assert (rate.low, rate.high, rate.fixed) == (1e-5, 1e-3, False)


def test_numbers_are_set_where_they_belong():
    from nonsingular.networks import named

    base = Member("plain", named("plain"))
    values = {"mu": 0.1, "sigma": 0.2, "lambda": 0.3, "learning-rate": 0.4, "depth": 5, "width": 6}
    member, training = applied(values, "7", base, TrainingSpec())
    assert member.name == "7"
    assert member.penalty == BiasPenalty(0.1, 0.2, 0.3)
    assert (member.network.depth, member.network.width) == (5, 6)
    assert training == TrainingSpec(learning_rate=0.4)
    assert applied({}, "7", base, TrainingSpec())[0].penalty is None


def complaint(capsys, *arguments):
    """What bad input prints: one line, status 2, no traceback."""
    status, _, error = run(capsys, *arguments)
    assert status == 2, error
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mean"], "there are mu, sigma, lambda"),
        (["mu=0.5"], "give at least one number a range"),
        (["mu=1:0"], "from a lower to a higher"),
        (["mu=nan:1"], "finite"),
        (["lambda=0:1"], "above 0"),
        (["mu=low:high"], "NAME=LOW:HIGH"),
        (["mu", "mu=0:1"], "named twice"),
        (["depth=1.5:3"], "whole number"),
        (["depth=0:3"], "depth must be at least 1"),
        (["sigma=-1:1"], "deviation and strength must be at least 0"),
        (["--sampler", "grid"], "random, tpe, cmaes, gp"),
        (["mu", "--sampler", "cmaes"], "at least two numbers"),
        (["--trials", "0"], "trials must be at least 1"),
        (["--at-once", "0"], "trials at once must be at least 1"),
        (["--network", "resnet"], "unknown network"),
        (["--scale", "huge"], "smoke, laptop, overnight, paper"),
        (["--data", "imagenet"], "digits, mnist, cifar10"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--data", "svhn", "--data-dir", "no/such/folder"], "svhn"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    scale = () if "--scale" in arguments else ("--scale", "smoke")
    assert message in complaint(capsys, "search", *arguments, *scale)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_study_is_named(capsys, finished, tmp_path):
    out = tmp_path / "o"
    out.mkdir()
    (out / "spec.json").write_text((finished / "spec.json").read_text())
    (out / "study.db").write_text("not a database")
    assert "study.db is not a readable Optuna study" in complaint(capsys, *SMALL, "--out", out, "--resume")


def test_missing_optuna_names_the_extra(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = complaint(capsys, *SMALL, "--out", tmp_path / "o")
    assert re.search(r"python -m pip install .*optuna>=", line)
    assert not (tmp_path / "o").exists()
