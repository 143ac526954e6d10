"""TARGETs of the command line, and ``nonsingular spectrum``."""

import json
import re
import sys

import pytest
import torch
import typer
from torch import nn
from torch.nn import functional as F

import processes
from nonsingular import cli
from nonsingular.cli.targets import Target, bring, load_batches
from nonsingular.curvature import Hessian, spectrum
from nonsingular.errors import InputError
from nonsingular.files import LOCK
from nonsingular.plots.spectra import density

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
    model, loss_fn = Target(f"{source}:flat").build()
    assert not model.training
    assert loss_fn is None
    _, loss_fn = Target(f"{source}:with_loss").build()
    assert loss_fn is F.mse_loss
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "models.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    assert isinstance(Target("my_package.models:images").build()[0], nn.Module)
    sys.modules.pop("my_package.models", None)


def test_checkpoints(source, tmp_path):
    path = tmp_path / "weights.pt"
    weights = {k: v + 1 for k, v in Target(f"{source}:flat").build()[0].state_dict().items()}
    for state in (weights, {"state_dict": weights}):
        torch.save(state, path)
        loaded = Target(f"{source}:flat").build(path)[0].state_dict()
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
        ("{}:nothing", "it returned an int"),
        ("{}:number", "is an int"),
    ],
)
def test_bad_targets(source, target, message):
    with pytest.raises(InputError, match=message):
        Target(target.format(source)).build()


@pytest.mark.parametrize(
    ("model", "message"),
    [("nn.Linear(64, 10, device='meta')", "meta device"), ("nn.LazyLinear(10)", "no shape yet")],
)
def test_models_without_values_are_refused_whatever_the_command(tmp_path, model, message):
    file = tmp_path / "valueless.py"
    file.write_text(f"from torch import nn\n\ndef build():\n    return {model}\n")
    with pytest.raises(InputError, match=message):
        bring(f"{file}:build", None, None, None, None, None, 50, 0, lambda: 50)


def test_bad_checkpoints(source, tmp_path):
    target = f"{source}:flat"
    with pytest.raises(InputError, match="no checkpoint"):
        Target(target).build(tmp_path / "absent.pt")
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        Target(target).build(bad)
    torch.save({"other": torch.ones(3)}, bad)
    with pytest.raises(
        InputError, match=r"does not fit the model \(Sequential\): it lacks 0.weight, 0.bias, 2.weight "
    ):
        Target(target).build(bad)
    state = Target(target).build()[0].state_dict()
    torch.save(state | {"2.bias": torch.ones(3)}, bad)
    with pytest.raises(InputError, match=r": 2.bias is \[3\] there and \[10\] in the model$"):
        Target(target).build(bad)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, bad)
    Target(target).build(bad)  # as DataParallel wrote them
    with pytest.raises(InputError, match=r"not a dictionary of module.0.weight \(tensor \[4, 64\]\), .* and 1 more"):
        bring(target, None, None, bad, None)
    with pytest.raises(InputError, match=r"not a file of tensors .*: it is a file of something else"):
        bring(target, None, None, source, None)


FAULTY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 10)

    def forward(self, x):
        return {forward}

def build():
    return Net()
