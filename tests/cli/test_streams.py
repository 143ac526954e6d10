"""``| head``, closed streams, full disks; JSON alone on standard output, progress on standard error."""

import io
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
from rich.console import Console

from nonsingular import cli, progress
from nonsingular.cli import options
from nonsingular.cli import progress as shown
from nonsingular.cli.commands import diagnose, landscape, spectrum
from nonsingular.cli.streams import only_json, print_json
from nonsingular.files import to_json

SECONDS = shown.SECONDS  # before the whole suite is told to be quiet
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
    "name", sorted({name for name, c in GROUP.commands.items() if "out" in {p.name for p in c.params}} - {"play"})
)  # a page is a file
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


class Clock:
    """Time that passes only while somebody waits; ``works`` is what happens meanwhile."""

    def __init__(self, ends, works=lambda: None):
        self.now, self._ends, self._works = 0.0, ends, works

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        self._works()
        return self.now > self._ends


@pytest.fixture
def as_ever(monkeypatch):
    monkeypatch.setattr(shown, "SECONDS", SECONDS)


def lines_of(capsys, clock, *begins):
    """What a piped command says in that time."""
    bar = shown.Bar(clock, clock.wait)
    with progress.heard_by(bar):
        for begin in begins:
            bar.begin(*begin)
        bar._say()
    out, said = capsys.readouterr()
    assert out == ""
    return said.splitlines()


@pytest.mark.usefixtures("as_ever")
def test_a_line_every_ten_seconds_however_long_it_takes(capsys):
    clock = Clock(3 * 3600, lambda: progress.count("steps", 10))
    lines = lines_of(capsys, clock, ("training", 20_000, "steps"))
    times = [[int(part) for part in line.split()[0].split(":")] for line in lines]
    seconds = [sum(60**k * t for k, t in enumerate(reversed(time))) for time in times]
    assert seconds == list(range(10, 3 * 3600 + 1, 10))
    assert lines[5] == "1:00  training: 60/20,000 steps, 1 step/s, 5:32:20 left"


@pytest.mark.usefixtures("as_ever")
def test_the_rate_is_that_of_the_last_minute(capsys):
    fast = iter([100] * 30 + [10] * 30)
    lines = lines_of(capsys, Clock(599, lambda: progress.count("steps", next(fast))), ("training", 10_000, "steps"))
    assert "10 steps/s" in lines[20]
    assert "1 step/s" in lines[-1]


@pytest.mark.usefixtures("as_ever")
def test_a_stretch_within_another_is_told_beside_it(capsys):
    def works():
        progress.count("products", 12)
        progress.count("net-steps", 1)

    begins = ("study", 1000, "net-steps"), ("its spectrum", None, "products")
    line = lines_of(capsys, Clock(11, works), *begins)[0]
    assert line == "0:10  study: 1/1,000 net-steps, 0.1 net-steps/s, 2:46:30 left"
    begins = ("all", None, "net-steps"), ("spectrum", None, "products")
    line = lines_of(capsys, Clock(11, works), *begins)[0]
    assert line == "0:10  all: 1 net-step, 0.1 net-steps/s; spectrum: 12 products, 1.2 products/s"
    begins = (("words " * 20).strip(), None, "others"), ("its spectrum", None, "products")
    line = lines_of(capsys, Clock(11, works), *begins)[0]
    assert len(line) == 80
    assert line.endswith("…")


@pytest.mark.usefixtures("as_ever")
def test_what_is_done_says_nothing_of_time_left(capsys):
    line = lines_of(capsys, Clock(11, lambda: progress.count("steps", 30)), ("training", 30, "steps"))[0]
    assert line == "0:10  training: 30/30 steps"


@pytest.mark.usefixtures("as_ever")
def test_what_turns_out_to_be_more_or_less_is_told(capsys):
    def works():
        progress.expect("steps", 40)
        progress.count("steps", 10)

    assert "10/40 steps, 1 step/s, 0:30 left" in lines_of(capsys, Clock(11, works), ("training", 1000, "steps"))[0]


@pytest.mark.usefixtures("as_ever")
def test_where_more_may_come_the_time_is_a_least_one(capsys):
    def works():
        progress.expect("steps", 40, more=True)
        progress.count("steps", 10)

    assert lines_of(capsys, Clock(11, works), ("training", 1000, "steps"))[0].endswith("at least 0:30 left")


@pytest.mark.parametrize(("left", "told"), [(2000, 1), (100, 0)])
def test_how_to_wait_less_is_said_once_where_it_takes_minutes(capsys, left, told):
    clock = Clock(60)
    bar = shown.Bar(clock, clock.wait)
    bar.suggest(lambda name, seconds: f"--grid 5 takes {seconds / 4:.0f} s")
    bar.begin("evaluating points", left, "points")
    for _ in range(40):
        clock.now += 1
        bar.advance()
    said = capsys.readouterr().err.splitlines()
    assert said == ["evaluating points: 33 min in all; --grid 5 takes 500 s"] * told


