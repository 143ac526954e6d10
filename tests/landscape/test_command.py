"""``nonsingular landscape`` as a user runs it."""

import importlib.util
import json
import re
import signal
import time

import pytest
import torch

from nonsingular import cli
from nonsingular.landscape.roughness import MEASURES
from nonsingular.training import Store
from processes import Started

MODEL = """
import torch
from torch import nn

def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 10))

def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

def slow():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
                         nn.Flatten(), nn.Linear(4096, 10))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODEL)
    return tmp_path


def landscape(capsys, *arguments, status=0):
    found = cli.run(["landscape", *map(str, arguments)])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return captured.out if status == 0 else captured.err


def weights(path, seed):
    torch.manual_seed(seed)
    state = {"0.weight": torch.randn(12, 64), "0.bias": torch.zeros(12), "2.weight": torch.randn(12, 12),
             "2.bias": torch.zeros(12), "4.weight": torch.randn(10, 12), "4.bias": torch.zeros(10)}  # fmt: skip
    torch.save(state, path)
    return path


@pytest.mark.drawn
def test_a_surface_leaves_results_figures_and_numbers(capsys, here):
    shown = landscape(capsys, "mine.py:conv", "--samples", 100, "--grid", 17, "--planes", 2)
    out = here / "out" / "landscape"
    assert {p.name for p in out.glob("*.png")} == {"contours.png", "surface.png"}
    assert "points evaluated" in shown
    assert "deviation over planes" in shown
    results = Store(out / "results.zarr").read()
    assert dict(results.sizes) == {"plane": 2, "y": 17, "x": 17}
    numbers = json.loads((out / "landscape.json").read_text())
    assert numbers["look"]["grid"] == 17
    assert numbers["results"]["evaluated"] == results.was_evaluated.sum(["x", "y"]).values.tolist()
    assert "<html" in (out / "surface.html").read_text()[:200].lower()
    assert "prefers-color-scheme: dark" in (out / "surface.html").read_text()


def test_json_is_for_programs(capsys, here):
    numbers = json.loads(landscape(capsys, "mine.py:mlp", "--samples", 50, "--grid", 5, "--json", "--exact"))
    assert numbers["evaluated"] == [25]
    assert numbers["how"].startswith("float32")
    assert set(numbers["roughness"]) == set(MEASURES)


def strictly(text):
    """JSON as its standard has it, without words for what is no number."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_has_no_words_for_missing_numbers(capsys, here):
    (here / "far.py").write_text(
        MODEL
        + "def far():\n    model = mlp()\n    for p in model.parameters():\n        p.data *= 1e8\n    return model\n"
    )
    for target, span in (("mine.py:mlp", 1), ("far.py:far", 1e30)):
        arguments = (target, "--samples", 50, "--grid", 5, "--span", span, "--out", target[:3])
        found = strictly(landscape(capsys, *arguments, "--json"))
        strictly((here / target[:3] / "landscape.json").read_text())
        landscape(capsys, *arguments, "--resume")  # the table has a dash where JSON has null
    assert found["not_finite"] > 0
    assert found["largest_loss"] is None or found["largest_loss"] > 0


@pytest.mark.drawn
def test_metrics_stand_beside_the_loss(capsys, here):
    (here / "mine.py").write_text(MODEL + "\ndef margin(output, target):\n    return output.amax(1).mean()\n")
    common = ("mine.py:conv", "--samples", 50, "--grid", 5, "--metric", "accuracy", "--metric", "mine.py:margin")
    numbers = strictly(landscape(capsys, *common, "--statistics", "recomputed", "--json"))
    assert 0 <= numbers["metrics"]["accuracy"]["smallest"] <= numbers["metrics"]["accuracy"]["largest"] <= 1
    assert numbers["statistics"] == "recomputed"
    out = here / "out" / "landscape"
    assert {p.stem for p in out.glob("*.png")} == {"contours", "surface", "accuracy", "margin"}
    assert Store(out / "results.zarr").read().margin.notnull().all()
    assert "accuracy from" in landscape(capsys, *common, "--out", "again")