"""


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("self.frist(x)", "the model fails: AttributeError: 'Net' object has no attribute 'frist' "),
        ("self.first(y)", "the model fails: NameError: name 'y' is not defined "),
        (
            "self.first(x[:, :3])",
            "takes digits neither .* numbers (images: mat1 and mat2 ",
        ),
        ("x.edges", "takes digits neither .* numbers (AttributeError: 'Tensor' object has no attribute 'edges' "),
    ],
)
def test_errors_of_the_users_code_are_told_with_their_line(tmp_path, monkeypatch, forward, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faulty.py").write_text(FAULTY.format(forward=forward))
    with pytest.raises(InputError, match=re.escape(message).replace(r"\.\*", ".*") + r".*\(faulty.py, line 11\)"):
        bring("faulty.py:build", None, None, None, None, None, 50)
    with pytest.raises(InputError, match=r"failed on the first batch: .*\(faulty.py, line 11\)"):
        Hessian(Target("faulty.py:build").build()[0], F.cross_entropy, (torch.ones(4, 64), torch.arange(4)))


def test_batches(source, tmp_path):
    for name, dims in (("flat", 2), ("images", 4)):
        model, _ = Target(f"{source}:{name}").build()
        ((inputs, labels),) = load_batches(model, None, None, None, "unit", 50)
        assert inputs.dim() == dims
        assert len(inputs) == len(labels) == 50
    with pytest.raises(InputError, match="neither as 1 x 8 x 8 images nor flattened") as refused:
        load_batches(Target(f"{source}:with_loss").build()[0], None, None, None, "unit", 50)
    assert "a function batches() in the same file" in str(refused.value)
    assert str(refused.value).count("cannot be multiplied") <= 2
    with pytest.raises(InputError) as refused:
        load_batches(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), None, None, None, "unit", 50)
    assert str(refused.value).count("cannot be multiplied") == 1  # both ways fail alike
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
    torch.save([(torch.ones(3).numpy(), torch.ones(3).numpy())], path)
    with pytest.raises(InputError, match="it holds other objects"):
        load_batches(model, None, path, None, "unit", 50)
    path.write_text("hello")
    with pytest.raises(InputError, match="something else"):
        load_batches(model, None, path, None, "unit", 50)


def test_a_model_that_takes_no_digits_is_told_both_attempts_and_what_to_bring():
    """The error of each shape, each short, whatever the library wrote; one line."""

    class Cifar(nn.Module):
        def forward(self, x):
            if x.dim() == 4:
                raise ValueError(f"three channels, not {x.shape[1]}: " + "a long story " * 100 + "\nwith more lines")
            raise ValueError(f"no rows of {x.shape[1]}")

    with pytest.raises(InputError, match=r"images: three channels, not 1: .* flattened: no rows of 64") as caught:
        load_batches(Cifar(), None, None, None, "unit", 10)
    told = str(caught.value)
    assert "--data cifar10" in told
    assert "--batches FILE" in told
    assert "\n" not in told
    assert len(told) < 600


CLASSES, NUMBERS = torch.tensor([0, 2, 1, 1]), torch.randn(4)


@pytest.mark.parametrize(
    ("outputs", "target"),
    [
        ((3,), CLASSES[:, None]),
        ((3,), CLASSES.float()),
        ((3,), torch.randn(4, 3).softmax(1)),
        ((3,), CLASSES == 1),
        ((1,), CLASSES),
        ((), CLASSES),
        ((1,), NUMBERS[:, None]),
        ((3, 5), CLASSES[:, None].expand(4, 3)),  # classes last, as language models have them
    ],
)
def test_no_loss_is_made_up(tmp_path, outputs, target):
    write_model(tmp_path, outputs, "")
    torch.save((torch.randn(4, 6), target), tmp_path / "b.pt")
    with pytest.raises(InputError, match=r"returns no loss.* let it return \(module, loss_fn\)"):
        bring(f"{tmp_path / 'm.py'}:build", None, None, tmp_path / "b.pt", None)
    write_model(tmp_path / "with", outputs, ", lambda out, y: out.mean()")
    assert bring(f"{tmp_path / 'with' / 'm.py'}:build", None, None, tmp_path / "b.pt", None).loss_fn


LOSSES = """
import torch
from torch import nn

criterion = nn.CrossEntropyLoss(label_smoothing=0.5)

class Net(nn.Linear):
    def __init__(self, width=10):
        super().__init__(64, width)

class Sized(nn.Linear):
    pass

def build():
    return Net()

def own():
    return Net(), nn.functional.cross_entropy

def wide(width):
    return Net(width)

def batches():
    return [(torch.ones(8, 64), torch.arange(8))]
