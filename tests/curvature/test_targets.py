"""TARGETs of the command line, and ``nonsingular spectrum``."""

import json
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nonsingular import cli
from nonsingular.cli.targets import load_batches, load_target
from nonsingular.curvature import Hessian, spectrum
from nonsingular.errors import InputError
from nonsingular.files import LOCK

SOURCE = """
import torch
from torch import nn

def flat():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))

def images():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 10))

def with_loss():
    return nn.Linear(3, 3), nn.functional.mse_loss

def needs(width):
    return nn.Linear(width, 1)

def breaks():
    raise KeyError("weights")

def nothing():
    return 3

number = 4
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_factories_of_files_and_modules(source, tmp_path, monkeypatch):
    model, loss_fn = load_target(f"{source}:flat")
    assert not model.training
    assert loss_fn is F.cross_entropy
    _, loss_fn = load_target(f"{source}:with_loss")
    assert loss_fn is F.mse_loss
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "models.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_target("my_package.models:images")[0], nn.Module)
    sys.modules.pop("my_package.models", None)


def test_checkpoints(source, tmp_path):
    path = tmp_path / "weights.pt"
    weights = {k: v + 1 for k, v in load_target(f"{source}:flat")[0].state_dict().items()}
    for state in (weights, {"state_dict": weights}):
        torch.save(state, path)
        loaded = load_target(f"{source}:flat", path)[0].state_dict()
        assert all(torch.equal(loaded[k], weights[k]) for k in weights)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine", "TARGET must be"),
        ("{}:", "TARGET must be"),
        ("absent.py:flat", "no file absent.py"),
        ("absent_module:flat", "no module 'absent_module'"),
        ("{}:absent", "has no 'absent'; it has"),
        ("{}:needs", "without arguments"),
        ("{}:breaks", "failed: KeyError"),
        ("{}:nothing", "it returned a int"),
        ("{}:number", "is a int"),
    ],
)
def test_bad_targets(source, target, message):
    with pytest.raises(InputError, match=message):
        load_target(target.format(source))


def test_bad_checkpoints(source, tmp_path):
    target = f"{source}:flat"
    with pytest.raises(InputError, match="no checkpoint"):
        load_target(target, tmp_path / "absent.pt")
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_target(target, bad)
    torch.save({"other": torch.ones(3)}, bad)
    with pytest.raises(InputError, match="does not fit the model"):
        load_target(target, bad)


def test_batches(source, tmp_path):
    for name, dims in (("flat", 2), ("images", 4)):
        model, _ = load_target(f"{source}:{name}")
        ((inputs, labels),) = load_batches(model, None, None, None, "unit", 50)
        assert inputs.dim() == dims
        assert len(inputs) == len(labels) == 50
    with pytest.raises(InputError, match="neither as 1 x 8 x 8 images nor flattened"):
        load_batches(load_target(f"{source}:with_loss")[0], None, None, None, "unit", 50)
    path = tmp_path / "batches.pt"
    pair = torch.randn(4, 3), torch.randn(4, 3)
    for saved in ([pair], pair):
        torch.save(saved, path)
        assert len(load_batches(model, None, path, None, "unit", 50)) == 1
    torch.save(torch.ones(3), path)
    with pytest.raises(InputError, match="list of pairs"):
        load_batches(model, None, path, None, "unit", 50)
    with pytest.raises(InputError, match="not both"):
        load_batches(model, "digits", path, None, "unit", 50)


@pytest.mark.parametrize("method", ["exact", "lanczos", "moments"])
def test_spectrum_command(source, tmp_path, capsys, method):
    out = tmp_path / "out"
    arguments = ["spectrum", f"{source}:flat", "--method", method, "--samples", "100", "--out", str(out), "--json"]
    assert cli.run(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"parameters", "window", "method", "degenerate", "negative", "positive"}
    assert printed["parameters"] == 310
    assert (
        printed["degenerate"]["interval"][0] <= printed["degenerate"]["count"] <= printed["degenerate"]["interval"][1]
    )
    assert {p.name for p in out.iterdir()} == {LOCK, "spectrum.json", "spectrum.png", "spectrum.svg"}
    if method == "exact":
        model, loss_fn = load_target(f"{source}:flat")
        H = Hessian(model, loss_fn, load_batches(model, None, None, None, "unit", 100))
        assert printed == json.loads(json.dumps(spectrum(H).to_json()))


def test_spectrum_command_in_words(source, tmp_path, capsys):
    assert cli.run(["spectrum", f"{source}:images", "--samples", "50", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "degenerate" in printed
    assert "exact" in printed
    assert "210 parameters" in printed


def test_spectrum_command_complains_in_one_line(tmp_path, capsys):
    assert cli.run(["spectrum", "nowhere.py:model", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nowhere.py" in error


def test_safetensors_checkpoints_load(source, tmp_path):
    from safetensors.torch import save_file

    model, _ = load_target(f"{source}:flat")
    shifted = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    save_file(shifted, tmp_path / "model.safetensors")
    loaded, _ = load_target(f"{source}:flat", tmp_path / "model.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in shifted.items())
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_target(f"{source}:flat", tmp_path / "model.safetensors")
