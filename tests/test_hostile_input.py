"""Whatever a user types or hands over: one line and status 2, or the work is done; no traceback, nothing changed."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular import cli
from nonsingular.data import DataSpec
from nonsingular.errors import InputError
from nonsingular.experiments.spec import SCALES
from nonsingular.networks import NetworkSpec
from nonsingular.training import BiasPenalty, Store, TrainingSpec

QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TARGET = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10))
"""


def called(capsys, *arguments):
    """Status and what was said on standard error, which is one line wherever the status is not 0."""
    capsys.readouterr()
    status = cli.run([str(a) for a in arguments])
    error = capsys.readouterr().err
    assert status in (0, 2), error
    if status:
        assert error.count("\n") == 1, error
        assert error.startswith("nonsingular: "), error
        assert "Traceback" not in error
    return status, error


def contents(folder: Path):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def damaged(draw, whole: bytes) -> bytes:
    """A file cut short, with bytes overwritten, or of nothing but noise."""
    kind = draw(st.sampled_from(["cut", "overwritten", "noise", "empty"]))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if kind == "overwritten":
        place = draw(st.integers(0, len(whole) - 1))
        return whole[:place] + draw(st.binary(min_size=1, max_size=40)) + whole[place + 1 :]
    return draw(st.binary(max_size=200)) if kind == "noise" else b""


# --- what is typed ------------------------------------------------------------------------------------------

WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.sampled_from(["", "-1", "nan", "inf", "1e400", "../..", "~", "0x10", "plain", "[bold]", "%s", "{0}", "٣"]),
)
OPTIONS = ["--data", "--scale", "--runs", "--epochs", "--seed", "--networks", "--precision", "--scaling", "--engine"]


@QUICK
@given(option=st.sampled_from(OPTIONS), word=WORDS)
def test_any_word_behind_any_option_of_reproduce(capsys, tmp_path, option, word):
    # An experiment that is not there, so that a word which happens to be right costs no training.
    status, _ = called(capsys, "reproduce", "orhan2018/fig99", f"{option}={word}", "--out", tmp_path / "o")
    assert status == 2
    assert not (tmp_path / "o").exists()


COMMANDS = ["claims", "report", "spectrum", "landscape", "diagnose", "search", "reproduce"]


@QUICK
@given(words=st.lists(WORDS, min_size=1, max_size=3), command=st.sampled_from(COMMANDS))
def test_any_words_behind_any_command(capsys, tmp_path, monkeypatch, words, command):
    monkeypatch.chdir(tmp_path)
    status, _ = called(capsys, command, "--", *[f"?{word}" for word in words])  # no such file, module, id or number
    assert status == 2
    assert not list(tmp_path.iterdir())


@QUICK
@given(
    field=st.sampled_from(["depth", "width", "skip", "activation", "init"]),
    value=st.one_of(st.integers(-3, 0), st.text(max_size=8)),
)
def test_specs_of_networks(field, value):
    sizes = field in ("depth", "width")
    if sizes != isinstance(value, int):
        return
    try:
        NetworkSpec(**({"depth": 2, "width": 4} | {field: value})).build((3,), 2, seed=0)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right for text)
    else:
        assert not sizes


@QUICK
@given(
    make=st.sampled_from([
        lambda x: TrainingSpec(epochs=x), lambda x: TrainingSpec(batch=x), lambda x: TrainingSpec(learning_rate=x),
        lambda x: DataSpec(train=x), lambda x: DataSpec(pca=x), lambda x: DataSpec(scaling=f"unit*{x}"),
        lambda x: BiasPenalty(deviation=x),
    ]),
    number=st.one_of(st.integers(max_value=-1), st.just(float("nan"))),
)  # fmt: skip
def test_specs_refuse_numbers_out_of_range(make, number):
    if number != number and make(1) is not None:
        number = -1
    with pytest.raises(InputError):
        make(number)


# --- what is handed over ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished experiment."""
    folder = tmp_path_factory.mktemp("finished") / "o"
    arguments = ["reproduce", "orhan2018/fig6", "--scale", SCALES[0], "--runs", "2", "--networks", "plain"]
    assert cli.run([*arguments, "--out", str(folder)]) == 0
    return folder, arguments