"""


def test_the_files_own_loss_is_taken_where_the_factory_gives_none(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(LOSSES)
    assert bring(f"{path}:build", None, None, None, None).loss_fn.label_smoothing == 0.5
    assert f"the loss is criterion of {path}" in " ".join(capsys.readouterr().err.split())
    assert bring(f"{path}:own", None, None, None, None).loss_fn is F.cross_entropy
    assert capsys.readouterr().err == ""
    odd = tmp_path / "three.py"
    odd.write_text(LOSSES.replace("criterion = ", "old = ") + "def loss(model, inputs, target): return model(inputs)\n")
    with pytest.raises(InputError, match=r"loss of .*three.py does not take two arguments: write loss_fn"):
        bring(f"{odd}:build", None, None, None, None)
    other = tmp_path / "two.py"
    other.write_text(LOSSES + "def loss_fn(output, target): return criterion(output, target)\n")
    with pytest.raises(InputError, match=r"two.py has loss_fn and criterion: let the factory return \(module"):
        bring(f"{other}:build", None, None, None, None)


def test_a_file_without_a_factory_is_told_what_it_has(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(LOSSES)
    offered = r"it has build, own, Net and wide, Sized \(which want arguments\), as in \S*mine.py:build"
    for target in (str(path), f"{path}:", f"{path}:model"):
        with pytest.raises(InputError, match=offered):
            Target(target)
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(InputError, match="has no 'build'; it has no function and no module either"):
        Target(f"{path}:build")


@pytest.mark.parametrize("outputs", [(3,), (3, 5), (3, 2, 2)])
@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_class_numbers_beside_scores_of_classes_get_cross_entropy(tmp_path, outputs, kind):
    write_model(tmp_path, outputs, "")
    target = CLASSES.view(4, *[1] * len(outputs[1:])).expand(4, *outputs[1:]).to(kind)
    torch.save((torch.randn(4, 6), target), tmp_path / "b.pt")
    mine = bring(f"{tmp_path / 'm.py'}:build", None, None, tmp_path / "b.pt", None)
    assert mine.loss_fn is F.cross_entropy


def write_model(folder, outputs, loss):
    folder.mkdir(exist_ok=True)
    width = torch.Size(outputs).numel()
    (folder / "m.py").write_text(
        f"from torch import nn\nclass Net(nn.Linear):\n    def forward(self, x):\n"
        f"        return super().forward(x).view(len(x), *{outputs})\n"
        f"def build():\n    return Net(6, {width}){loss}\n"
    )


DICTIONARIES = """
import torch
from torch import nn
from torch.nn import functional as F

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(6, 3)

    def forward(self, features, labels=None):
        logits = self.net(features)
        return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}

def own():
    return Own()

def outputs():
    return Own(), lambda out, labels: F.cross_entropy(out["logits"], labels)

def whole():
    return Own(), lambda model, batch: F.cross_entropy(model(batch["features"])["logits"], batch["labels"])
