"""``nonsingular diagnose`` as a user runs it, and the page in a real browser."""

import json

import pytest
import torch
import torch.nn.functional as F
import typer

import nonsingular as ns
from browsing import opened
from nonsingular import cli
from nonsingular.diagnosis.bench import zoo

MINE = """
import torch
from torch import nn
from torch.nn import functional as F

def deep():
    modules = []
    for i in range(24):
        modules += [nn.Linear(64 if i == 0 else 32, 32), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *modules, nn.Linear(32, 10))

def fine():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def with_loss():
    return nn.Linear(3, 1), lambda output, target: F.mse_loss(output, target)

def nothing():
    return nn.ReLU()

def number():
    return 3

def broken():
    raise RuntimeError("no weights today")

def wrong_shape():
    return nn.Linear(7, 10)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def ran(capsys, *arguments):
    status = cli.run(["diagnose", *arguments])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def test_a_sick_network_is_told_treated_and_proved(capsys, mine):
    out = ran(capsys, "mine.py:deep", "--steps", "12", "--seeds", "2", "--samples", "400", "--json")
    document = json.loads(out)
    assert document["findings"][0]["kind"] == "vanishing-signal"
    assert len(document["layers"]) == 25
    assert document["proof"]["steps"] == 12
    assert {t["treatment"] for t in document["proof"]["trials"]} >= {"add_skips", "reinitialise"}
    folder = mine / "out" / "diagnose"
    assert json.loads((folder / "diagnosis.json").read_text()) == document
    assert (folder / "report.html").stat().st_size > 10_000
    again = json.loads(
        ran(capsys, "mine.py:deep", "--steps", "12", "--seeds", "2", "--samples", "400", "--json", "--resume")
    )
    assert again == document


def test_an_earlier_proof_is_not_written_over(capsys, mine):
    proof = ("mine.py:deep", "--steps", "4", "--seeds", "2", "--samples", "300", "--no-curvature", "--json")
    first = ran(capsys, *proof)
    folder = mine / "out" / "diagnose"
    before = {p: p.read_bytes() for p in folder.iterdir()}
    for arguments in (proof, ("mine.py:fine",), ("mine.py:fine", "--steps", "2")):
        assert cli.run(["diagnose", *arguments]) == 2
        said = capsys.readouterr().err
        assert "the proof of mine.py:deep (4 steps" in said
        assert all(way in said for way in ("--resume", "--out", "--replace"))
        assert said.count("\n") == 1
    assert cli.run(["diagnose", "mine.py:fine", "--resume"]) == 2  # of what?
    assert "--resume is of copies that train" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    assert json.loads(ran(capsys, *proof, "--resume")) == json.loads(first)
    ran(capsys, "mine.py:fine", "--replace")
    assert "proof" not in json.loads((folder / "diagnosis.json").read_text())
    ran(capsys, "mine.py:fine")


def test_the_table_reads_like_the_json(capsys, mine):
    out = ran(capsys, "mine.py:deep")
    assert "1. vanishing-signal" in out
    assert "may help: add_skips" in out
    assert "out/diagnose/report.html" in out


def test_nothing_wrong_is_an_answer(capsys, mine):
    assert "nothing wrong found" in ran(capsys, "mine.py:fine")
    assert json.loads(ran(capsys, "mine.py:fine", "--json"))["findings"] == []


def test_own_loss_batches_and_checkpoint(capsys, mine):
    torch.manual_seed(0)
    x = torch.randn(60, 3)
    torch.save([(x[:30], x[:30, :1]), (x[30:], x[30:, :1])], mine / "batches.pt")
    weights = {"weight": torch.full((1, 3), 1e4), "bias": torch.zeros(1)}
    torch.save(weights, mine / "weights.pt")
    out = ran(capsys, "mine.py:with_loss", "--batches", "batches.pt", "--checkpoint", "weights.pt", "--json")
    assert json.loads(out)["network"]["task"] == "regressor"
    assert json.loads(out)["findings"][0]["kind"] == "saturated-output"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing_here.py:f"], "no file nothing_here.py"),
        (["mine.py"], "TARGET must be"),
        (["mine.py:absent"], "it has"),
        (["mine.py:number"], "must return a torch.nn.Module"),
        (["mine.py:broken"], "no weights today"),
        (["mine.py:nothing"], "no parameters"),
        (["mine.py:wrong_shape"], "neither as 1 x 8 x 8 images nor flattened"),
        (["mine.py:fine", "--steps", "-1"], "steps must be at least 0"),
        (["mine.py:fine", "--steps", "5", "--seeds", "1"], "at least 2 seeds"),
        (["mine.py:fine", "--steps", "5", "--batch", "0"], "batch must be at least 1"),
        (["mine.py:fine", "--steps", "5", "--optimiser", "magic"], "adam, sgd"),
        (["mine.py:fine", "--data", "imagenet"], "digits, mnist, cifar10"),
        (["mine.py:fine", "--batches", "absent.pt"], "no batches at absent.pt"),
        (["mine.py:fine", "--batches", "nan.pt"], "nan.pt: the inputs of batch 0 have NaN"),
        (["mine.py:fine", "--batches", "short.pt"], "short.pt: batch 0 has 5 inputs but 4 targets"),
        (["mine.py:fine", "--batches", "wide.pt"], "wide.pt: the model fails on inputs of shape (5, 65)"),
        (["mine.py:fine", "--batches", "one.pt"], "one.pt: at least 2 samples"),
        (["mine.py:fine", "--batches", "none.pt"], "none.pt holds no batches"),
        (["mine.py:fine", "--batches", "odd.pt"], "odd.pt: batch 0 must be a pair"),
        (["mine.py:fine", "--held-out", "short.pt"], "short.pt: held-out data: batch 0 has 5 inputs but 4 targets"),
        (["mine.py:fine", "--batches", "float_classes.pt"], "let it return (module, loss_fn)"),
        (["mine.py:fine", "--batches", "pickled.pt"], "not a file of tensors"),
        (["mine.py:fine", "--checkpoint", "pickled.pt"], "not a readable checkpoint"),
        (["mine.py:fine", "--checkpoint", "nan_weights.pt"], "1.weight has NaN"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, mine, arguments, message):
    x, y = torch.randn(5, 64), torch.arange(5)
    torch.save([(x * torch.nan, y)], mine / "nan.pt")
    torch.save([(x, y[:4])], mine / "short.pt")
    torch.save([(torch.randn(5, 65), y)], mine / "wide.pt")
    torch.save([(x[:1], y[:1])], mine / "one.pt")
    torch.save([(x, y + 0.5)], mine / "float_classes.pt")
    torch.save([], mine / "none.pt")
    torch.save([3, 4, 5], mine / "odd.pt")
    torch.save(zoo.lenet(), mine / "pickled.pt")
    state = {"1.weight": torch.full((32, 64), torch.nan), "1.bias": torch.zeros(32)}
    torch.save({**state, "3.weight": torch.zeros(10, 32), "3.bias": torch.zeros(10)}, mine / "nan_weights.pt")
    assert cli.run(["diagnose", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (mine / "out" / "diagnose").exists()


def test_bench_calibration_bad_input(capsys):
    assert cli.run(["bench-diagnosis", "--seeds", "0"]) == 2
    assert "seeds must be at least 1" in capsys.readouterr().err


# --- the page -----------------------------------------------------------------------------------------------


ATTACK = "<script>window['hacked']=true</script>"


def test_the_page_in_a_browser(browser, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    for i, module in enumerate(zoo.glorot(zoo.mlp(64, 10, 20, 32))):
        model.add_module(f"{i}{ATTACK}" if i == 4 else str(i), module)
    pairs = [(torch.randn(200, 64), torch.randint(10, (200,)))]
    protocol = ns.diagnosis.Protocol(seeds=2, batch=32)
    found = ns.diagnose(model, F.cross_entropy, pairs, steps=6, protocol=protocol)
    report = found.report(tmp_path / "report.html", ATTACK)
    page, errors, requests = opened(browser, report)
    assert page.locator("#findings article").count() == len(found.findings) > 0
    assert page.locator("#findings article h3").first.inner_text().startswith(f"1. {found.findings[0].kind}")
    assert page.locator("#layers tbody tr").count() == len(found.layers)
    assert page.locator("#layers svg polyline").count() == 21
    assert page.locator("#proof tbody tr").count() == 1 + len(found.proof.trials)  # and the untreated copies
    assert page.locator("#learns tbody tr").count() == 4
    assert page.locator("#next").inner_text().startswith("Next step")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) != light
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for row in page.locator("#proof tbody tr").all():  # nothing of a verdict lies outside of the screen
        for cell in row.locator("td").all():
            box = cell.bounding_box()
            assert box is None or box["x"] + box["width"] <= 390
        assert row.bounding_box()["height"] < 200
    assert page.locator("pre").evaluate_all("all => all.every(e => e.scrollWidth <= e.clientWidth)")
    images = page.locator("figure img")
    assert all(images.nth(i).bounding_box()["width"] > 500 for i in range(3))
    assert images.count() == 3
    assert all(images.nth(i).evaluate("e => e.complete && e.naturalWidth > 0") for i in range(3))
    assert page.evaluate("window.hacked") is None
    assert ATTACK in page.locator("h1").inner_text()
    assert errors == []
    assert requests == [report.as_uri()]


def test_the_page_of_a_healthy_network(browser, tmp_path):
    torch.manual_seed(0)
    found = ns.diagnose(zoo.mlp(64, 10, 2, 32), F.cross_entropy, [(torch.randn(200, 64), torch.randint(10, (200,)))])
    page, errors, _ = opened(browser, found.report(tmp_path / "report.html"))
    assert "Nothing wrong found" in page.locator("#findings").inner_text()
    assert page.locator("figure img").count() == 1
    assert errors == []


def test_labels_out_of_range_are_a_finding_although_the_loss_fails_on_them(capsys, mine):
    """The loss raises; the network is looked at with the nearest labels, and the labels are named first."""
    torch.save([(torch.randn(5, 64), torch.arange(5) + 8)], mine / "classes.pt")
    document = json.loads(ran(capsys, "mine.py:fine", "--batches", "classes.pt", "--json"))
    assert document["findings"][0]["kind"] == "invalid-targets"
    assert document["findings"][0]["evidence"][0]["value"] == pytest.approx(3 / 5)
    assert "0 to 9" in document["findings"][0]["evidence"][1]["measure"]
    assert document["findings"][0]["remedy"]
    assert len(document["layers"]) == 2


def test_every_command_and_python_scale_named_data_alike_and_say_so(capsys, mine):
    """One default: that of ``data.DataSpec``; the output, JSON and the page name it."""
    default = ns.data.DataSpec("digits").scaling
    for name in ("diagnose", "spectrum", "landscape"):
        (option,) = [p for p in typer.main.get_group(cli.app).commands[name].params if p.name == "scaling"]
        assert (option.default, option.show_default) == (None, default)
    assert f"data: digits, scaling {default}" in ran(capsys, "mine.py:fine", "--out", "told")
    assert f"scaling <b>{default}</b>" in (mine / "told" / "report.html").read_text()
    document = json.loads(ran(capsys, "mine.py:fine", "--out", "json", "--json"))
    assert document["data"] == {"name": "digits", "scaling": default}


def test_held_out_samples_that_were_trained_on_are_found(capsys, mine):
    x, y = torch.randn(64, 64), torch.arange(64) % 10
    torch.save([(x, y)], mine / "train.pt")
    torch.save([(torch.cat([x[:8], torch.randn(24, 64)]), y[:32])], mine / "test.pt")
    arguments = ("mine.py:fine", "--batches", "train.pt", "--held-out", "test.pt", "--json")
    [leak] = [f for f in json.loads(ran(capsys, *arguments))["findings"] if f["kind"] == "bad-data"]
    assert leak["evidence"][0]["value"] == 8 / 32