@pytest.mark.parametrize(
    ("words", "less"),
    [
        (landscape._shorter("evaluating points, at most", 7200.0, (51, 51), 0), "--grid 6 takes 2 min"),
        (landscape._shorter("evaluating points", 400.0, (101,), 0), "--grid 30 takes 2 min"),
        (landscape._shorter("evaluating points", 4e6, (5, 5), 0), ""),
        (landscape._shorter("map of curvature", 3600.0, (51, 51), 15), "--convexity 5 takes 7 min"),
        (diagnose._shorter(3600.0, 2000), "--steps 66 takes 2 min, and tells less"),
        (options.smaller_scales("overnight"), "--scale laptop takes minutes, --scale smoke takes seconds"),
        (options.smaller_scales("smoke"), ""),
        (spectrum._shorter(3600.0, "exact", 1000, 60.0), "--method lanczos stops after --seconds 120, or --samples 33"),
        (spectrum._shorter(3600.0, "lanczos", 1000, 60.0), ""),
        (spectrum._shorter(3600.0, "lanczos", 1000, 3600.0), "--seconds 120 stops sooner, with a wider interval"),
    ],
)
def test_what_takes_less(words, less):
    assert words.startswith(less)
    assert bool(words) == bool(less)


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_the_time_left_is_the_last_to_be_cut_and_what_is_over_is_gone(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    bar = shown.Bar()
    clock = iter(range(10**6))
    bar._bar.get_time = lambda: next(clock) / 10
    with progress.heard_by(bar):
        with progress.stretch("looking at the network", 512, "samples"):
            progress.count("samples", 512)
        bar.begin("training copies", 11_800, "net-steps")
        for _ in range(64):
            progress.count("net-steps", 100)
        console = Console(width=width, file=io.StringIO())
        console.print(bar._bar.get_renderable())
        said = console.file.getvalue()
    assert "looking" not in said
    assert "training copies" in said
    assert re.search(r"\d:\d\d left", said)
    assert ("6,400/11,800" in said) == (width >= 60)
    assert len(said.rstrip().splitlines()) == 1


def test_progress_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(shown, "SECONDS", 0.02)
    with shown.Bar() as bar:
        time.sleep(0.05)
        bar.start("training", 1000, "steps")
        for _ in range(4):
            progress.count("steps", 250)
            progress.count("others", 500)
            time.sleep(0.03)
        bar.note("the first arm")
        time.sleep(0.05)
    out, said = capsys.readouterr()
    assert out == ""
    lines = said.splitlines()
    assert lines[0] == "0:00  working"
    assert any(re.search(r"training: \d+/1,000 steps, [\d,]+ steps/s, 0:\d\d left", line) for line in lines)
    assert "1,000/1,000" in lines[-1]
    assert "last: the first arm" in lines[-1]
    progress.count("steps", 1)  # nobody listens any more


class Listener:
    """Every stretch with what was told of it: [name, total, unit, done]."""

    def __init__(self):
        self.stretches, self._open = [], []

    def begin(self, name, total, unit):
        self._open.append([name, total, unit, 0])
        self.stretches.append(self._open[-1])

    def end(self):
        self._open.pop()

    def _of(self, unit):
        return next((s for s in reversed(self._open) if s[2] == unit), [0, 0, 0, 0])

    def expect(self, unit, total, more=False):
        self._of(unit)[1] = total

    def count(self, unit, number):
        self._of(unit)[3] += number


def test_the_work_of_a_diagnosis_and_of_a_spectrum_is_told():
    import torch.nn.functional as F

    import nonsingular as ns
    from nonsingular.errors import InputError

    torch.manual_seed(0)
    model = torch.nn.Sequential(*[m for _ in range(20) for m in (torch.nn.Linear(8, 8), torch.nn.Tanh())])
    for p in model.parameters():
        torch.nn.init.normal_(p, std=1e-2)
    pairs = [(torch.randn(60, 8), torch.arange(60) % 8)]
    told, protocol = Listener(), ns.diagnosis.Protocol(seeds=2)
    with progress.heard_by(told):
        found = ns.diagnose(model, F.cross_entropy, pairs, steps=3, curvature=False, protocol=protocol)
        H = ns.curvature.Hessian(model, F.cross_entropy, pairs)
        ns.curvature.spectrum(H)
    *_, look, training, matrix, _counting = told.stretches
    assert look == ["looking at the network", 60, "samples", 60]
    arms = len(found.learns.rows) + len(found.proof.trials)
    assert training == ["training copies", 3 * 2 * arms, "net-steps", 3 * 2 * arms]
    assert matrix == ["its matrix, layer by layer", H.shape[0], "rows", H.shape[0]]

    def refuses(model, inputs, seed):
        raise InputError("no layers")

    def breaks(model, inputs, seed):
        return torch.nn.Linear(3, 3)

    told, one = Listener(), torch.nn.Linear(8, 8)
    with progress.heard_by(told):
        ns.diagnosis.prove(one, F.cross_entropy, pairs, {"a": refuses, "b": breaks}, ns.diagnosis.Protocol(3, 2))
    assert told.stretches == [["training copies", 18, "net-steps", 18]]