"""


def test_spectrum_of_dictionaries_by_any_form_of_the_loss(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(DICTIONARIES)
    features, labels = torch.randn(8, 6), CLASSES.repeat(2)
    cut = [{"features": features[:5], "labels": labels[:5]}, {"features": features[5:], "labels": labels[5:]}]
    torch.save(cut, tmp_path / "b.pt")
    printed = []
    for name in ("own", "outputs", "whole"):
        target = f"{tmp_path / 'mine.py'}:{name}"
        given = ["--batches", str(tmp_path / "b.pt"), "--out", str(tmp_path / name), "--window", "0.01", "--json"]
        assert cli.run(["spectrum", target, *given]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert [p["loss_fn"] for p in printed] == ["the model's own", "<lambda>", "<lambda>"]
    counts = [[p[part] for part in ("degenerate", "negative", "positive", "extremes")] for p in printed]
    assert counts[0] == counts[1] == counts[2]
    assert printed[0]["positive"]["count"] > 0
    given = ["--batches", str(tmp_path / "b.pt"), "--out", str(tmp_path / "d")]
    assert cli.run(["diagnose", f"{tmp_path / 'mine.py'}:own", *given]) == 0
    capsys.readouterr()
    steps = ["--steps", "3", "--seeds", "2", "--json"]
    assert cli.run(["diagnose", f"{tmp_path / 'mine.py'}:own", *given, *steps]) == 0
    rows = json.loads(capsys.readouterr().out)["learns"]["rows"]
    assert [row["arm"] for row in rows] == ["untreated", "one batch", "inputs alike", "targets permuted"]
    assert rows[0]["loss"] != rows[3]["loss"]  # the labels within the batch were permuted


@pytest.mark.parametrize("method", ["exact", "lanczos", "moments"])
def test_spectrum_command(source, tmp_path, capsys, method):
    out = tmp_path / "out"
    arguments = ["spectrum", f"{source}:flat", "--method", method, "--samples", "100", "--out", str(out), "--json"]
    assert cli.run(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["parameters"] == 310
    assert [printed[k] for k in ("target", "checkpoint", "mode", "loss_fn")] == [
        f"{source}:flat", None, "eval", "cross_entropy",
    ]  # fmt: skip
    assert printed == json.loads((out / "spectrum.json").read_text())
    assert (
        printed["degenerate"]["interval"][0] <= printed["degenerate"]["count"] <= printed["degenerate"]["interval"][1]
    )
    assert {p.name for p in out.iterdir()} == {LOCK, "spectrum.json", "spectrum.png", "spectrum.svg"}
    if method == "exact":
        mine = bring(f"{source}:flat", None, None, None, None, "unit", 100)
        assert mine.loss_fn is F.cross_entropy
        H = Hessian(mine.model, mine.loss_fn, mine.batches)
        found = spectrum(H, eigenvalues=True)
        ((inputs, labels),) = mine.batches
        assert printed["loss"] == pytest.approx(float(F.cross_entropy(mine.model(inputs), labels)))
        assert {k: v for k, v in printed.items() if k in found.to_json()} == found.to_json()
        assert len(printed["eigenvalues"]) == 310


def test_spectrum_command_stops_where_it_is_told(source, tmp_path, capsys):
    arguments = ["spectrum", f"{source}:flat", "--method", "lanczos", "--samples", "100", "--out", str(tmp_path)]
    assert cli.run([*arguments, "--error", "0.5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    mine = bring(f"{source}:flat", None, None, None, None, "unit", 100)
    H = Hessian(mine.model, mine.loss_fn, mine.batches)
    rough, default = (spectrum(H, method="lanczos", **o).to_json() for o in ({"error": 0.5}, {}))
    assert printed["positive"] == rough["positive"]
    assert printed["products"] == rough["products"] < default["products"]
    assert printed["stopped"] == ""
    arguments += ["--replace"]
    assert cli.run([*arguments, "--seconds", "1e-9"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "stopped early (1e-09 s were up; --seconds gives it more)" in said
    assert "stopped early" in json.loads((tmp_path / "spectrum.json").read_text())["stopped"]
    stopped = spectrum(H, method="lanczos", seconds=1e-9)
    assert "stopped early" in density({"mine": stopped}).axes[0].get_legend_handles_labels()[1][0]
    assert "max_" not in said
    for option in ("--error", "--seconds"):
        assert cli.run([*arguments, option, "0"]) == 2
        assert "must be positive" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["spectrum", "landscape"])
def test_what_is_wrong_with_batches_names_their_file(source, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    x, y = torch.randn(5, 64), torch.arange(5)
    files = {"none": [], "nan": [(x * torch.nan, y)], "short": [(x, y[:4])], "wide": [(torch.randn(5, 65), y)]}
    for name, batches in files.items():
        torch.save(batches, f"{name}.pt")
        assert cli.run([command, f"{source}:flat", "--batches", f"{name}.pt"]) == 2
        assert capsys.readouterr().err.startswith(f"nonsingular: {name}.pt")


def test_an_option_of_another_method_than_the_size_calls_for_is_told(source, tmp_path, capsys):
    arguments = ["spectrum", f"{source}:images", "--samples", "50", "--out", str(tmp_path)]
    assert cli.run([*arguments, "--seconds", "5"]) == 0
    assert "--seconds is of --method lanczos; so few parameters are counted exactly" in capsys.readouterr().err


def test_spectrum_command_in_words(source, tmp_path, capsys):
    assert cli.run(["spectrum", f"{source}:images", "--samples", "50", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "degenerate" in printed
    assert "exact" in printed
    assert "210 parameters" in printed
    assert "(--checkpoint FILE for trained ones)" in printed


COMMANDS = {
    "diagnose": ["--steps", "3", "--seeds", "2", "--no-curvature", "--resume"],
    "spectrum": ["--method", "exact"],
    "landscape": ["--grid", "5"],
}
"""Every command that takes a TARGET, at its smallest; the test below fails where one is missing."""

MINE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return 1e-3 * torch.tanh(self.linear(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.blocks = nn.Linear(8, 6), nn.ModuleList(Block(6) for _ in range(4))
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)

def build():
    print("building", Net)
    return Net()
"""