def test_a_random_loss_needs_a_seed(capsys, here):
    (here / "noise.py").write_text(
        "import torch\nfrom torch import nn\n\nclass Noise(nn.Module):\n    def forward(self, x):\n"
        "        return x + torch.randn_like(x)\n\n\ndef net():\n    return nn.Sequential(nn.Linear(64, 10), Noise())\n"
    )
    common = ("noise.py:net", "--samples", 50, "--grid", 5)
    assert "give --random-seed N" in landscape(capsys, *common, status=2)
    landscape(capsys, *common, "--random-seed", 3)


@pytest.mark.parametrize("kinds", ["vtk", "vtk,h5"])
def test_files_for_other_programs(capsys, here, kinds):
    if "h5" in kinds and importlib.util.find_spec("h5py") is None:
        assert "nonsingular[h5]" in landscape(capsys, "mine.py:mlp", "--export", kinds, status=2)
        return
    files = [weights(here / f"{k}.pt", k) for k in range(4)]
    given = [option for file in files for option in ("--checkpoint", file)]
    common = ("mine.py:mlp", "--samples", 50, "--grid", 5, "--export", kinds)
    for out, options in {"plane-0": (), "line": given[:4], "path": given}.items():
        landscape(capsys, *common, *options, "--out", out)
        for kind in kinds.split(","):
            assert (here / out / f"{out}.{kind}").stat().st_size > 0


def test_two_checkpoints_are_a_line_and_more_a_path(capsys, here):
    files = [weights(here / f"{k}.pt", k) for k in range(4)]
    given = [option for file in files for option in ("--checkpoint", file)]
    common = ("mine.py:mlp", "--samples", 50, "--json")
    landscape(capsys, *common, *given[:4], "--grid", 9, "--out", "line")
    line = Store(here / "line" / "results.zarr").read()
    assert float(line.x[0]) == -0.5
    told = json.loads((here / "line" / "landscape.json").read_text())["results"]["solutions"]
    assert told == {"first": {"loss": float(line.loss.sel(x=0))}, "second": {"loss": float(line.loss.sel(x=1))}}
    assert (here / "line" / "line.png").exists()
    numbers = json.loads(landscape(capsys, *common, *given, "--grid", 9, "--out", "path"))
    assert 0 < sum(numbers["explained"]) <= 1
    assert Store(here / "path" / "results.zarr").read().sizes["checkpoint"] == 4
    assert {p.name for p in (here / "path").glob("*.png")} == {"trajectory.png", "surface.png"}


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_lines_say_their_mode_and_why_the_loss_is_not_finite(capsys, here, mode):
    """Between a network of small running variances and one of large ones, some beyond the first are negative."""
    for name, variance in (("a.pt", 1.0), ("b.pt", 9.0)):
        state = {"0.weight": torch.randn(4, 1, 3, 3), "0.bias": torch.zeros(4), "4.weight": torch.randn(10, 144),
                 "4.bias": torch.zeros(10), "1.weight": torch.ones(4), "1.bias": torch.zeros(4),
                 "1.running_mean": torch.zeros(4), "1.running_var": torch.full((4,), variance),
                 "1.num_batches_tracked": torch.tensor(1)}  # fmt: skip
        torch.save(state, here / name)
    line = (
        "mine.py:conv",
        "--samples",
        50,
        "--grid",
        9,
        "--checkpoint",
        "a.pt",
        "--checkpoint",
        "b.pt",
        "--mode",
        mode,
    )
    shown = " ".join(landscape(capsys, *line).split())
    assert f"mode: {mode} " in shown
    why = r"not finite at 2 points.*at 2 points a running variance .* negative: --statistics recomputed takes them from"
    assert (re.search(why, shown) is not None) == (mode == "eval")  # in training mode they are not used


