"""A user's own file of figures, with their own modules, runs like the papers' figures; results compare."""

import json

import numpy as np
import own_figure
import pytest
import torch
import xarray as xr
from torch import nn

import processes
from nonsingular import cli
from nonsingular.errors import InputError
from nonsingular.experiments import about
from nonsingular.experiments.report import differences
from nonsingular.experiments.report.comparing import compare
from nonsingular.experiments.report.finished import read
from nonsingular.experiments.run import archive
from nonsingular.networks import NetworkSpec, OwnNetwork, build
from nonsingular.plots.comparison import comparison
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.plots.style import GREY, colour, line, palette
from nonsingular.training import Member

NAMES = [f"mine {n}" for n in range(20)]


def looks(names, drawn):
    with palette(names):
        return {name: (colour(name), line(name)) for name in drawn}


def test_networks_of_your_own_are_told_apart():
    """All pairs differ, known networks keep their colours and nobody else has them, whatever is drawn first."""
    known = ["plain", "residual", "dropout"]
    found = looks([*NAMES, *known], [*NAMES, *known])
    assert len(set(found.values())) == len(found)
    assert {name: found[name][0] for name in known} == {name: colour(name) for name in known}
    few = [*NAMES[:5], *known]
    assert len({tone for tone, _ in looks(few, few).values()}) == len(few)  # by colour alone, while there are colours
    assert looks([*NAMES, *known], NAMES[::-1]) == {name: found[name] for name in NAMES}
    unforeseen = looks([], NAMES)
    assert len(set(unforeseen.values())) == len(NAMES)


def test_figures_draw_networks_of_your_own_apart():
    """The names "shallow" and "deep" are those of docs/howto/figures.md."""
    values = xr.DataArray(np.random.default_rng(0).random((2, 3, 2)), dims=("network", "run", "epoch"))
    results = xr.Dataset({"loss": values}).assign_coords(network=["shallow", "deep"], run=range(3), epoch=range(2))
    figure = over_epochs(results, [Panel("loss", "loss (nats)")], "t")
    rows = [
        {"variable": "loss", "label": "loss (nats)", "network": n, "value": 1.0, "interval": (0.5, 1.5)} for n in NAMES
    ]
    for drawn in (figure, comparison(rows[:5], "t")):
        lines = [c for c in drawn.axes[0].lines if c.get_color() != GREY]
        assert len({c.get_color() for c in lines}) == (2 if drawn is figure else 5)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    own_figure.written(folder)
    return folder


@pytest.fixture(scope="module")
def finished(home):
    figure = str(home / "figures_of_mine.py") + ":FIGURE"
    assert cli.run(["reproduce", figure, "--scale", "laptop", "--out", str(home / "whole"), "--runs", "3"]) == 0
    return home / "whole", figure


def test_it_leaves_what_every_experiment_leaves(finished, capsys):
    folder, figure = finished
    assert {"results.zarr", archive.FILE, "figures", "claims.json", "spec.json", "report.html"} <= {
        p.name for p in folder.iterdir()
    }
    data = archive.read(folder)
    assert data.layer.values.tolist() == [1, 2, 3, 4]
    assert data.weight_norm.sel(network="mine", layer=[1, 2]).notnull().all()
    assert data.weight_norm.sel(network="mine", layer=[3, 4]).isnull().all()
    assert json.loads((folder / "spec.json").read_text())["networks"][0]["network"]["factory"]["name"] == "MyModule"
    assert cli.run(["judge", str(folder)]) == 2
    assert "name it with --figure FILE.py:NAME" in capsys.readouterr().err
    assert cli.run(["judge", str(folder), "--figure", figure]) == 0