def test_every_command_with_a_target_is_in_the_list():
    taking = {
        name for name, c in typer.main.get_group(cli.app).commands.items() if "target" in {p.name for p in c.params}
    }
    assert taking == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_model_class_of_the_users_own_file_in_a_fresh_process(tmp_path, name):
    (tmp_path / "mine.py").write_text(MINE)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 8, generator=generator)
    torch.save([(inputs, (inputs[:, 0] > 0).long())], tmp_path / "mine.pt")
    arguments = [name, "mine.py:build", "--batches", "mine.pt", *COMMANDS[name], "--json"]
    status, out, said = processes.run(arguments, tmp_path, tmp_path)
    assert status == 0, said
    document = json.loads(out)
    if name == "diagnose":
        assert document["findings"][0]["kind"] == "vanishing-signal"
        assert len(document["proof"]["trials"]) > 1
        assert len(document["proof"]["untreated"]["loss"]) == 2
    assert "building" in said


def test_spectrum_command_complains_in_one_line(tmp_path, capsys):
    assert cli.run(["spectrum", "nowhere.py:model", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nowhere.py" in error


def test_safetensors_checkpoints_load(source, tmp_path):
    from safetensors.torch import save_file

    model, _ = Target(f"{source}:flat").build()
    shifted = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    save_file(shifted, tmp_path / "model.safetensors")
    loaded, _ = Target(f"{source}:flat").build(tmp_path / "model.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in shifted.items())
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        Target(f"{source}:flat").build(tmp_path / "model.safetensors")


OWN_BATCHES = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)), nn.MSELoss()

def batches():
    torch.manual_seed(0)
    x = torch.randn(40, 5)
    return [(x[:20], x[:20, :1]), (x[20:], x[20:, :1])]
"""


def test_the_files_own_batches_are_used_unless_others_are_named(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN_BATCHES)
    target, out = f"{tmp_path / 'mine.py'}:build", ["--out", str(tmp_path / "o"), "--json"]
    assert cli.run(["diagnose", target, *out]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["network"]["samples"] == 40
    assert found["data"] == {"batches": f"batches() of {tmp_path / 'mine.py'}"}
    x = torch.randn(30, 5)
    torch.save([(x, x[:, :1])], tmp_path / "other.pt")
    assert cli.run(["diagnose", target, "--batches", str(tmp_path / "other.pt"), *out]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["samples"] == 30
    (tmp_path / "none.py").write_text(OWN_BATCHES.replace("return [", "return [] and ["))
    assert cli.run(["spectrum", f"{tmp_path / 'none.py'}:build", *out]) == 2
    assert "gives no batches" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_of_data_sets_alone_is_refused_beside_a_users_own_batches(tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN_BATCHES)
    torch.save([(torch.randn(30, 5), torch.randn(30, 1))], "b.pt")
    for brought in (["--batches", "b.pt"], []):
        for option, given, said in (
            ("--scaling", "zzz", "unknown input scaling 'zzz'"),
            ("--scaling", "raw", "--scaling is of named data sets"),
            ("--samples", "20", "--samples is of named data sets"),
        ):
            assert cli.run([command, "mine.py:build", *brought, option, given]) == 2
            error = capsys.readouterr().err
            assert said in error
            assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_no_loss_is_made_up_for_batches_of_another_precision(tmp_path, kind):
    (tmp_path / "mine.py").write_text("from torch import nn\n\ndef build():\n    return nn.Linear(5, 1)\n")
    torch.save([(torch.randn(30, 5).to(kind), torch.randn(30, 1).to(kind))], tmp_path / "b.pt")
    with pytest.raises(InputError, match="returns no loss"):
        bring(f"{tmp_path / 'mine.py'}:build", None, None, tmp_path / "b.pt", None)


def test_an_earlier_spectrum_is_not_written_over(source, tmp_path, capsys):
    arguments = ["spectrum", f"{source}:flat", "--samples", "50", "--out", str(tmp_path / "o")]
    assert cli.run(arguments) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "o").iterdir()}
    capsys.readouterr()
    assert cli.run([*arguments, "--window", "0.2"]) == 2
    said = capsys.readouterr().err
    assert "holds the exact spectrum of 310 parameters: name another --out, or throw it away with --replace" in said
    assert said.count("\n") == 1
    assert {p: p.read_bytes() for p in (tmp_path / "o").iterdir()} == before
    assert cli.run([*arguments, "--window", "0.2", "--replace"]) == 0
    assert json.loads((tmp_path / "o" / "spectrum.json").read_text())["window"] == 0.2