def test_hessian_directions_and_the_map_of_convexity(capsys, here):
    arguments = ("mine.py:mlp", "--samples", 50, "--grid", 5, "--directions", "hessian", "--convexity", 3)
    numbers = json.loads(landscape(capsys, *arguments, "--json"))
    assert numbers["largest_hessian_ratio"] > 0
    assert (here / "out" / "landscape" / "convexity.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", 1], "grid must be at least 2"),
        (["--directions", "pca"], "filter, layer, weight, dfilter, dlayer, none, hessian"),
        (["--keep", "biases"], "bias, norm"),
        (["--tolerance", 2], "tolerance must be at least 0 and below 1"),
        (["--span", 0], "span must be positive"),
        (["--subset", 5000], "between 1 and the 50 given"),
        (["--precision", "half"], "float32, bfloat16, auto"),
        (["--planes", 2, "--directions", "hessian"], "leave out planes"),
        (["--metric", "f1"], "unknown metric 'f1'; there is accuracy, or give FILE.py:function of (output, target)\n"),
        (["--mode", "test"], "unknown mode 'test'; there are eval, train"),
        (["--metric", "mine.py:f1"], "mine.py has no function 'f1'"),
        (["--weights", "pixels"], "weights must be 'samples', 'tokens', 'equal'"),
        (["--statistics", "batch"], "there are given, recomputed"),
        (["--statistics", "recomputed"], "no batch normalisation with running statistics"),
        (["--grid", 0], "grid must be at least 2 points, got 0"),
        (["--export", "stl"], "unknown export 'stl'; there are vtk, h5"),
        (["--checkpoint", "none.pt"], "no checkpoint at none.pt"),
        (["--checkpoint", "mine.py"], "not a readable checkpoint of tensors: it is a file of something else"),
        (
            ["--checkpoint", "other.pt"],
            "does not fit the model (Sequential): it lacks 0.weight, 0.bias, 2.weight and 3 "
            "more; it has 9.weight, which the model has not\n",
        ),
        (["--checkpoint", "numbers.pt"], "dictionary of tensors, as model.state_dict() gives it, but a list of 2, the"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, here, arguments, message):
    torch.save({"9.weight": torch.zeros(2)}, here / "other.pt")
    torch.save([1.0, 2.0], here / "numbers.pt")
    error = landscape(capsys, "mine.py:mlp", "--samples", 50, *arguments, status=2)
    assert message in error
    assert error.count("\n") == 1
    assert not list(here.rglob("results.zarr"))


@pytest.mark.drawn
def test_results_are_not_overwritten_and_resume_draws_again(capsys, here):
    common = ("mine.py:mlp", "--samples", 50, "--grid", 9, "--json")
    first = landscape(capsys, *common)
    said = landscape(capsys, *common, status=2)
    assert "holds the landscape of mine.py:mlp: " in said
    assert all(way in said for way in ("--resume", "--out", "--replace"))
    assert "another surface" in landscape(capsys, *common[:-3], "--grid", 7, "--resume", status=2)
    (here / "out" / "landscape" / "contours.png").unlink()
    assert landscape(capsys, *common, "--resume") == first
    assert (here / "out" / "landscape" / "contours.png").exists()
    assert json.loads(landscape(capsys, *common[:-3], "--grid", 5, "--json", "--replace"))["evaluated"] == [25]


def test_an_interrupted_surface_goes_on(capsys, here):
    arguments = ["mine.py:slow", "--exact", "--grid", "11", "--samples", "100", "--json"]
    started = Started(["landscape", *arguments], here)
    points = here / "out" / "landscape" / "points-0.npz"
    while not points.exists() and started.running():
        time.sleep(0.05)
    started.send(signal.SIGINT)
    status, _, error = started.end()
    assert status == 130, error
    assert "--resume" in error
    assert not (here / "out" / "landscape" / "landscape.json").exists()
    assert json.loads(landscape(capsys, *arguments, "--resume"))["evaluated"] == [121]