def test_its_report_says_what_it_is_without_its_code(finished, tmp_path, monkeypatch, capsys):
    folder, figure = finished
    assert cli.run(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<h3>Mine</h3>" in page
    assert "Wider than anybody&#39;s." in page
    command, changed = differences.command(read(folder).spec, about.read(folder))
    assert (command, changed) == (f"nonsingular reproduce {figure} --scale laptop --runs 3", [])
    assert command in page
    monkeypatch.chdir(tmp_path)  # from anywhere
    assert cli.run([*command.split()[1:], "--out", "again"]) == 0
    xr.testing.assert_identical(archive.read(tmp_path / "again"), archive.read(folder))


def test_it_is_extended_and_merged(finished, tmp_path):
    folder, figure = finished
    grown, part, whole = (tmp_path / name for name in ("grown", "part", "whole"))

    def made(out, *options):
        assert cli.run(["reproduce", figure, "--scale", "laptop", "--out", str(out), *options]) == 0

    made(grown, "--runs", "2")
    made(part, "--seed", "2", "--runs", "1")
    assert cli.run(["merge", str(grown), str(part), "--out", str(whole), "--figure", figure]) == 0
    made(grown, "--runs", "3", "--resume")
    xr.testing.assert_identical(archive.read(grown), archive.read(whole))
    xr.testing.assert_allclose(archive.read(grown), archive.read(folder), rtol=1e-3)


def test_another_source_is_another_spec(finished, home, tmp_path, capsys):
    """In a process of its own: code that was executed stays as it was."""
    folder, _ = finished
    figure = own_figure.written(tmp_path, own_figure.FILE.replace("torch.relu(self.first", "torch.tanh(self.first"))
    command = ["reproduce", figure, "--scale", "laptop", "--runs", "3"]
    status, _, said = processes.run([*command, "--resume", "--out", folder], tmp_path)
    assert status == 2
    assert "another spec" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("figures_of_mine.py:NONE", "has no experiment 'NONE'; it has FIGURE"),
        ("figures_of_mine.py:MyModule", "has no experiment 'MyModule'"),
        ("no_such.py:FIGURE", "no file"),
        ("figures_of_mine.py", "FILE.py:NAME"),
    ],
)
def test_what_is_no_figure_is_one_line(home, capsys, monkeypatch, name, message):
    monkeypatch.chdir(home)
    assert cli.run(["reproduce", name, "--scale", "smoke", "--out", "o"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# --- modules ------------------------------------------------------------------------------------------------


class Plain(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)


def sized(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))


def random_of_all_kinds():
    import random

    network = nn.Linear(8, 3)
    with torch.no_grad():
        network.bias[0], network.bias[1] = random.random(), float(np.random.random())  # noqa: NPY002
    return network


@pytest.mark.parametrize("factory", [Plain, sized, random_of_all_kinds, lambda: nn.Linear(8, 3)])
def test_modules_are_drawn_from_their_seed_and_nothing_else_is(factory):
    network = Member("mine", factory).network
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    a, again, b = (build(network, 8, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    for p, q, r in zip(a.parameters(), again.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, r)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: nn.Linear(8, 4), "must give 3 logits a sample, for 2 samples it gave (2, 4)"),
        (lambda: nn.Linear(7, 3), "does not take samples of shape (8,)"),
        (lambda: "text", "must give a torch.nn.Module, it gave str"),
        (lambda: 1 / 0, "cannot be built: ZeroDivisionError"),
    ],
)
def test_other_modules_are_refused_when_they_are_built(factory, message):
    with pytest.raises(InputError) as refused:
        build(OwnNetwork(factory), 8, 3, 0)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [(nn.Linear(2, 2), "give the class Linear"), (lambda a, b, c: None, "with two"), (3, "a class or function")],
)
def test_what_gives_no_network_is_refused_at_once(given, message):
    with pytest.raises(InputError, match=message):
        Member("mine", given)


def test_described_networks_are_as_before():
    assert Member("plain", NetworkSpec(3, 8)) == Member(name="plain", network=NetworkSpec(3, 8))
    assert isinstance(Member("plain", NetworkSpec(3, 8)).network, NetworkSpec)


def test_another_version_of_a_users_code_is_said_in_words():
    def spec(source):
        return {"networks": [{"name": "five", "network": {"factory": {"name": "Five", "source": source}}}]}

    assert differences.between(spec("0123456789abcdef"), spec("fedcba9876543210")) == [
        "factory's code of five: version 012345, not version fedcba"
    ]


# --- compare ------------------------------------------------------------------------------------------------


