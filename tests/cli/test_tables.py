"""What is printed at 60, 80, 100 and 200 columns: no number is cut, nothing is lost, verdicts come first."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nonsingular as ns
from nonsingular import cli
from nonsingular.cli.tables.diagnosis import print_diagnosis
from nonsingular.cli.tables.summary import print_summary
from nonsingular.cli.terminal import Column, console, number, numbers, print_table
from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.learnability import percent, points
from nonsingular.experiments.claims import is_ours
from nonsingular.intervals import in_words

WIDTHS = (60, 80, 100, 200)
RESULTS = Path(__file__).parents[2] / "results"
NUMBER = re.compile(r"[-+]?\d[\d,.]*(?:e[-+]\d+)?")
VERDICTS = ("holds", "fails", "inconclusive")

WORDS = st.text("abcdefgh_.0123456789", min_size=1, max_size=14)
VALUES = st.floats(allow_infinity=True).map(number) | st.integers(-(10**9), 10**9).map("{:,}".format)


def lines(capsys, width):
    text = capsys.readouterr().out
    assert "…" not in text
    found = [line.rstrip() for line in text.splitlines()]
    assert all(len(line) <= width for line in found)
    return found


def test_ends_of_intervals_differ_where_they_do():
    assert in_words(0.1, 0.25) == "0.1 to 0.25"
    assert in_words(5.87e-8, 5.87e-8) == "all equal"
    assert in_words(0.123412, 0.123448) == "0.12341 to 0.12345"
    assert in_words(1.0, 1.0 + 1e-15) == "all equal"
    assert (in_words(None, None), in_words(None, 2.0), in_words(math.nan, 1.0)) == ("–", "2 or less", "1 or less")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), width=st.sampled_from(WIDTHS), parts=st.booleans())
def test_any_table(capsys, monkeypatch, data, width, parts):
    monkeypatch.setenv("COLUMNS", str(width))
    values, texts = data.draw(st.integers(1, 14)), data.draw(st.integers(0, 2))
    columns = [
        Column("key"),
        *[Column(f"text {i}", least=12) for i in range(texts)],
        *numbers(*map(str, range(values))),
    ]
    row = st.tuples(WORDS, *[st.lists(WORDS, max_size=12).map(" ".join)] * texts, *[VALUES] * values)
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    print_table(console(), columns, rows, parts)
    found = lines(capsys, width)
    words = [word for line in found for word in line.split()]
    for cells in rows:
        assert any(line.startswith(cells[0]) for line in found)
        for cell in cells[1 + texts :]:
            assert {cell, f"{cell};"} & set(words)
        for cell in cells[1 : 1 + texts]:
            assert all(word in "".join(words) for word in cell.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("paper", sorted(p.name for p in RESULTS.iterdir() if p.is_dir()))
def test_the_scoreboard(capsys, monkeypatch, width, paper):
    rows = [row for path in sorted((RESULTS / paper).rglob("claims.json")) for row in json.loads(path.read_text())]
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.run(["claims", str(RESULTS / paper)]) == 0
    found = lines(capsys, width)
    assert [line.split()[0] for line in found if line.startswith(VERDICTS)] == [row["verdict"] for row in rows]
    said = " ".join(" ".join(found).split())
    assert " ours" not in said
    assert ("not the paper's claim:" in said) == any(is_ours(row) for row in rows)
    shown = {n for line in found for n in NUMBER.findall(line)}
    for row in rows:
        told = (row["measured"], *(row["interval"] or ()))
        assert {number(value) for value in told if value is not None} <= shown | {"inf", "-inf", "–"}


@pytest.fixture(scope="module")
def diagnosis():
    torch.manual_seed(0)
    model = zoo.glorot(zoo.mlp(64, 10, 24, 32))
    pairs = [(torch.randn(120, 64), torch.randint(10, (120,)))]
    protocol = ns.diagnosis.Protocol(seeds=2, batch=32)
    return ns.diagnose(model, F.cross_entropy, pairs, steps=2, protocol=protocol, curvature=False)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_diagnosis(capsys, monkeypatch, width, diagnosis):
    monkeypatch.setenv("COLUMNS", str(width))
    found = diagnosis
    print_diagnosis(found)
    said = lines(capsys, width)
    shown = {n for line in said for n in NUMBER.findall(line)}
    for layer in found.layers:
        told = (layer.units, layer.signal, layer.spread, layer.gradient, layer.effective_rank, layer.condition_number)
        assert {number(value) for value in told} <= shown | {"inf", "–"}
    assert found.proof
    for trial in found.proof.trials:
        assert any(line.startswith(trial.verdict) for line in said)
        assert trial.treatment in " ".join(said)
        gained = trial.gained
        assert gained.runs
        assert {points(x) for x in (gained.value, gained.low, gained.high)} <= shown
        assert percent(trial.reached.value).split()[0] in shown
    assert found.learns
    for row in found.learns.rows:
        assert row.arm in " ".join(said)
        assert {percent(row.learned.value).split()[0], number(row.first), number(row.loss)} <= shown


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_demo(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table = {f"network-{i}": {"train_accuracy": (i / 8 + 1e-3, 0.0123)} for i in range(7)}
    print_summary(table, 5)
    said = " ".join(lines(capsys, width))
    for i in range(7):
        assert f"{100 * (i / 8 + 1e-3):.1f} ± 1.2" in said
        assert f"network-{i}" in said


def test_where_nothing_says_how_wide(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == 120


def test_lines_keep_their_indentation(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    console().print("\n   " + "word " * 40)
    said = lines(capsys, 60)
    assert said[0] == ""
    assert len(said) > 3
    assert all(line.startswith("   word") for line in said[1:] if line)


@pytest.mark.parametrize("width", WIDTHS)
def test_broken_lines_keep_words_and_indentation_and_end_without_spaces(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    words = " ".join(f"word{i}" for i in range(40))
    console().print(f"\n   [dim]{words}[/]")
    first, *printed = capsys.readouterr().out.splitlines()
    assert first == ""
    assert all(line == line.rstrip() and len(line) <= width for line in printed)
    assert all(line.startswith("   word") for line in printed)
    assert " ".join(line.strip() for line in printed) == words


def test_rows_that_say_the_same_are_folded_and_the_next_step_is_last(capsys, monkeypatch, diagnosis):
    monkeypatch.setenv("COLUMNS", "80")
    print_diagnosis(diagnosis)
    said = lines(capsys, 80)
    assert any(" to " in line and line.split()[-1] == "no" for line in said)
    assert len([line for line in said if line.split()[-1:] == ["no"]]) < len(diagnosis.layers)
    assert any(line.startswith("Next step:") for line in said[-12:])
    columns = [Column("layer"), *numbers("a", "b" * 40, "c" * 40)]
    rows = [[f"body.{i}", str(i), "0", "1" if i == 5 else "0"] for i in range(9)]
    print_table(console(), columns, rows, parts=True, fold=True)
    told = [line.split() for line in lines(capsys, 80)]
    assert ["body.0", "to", "body.8", "(9)", "0"] not in told  # numbers differ in the part they stand in
    assert [row[:2] for row in told if row[:1] == ["body.3"]] == [["body.3", "3"]]
    assert ["body.0", "to", "body.4", "(5)", "0"] in told
    assert ["body.6", "to", "body.8", "(3)", "0"] in told


class Listed(torch.nn.Module):
    """Two layers in a list of Python, with an activation between them; or registered."""

    def __init__(self, registered):
        super().__init__()
        body = [torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Sequential(torch.nn.Linear(12, 12))]
        self.body = torch.nn.ModuleList(body) if registered else body
        self.head = torch.nn.Linear(12, 3)

    def forward(self, x):
        for layer in self.body:
            x = layer(x)
        return self.head(x)


@pytest.mark.parametrize("registered", [True, False])
def test_layers_that_are_not_registered_are_missed_in_words(capsys, registered):
    data = [(torch.randn(32, 6), torch.arange(32) % 3)]
    print_diagnosis(ns.diagnose(Listed(registered), F.cross_entropy, data, curvature=False))
    assert ("no row here: 2 modules not registered" in capsys.readouterr().out) != registered