@QUICK
@given(
    data=st.data(), name=st.sampled_from(["claims.json", "spec.json"]), command=st.sampled_from(["claims", "report"])
)
def test_damaged_results_are_read_or_named(capsys, tmp_path, finished, data, name, command):
    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("results.zarr", "checkpoints"))
    (copy / name).write_bytes(damaged(data.draw, (folder / name).read_bytes()))
    before = contents(copy)
    options = ["--out", tmp_path / "page.html"] if command == "report" else []
    status, error = called(capsys, command, copy, *options)
    assert contents(copy) == before
    if status:
        assert str(copy) in error


@QUICK
@given(data=st.data())
def test_damaged_stores_are_read_or_named(tmp_path, finished, data):
    folder, _ = finished
    copy = tmp_path / "store.zarr"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "results.zarr", copy)
    victim = data.draw(st.sampled_from(sorted(p.relative_to(copy) for p in copy.rglob("*") if p.is_file())))
    whole = (copy / victim).read_bytes()
    (copy / victim).write_bytes(damaged(data.draw, whole))
    before = contents(copy)
    try:
        Store(copy).read()
    except InputError as error:
        assert str(copy) in str(error)  # noqa: PT017 (some damage leaves a store readable)
    assert contents(copy) == before


@QUICK
@given(data=st.data(), command=st.sampled_from(["spectrum", "landscape", "diagnose"]))
def test_damaged_checkpoints_are_named(capsys, tmp_path, data, command):
    (tmp_path / "model.py").write_text(TARGET)
    whole = tmp_path / "whole.pt"
    torch.save(nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10)).state_dict(), whole)
    path = tmp_path / "weights.pt"
    bytes_ = whole.read_bytes()
    path.write_bytes(bytes_[: data.draw(st.integers(0, len(bytes_) // 2))])
    before = path.read_bytes()
    status, error = called(
        capsys, command, f"{tmp_path / 'model.py'}:build", "--checkpoint", path, "--out", tmp_path / "o"
    )
    assert status == 2
    assert str(path) in error
    assert path.read_bytes() == before
    assert not (tmp_path / "o").exists()


class Mischief:
    def __reduce__(self):
        return Path.touch, (Path("hacked"),)


@pytest.mark.parametrize("option", ["--checkpoint", "--batches"])
@pytest.mark.parametrize("command", ["spectrum", "landscape", "diagnose"])
def test_checkpoints_and_batches_run_no_code(capsys, tmp_path, monkeypatch, command, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(TARGET)
    torch.save({"state_dict": Mischief()}, "weights.pt")
    status, error = called(capsys, command, "model.py:build", option, "weights.pt", "--out", "o")
    assert status == 2
    assert "weights.pt" in error
    assert not Path("hacked").exists()


@settings(QUICK, max_examples=4)
@given(data=st.data())
def test_damaged_parquet_is_named(capsys, tmp_path, data_dir, data):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (data_dir / "mnist").glob("*.parquet"):
        whole = path.read_bytes()
        (folder / path.name).write_bytes(whole[: data.draw(st.integers(0, len(whole) // 50))])
    before = contents(folder)
    status, error = called(
        capsys, "reproduce", "orhan2018/fig6", "--scale", "smoke", "--data", "mnist",
        "--data-dir", tmp_path / "data", "--out", tmp_path / "o",
    )  # fmt: skip
    assert status == 2
    assert re.search(r"mnist/(train|test)-.*parquet", error)
    assert contents(folder) == before
    assert not (tmp_path / "o").exists()


def test_a_report_escapes_what_comes_from_files(capsys, tmp_path, finished):
    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("results.zarr", "checkpoints"))
    rows = json.loads((copy / "claims.json").read_text())
    for row in rows:
        row["statement"] = row["note"] = row["unit"] = "<script>alert(1)</script>"
    (copy / "claims.json").write_text(json.dumps(rows))
    status, _ = called(capsys, "report", copy, "--out", tmp_path / "page.html")
    assert status == 0
    assert "<script>alert(1)" not in (tmp_path / "page.html").read_text()