def kept(folder, accuracies, networks=("plain", "skip"), seed=0):
    """A finished result with these final accuracies, ``[network, run]``."""
    folder.mkdir()
    values = np.stack([np.full(np.shape(accuracies), np.nan), accuracies], axis=-1)
    data = xr.Dataset(
        {
            "train_accuracy": (("network", "run", "epoch"), values),
            "field": (("run", "x"), np.zeros((values.shape[1], 2))),
        },
        {"network": list(networks), "run": seed + np.arange(values.shape[1]), "epoch": [0, 1]},
    )
    archive.write(folder, archive.described(data))
    (folder / "claims.json").write_text("[]")
    (folder / "spec.json").write_text(json.dumps({"experiment": "x/y", "scale": "smoke", "runs": values.shape[1]}))
    return folder


def test_effects_between_results_have_their_intervals(tmp_path):
    rng = np.random.default_rng(1)
    a = kept(tmp_path / "a", np.array([[0.5], [0.6]]) + 0.01 * rng.normal(size=(2, 10)))
    b = kept(tmp_path / "b", np.array([[0.7], [0.6]]) + 0.01 * rng.normal(size=(2, 12)), seed=10)
    plain, skip = compare(a, b).differences
    assert (plain.variable, plain.label, plain.network, plain.runs) == (
        "train_accuracy", "training accuracy (%)", "plain", (10, 12)
    )  # fmt: skip
    assert plain.value == pytest.approx(20, abs=1.5)
    assert plain.value == pytest.approx(plain.b - plain.a)
    assert plain.interval[0] > 0
    assert skip.interval[0] < 0 < skip.interval[1]
    (mirrored, _) = compare(b, a).differences
    assert mirrored.value == pytest.approx(-plain.value)


def test_runs_with_equal_seeds_are_pairs(tmp_path, capsys):
    rng = np.random.default_rng(0)
    common = 0.5 + 0.1 * rng.normal(size=(2, 10))  # what the seed decides
    a, b = kept(tmp_path / "a", common), kept(tmp_path / "b", common + 0.02 + 0.001 * rng.normal(size=(2, 10)))
    plain, _ = compare(a, b).differences
    assert plain.paired
    assert 1.5 < plain.interval[0] < plain.value < plain.interval[1] < 2.5
    again = kept(tmp_path / "again", common)  # the same result is no second one
    assert all(row.interval == (0, 0) for row in compare(a, again).differences)
    apart = kept(tmp_path / "apart", common + 0.02, seed=10)
    assert not any(row.paired for row in compare(a, apart).differences)
    part = kept(tmp_path / "part", common[:, 5:] + 0.02, seed=5)
    assert compare(a, part).differences[0].runs == (5, 5)
    assert cli.run(["compare", str(a), str(part), "--out", str(tmp_path / "o")]) == 0
    assert "pair by pair (5 pairs)" in " ".join(capsys.readouterr().out.split())


def test_compare_on_the_command_line(tmp_path, capsys):
    a, b = kept(tmp_path / "a", np.full((2, 3), 0.5)), kept(tmp_path / "b", np.full((2, 3), 0.25))
    assert cli.run(["compare", str(a), str(b), "--out", str(tmp_path / "o"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["value"] for row in found["differences"]] == [-25.0, -25.0]
    assert found == json.loads((tmp_path / "o" / "comparison.json").read_text())
    assert {p.name for p in (tmp_path / "o").glob("comparison.*")} >= {"comparison.png", "comparison.svg"}
    assert cli.run(["compare", str(a), str(b), "--out", str(tmp_path / "o")]) == 0
    assert "B minus A" in capsys.readouterr().out
    assert cli.run(["compare", str(a), str(b), "--out", str(a / "claims.json")]) == 2
    said = capsys.readouterr().err
    assert "claims.json is a file" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--variables", "field"], "both have train_accuracy"), (["--variables", "nothing"], "cannot be compared")],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, options, message):
    a, b = kept(tmp_path / "a", np.full((2, 3), 0.5)), kept(tmp_path / "b", np.full((2, 3), 0.25))
    assert cli.run(["compare", str(a), str(b), "--out", str(tmp_path / "o"), *options]) == 2
    assert message in capsys.readouterr().err
    other = kept(tmp_path / "c", np.full((1, 3), 0.5), ["else"])
    with pytest.raises(InputError, match="no network in common: one has plain, skip, the other else"):
        compare(a, other)
