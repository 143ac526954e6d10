"""``| head``, closed streams, full disks; JSON alone on standard output, progress on standard error."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

from nonsingular import cli, progress
from nonsingular.cli import progress as shown
from nonsingular.cli.streams import only_json, print_json
from nonsingular.files import to_json

GROUP = typer.main.get_group(cli.app)


def shell(line, **options):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("nonsingular", f"{sys.executable} -m nonsingular")],
        capture_output=True, text=True, timeout=120, **options,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_streams_that_nobody_reads():
    assert shell("nonsingular --help | head -1")[0] == 0
    assert shell("nonsingular --help | head -c 1")[0] == 0
    assert shell("nonsingular --help >&-")[0] == 0
    assert shell("nonsingular --help <&- >&- 2>&-")[0] == 0
    assert shell("nonsingular frobnicate 2>&-")[0] == 2
    status, _, said = shell("nonsingular --help > /dev/full")
    assert (status, said.count("\n")) == (2, 1)
    assert "No space left" in said


def test_a_table_that_nobody_reads_in_an_encoding_without_our_signs():
    line = "nonsingular reproduce --list | head -6"
    status, out, said = shell(line, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert status == 0, said
    assert "orhan20" in out


def test_every_command_has_json():
    without = {
        name for name, command in GROUP.commands.items() if "--json" not in {o for p in command.params for o in p.opts}
    }
    assert without == set()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    )
)
def test_json_that_every_reader_takes(value):
    def refuse(word):
        raise AssertionError(word)

    read = json.loads(to_json(value), parse_constant=refuse)
    if isinstance(value, float):
        assert read == (value if np.isfinite(value) else None)
    if isinstance(value, list | dict):
        assert len(read) == len(value)


def test_json_of_arrays():
    value = {"a": np.float32(0.5), "b": np.array([1, np.nan]), "c": torch.tensor(2), "d": (1, 2)}
    assert json.loads(to_json(value)) == {"a": 0.5, "b": [1, None], "c": 2, "d": [1, 2]}


def test_only_json_reaches_standard_output(capsys):
    with only_json():
        print("a model that talks")
        print_json({"x": float("nan")})
    print("after")
    captured = capsys.readouterr()
    assert captured.out == '{\n  "x": null\n}\nafter\n'
    assert captured.err == "a model that talks\n"


@pytest.mark.parametrize(
    "name", sorted(name for name, c in GROUP.commands.items() if "out" in {p.name for p in c.params})
)
def test_an_out_that_is_a_file_is_one_line(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "mine.py").write_text("from torch import nn\ndef build():\n    return nn.Linear(64, 10)\n")
    (tmp_path / "done").mkdir()
    needed = {
        "reproduce": ["orhan2018/fig6", "--scale", "smoke", "--runs", "2", "--networks", "plain"],
        "search": ["--scale", "smoke"],
        "demo": [],
    }
    takes = {p.name for p in GROUP.commands[name].params}
    if takes & {"folders", "a"}:
        pytest.skip("needs results: in test_own_figures.py")
    for out in ("file", "file/below"):
        assert cli.run([name, *(["mine.py:build"] if "target" in takes else needed[name]), "--out", out]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "file is a file" in said
    assert (tmp_path / "file").read_text() == "years of work"


def test_progress_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(shown, "SECONDS", 0.05)
    with shown.Bar() as bar:
        bar.start("training", 1000, "steps")
        for _ in range(8):
            progress.count("steps", 10)
            progress.count("others", 500)
            time.sleep(0.04)
        bar.note("the first arm")
        time.sleep(0.1)
    out, said = capsys.readouterr()
    assert out == ""
    lines = said.splitlines()
    assert len(lines) >= 3
    assert all(re.match(r"0:00  training", line) for line in lines)
    assert any(re.search(r"training: \d+/1,000 steps, [\d,]+ steps/s, 0:\d\d left", line) for line in lines)
    assert "80/1,000" in lines[-1]
    assert "last: the first arm" in lines[-1]
    progress.count("steps", 1)  # nobody listens any more


def test_progress_without_a_total(capsys, monkeypatch):
    monkeypatch.setattr(shown, "SECONDS", 0.05)
    with shown.Bar() as bar:
        bar.start("spectrum", None, "products")
        progress.count("products", 12)
        time.sleep(0.12)
    line = capsys.readouterr().err.splitlines()[-1]
    assert "spectrum: 12 products" in line
    assert "left" not in line


def test_the_work_of_a_diagnosis_and_of_a_spectrum_is_told():
    told = []

    class Listener:
        def start(self, name, total, unit):
            told.append((name, total, unit))

        def count(self, unit, number):
            told.append((unit, number))

    import torch.nn.functional as F

    import nonsingular as ns

    torch.manual_seed(0)
    model = torch.nn.Sequential(*[m for _ in range(20) for m in (torch.nn.Linear(8, 8), torch.nn.Tanh())])
    for p in model.parameters():
        torch.nn.init.normal_(p, std=1e-2)
    pairs = [(torch.randn(60, 8), torch.arange(60) % 8)]
    with progress.heard_by(Listener()):
        ns.diagnose(model, F.cross_entropy, pairs, steps=3, curvature=False, protocol=ns.diagnosis.Protocol(seeds=2))
        H = ns.curvature.Hessian(model, F.cross_entropy, pairs)
        before = len(told)
        H @ torch.ones(H.shape[0], 4)
    starts = [entry for entry in told if len(entry) == 3]
    assert starts
    assert all(total == 3 for _, total, _ in starts)
    assert told.count(("steps", 1)) == 3 * len(starts)
    assert sum(number for unit, number in told[before:] if unit == "products") >= 4
