"""The command line as a user runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from nonsingular import cli
from nonsingular.cli import options
from nonsingular.papers.registry import experiment
from nonsingular.training import TrainingSpec
from processes import Started


def run(*arguments, cwd=None):
    """Run in a process of its own, as a user would: exit status, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "nonsingular", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )
    return done.returncode, done.stdout, done.stderr


def printed(capsys, *arguments):
    """What a command prints, run in this process."""
    status = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def complaint(capsys, *arguments):
    """What bad input prints, run in this process: one line, status 2, no traceback."""
    status = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert status == 2, captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


SMOKE = ("--scale", "smoke", "--runs", "2", "--epochs", "1")
FEW = ("--networks", "plain,residual")


@pytest.fixture(scope="module")
def fig6(tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "fig6"
    status, output, error = run("reproduce", "orhan2018/fig6", *SMOKE, *FEW, "--out", out)
    assert status == 0, error
    return out, output


def test_reproduce_leaves_what_the_contract_names(fig6):
    out, output = fig6
    assert (out / "results.zarr").is_dir()
    assert {p.suffix for p in (out / "figures").iterdir()} == {".png", ".svg"}
    assert json.loads((out / "spec.json").read_text())["experiment"] == "orhan2018/fig6"
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    rows = json.loads((out / "claims.json").read_text())
    assert {row["verdict"] for row in rows} <= {"holds", "fails", "inconclusive"}
    assert str(out / "report.html") in output


def test_claims_show_the_scoreboard(capsys, fig6):
    out, _ = fig6
    table = printed(capsys, "claims", out)
    assert "Gradients decay" in table
    assert "inconclusive" in table or "holds" in table or "fails" in table
    text = printed(capsys, "claims", out, "--json")
    assert json.loads(text) == json.loads((out / "claims.json").read_text())


def test_list(capsys, monkeypatch):
    assert cli.run(["reproduce", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    papers = [row["id"].split("/")[0] for row in rows]
    assert list(dict.fromkeys(papers)) == ["orhan2017", "orhan2018", "oyedotun2021", "li2018", "blumenfeld2020"]
    assert papers == sorted(papers, key=papers.index)  # one after the other
    assert len({row["id"] for row in rows}) == len(rows) == len({row["title"] for row in rows})
    assert all(set(row) == {"id", "title", "scales", "status"} for row in rows)
    assert {row["status"] for row in rows} == {"works"}
    assert all(row["scales"] == ["smoke", "laptop", "overnight", "paper"] for row in rows)
    for width in (60, 80, 100, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        assert cli.run(["reproduce", "--list"]) == 0
        listed, prefix = [], ""
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        for line in lines:
            if heading := re.match(r"(\w+)/ ", line):
                prefix = heading[1]
            elif row := re.match(r"  ([\w-]+)", line):
                listed.append(f"{prefix}/{row[1]}")
        assert listed == [row["id"] for row in rows]
    titles = {row["title"] for row in rows}
    assert titles <= {line.strip().split("  ")[-1].strip() for line in lines}  # a line each where there is room


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "orhan2018/fig33"], "did you mean orhan2018/fig3"),
        (["reproduce"], "name at least one experiment"),
        (["reproduce", "orhan2018/fig3", "--scale", "huge"], "smoke, laptop, overnight, paper"),
        (["reproduce", "orhan2018/fig3", "--data", "imagenet"], "digits, mnist, cifar10"),
        (["reproduce", "orhan2018/fig3", "--networks", "plain,resnet"], "it has plain, residual, hyper-residual"),
        (["reproduce", "orhan2018/fig3", "--epochs", "0"], "epochs must be at least 1, got 0"),
        (["reproduce", "orhan2018/fig3", "--runs", "-1"], "runs must be at least 1, got -1"),
        (["reproduce", "orhan2018/fig4", "--scale", "smoke", "--runs", "1"], "runs must be at least 2"),
        (["reproduce", "orhan2018/fig3", "--epochs", "many"], "epochs"),
        (["reproduce", "orhan2018/fig3", "--scaling", "whitened"], "raw, centred, standardised, channels, unit"),
        (["reproduce", "orhan2018/fig3", "--precision", "int8"], "float32, bfloat16"),
        (["reproduce", "blumenfeld2020/table3", "--precision", "bfloat16"], "compares float32 and bfloat16"),
        (["reproduce", "orhan2018/fig3", "--device", "tpu"], "auto, cpu, cuda"),
        (["reproduce", "orhan2018/fig3", "--no-such-option"], "no-such-option"),
        (["reproduce", "orhan2018/fig3", "--engine", "slurm"], "ray"),
        (["frobnicate"], "no such command frobnicate; --help shows all"),
        (["diagnos"], "no such command diagnos; did you mean diagnose?"),
        (["bench-diagnosi"], "no such command bench-diagnosi; did you mean"),
        (["--verzion"], "no such option --verzion; did you mean --version?"),
        (["spectrum", "mine.py:f", "--metod", "exact"], "no such option --metod; did you mean --method?"),
        (["watch", "--stesp", "5", "train.py"], "no such option --stesp; did you mean --steps?"),
        (["watch", "--stesp=5", "train.py"], "no such option --stesp; did you mean --steps?"),
        (["watch", "-x", "train.py"], "no such option -x; "),
        (["watch", "--steps", "2", "train.py"], "--steps must be at least 5, got 2: fewer tell too little of a loop"),
        (["reproduce", "--list", "--runs", "3"], "--runs is of a run, not of --list"),
        (
            ["spectrum", "m.py:f", "--method", "moments", "--seconds", "5"],
            "--seconds is of --method lanczos, not of",
        ),
        (["spectrum", "m.py:f", "--method", "exact", "--error", "0.1"], "--error is of --method lanczos, not of exact"),
        (["diagnose", "m.py:f", "--seeds", "3"], "--seeds is of copies that train: give --steps N too"),
        (["diagnose", "m.py:f", "--optimiser", "sgd"], "--optimiser is of copies that train: give --steps N too"),
        (["landscape", "m.py:f", "--checkpoint", "a", "--checkpoint", "b", "--planes", "2"], "--planes is of planes"),
        (
            ["landscape", "m.py:f", *(3 * ["--checkpoint", "a"]), "--span", "2"],
            "not of the path of several",
        ),
        (["landscape", "m.py:f", "--directions", "hessian", "--keep", "bias"], "--keep is of random directions"),
        (
            ["landscape", "m.py:f", "--exact", "--tolerance", "0.1"],
            "--tolerance is of interpolated points, and",
        ),
        (["landscape", "m.py:f", "--metric", "accuracy", "--tolerance", "0.1"], "and --metric evaluates all of them"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in complaint(capsys, *arguments)
    assert not list(tmp_path.rglob("*.zarr"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_emulated_bfloat16_is_one_line_of_warning(capsys, monkeypatch, precision):
    monkeypatch.setattr("nonsingular.training.emulates_bfloat16", lambda device: True)
    options.warn_of_emulation(TrainingSpec(precision=precision), torch.device("cpu"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (precision == "bfloat16")
    assert all("only emulates bfloat16" in line for line in said)


def test_missing_data_says_where_it_looked_and_how_to_get_it(capsys, tmp_path):
    line = complaint(
        capsys, "reproduce", "orhan2018/fig3", "--data", "svhn", "--scale", "smoke",
        "--data-dir", tmp_path / "d", "--out", tmp_path / "o",
    )  # fmt: skip
    assert str(tmp_path / "d" / "svhn") in line
    assert "hf download ufldl-stanford/svhn" in line


def test_results_are_not_overwritten(capsys, fig6):
    out, _ = fig6
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert "--resume" in complaint(capsys, "reproduce", "orhan2018/fig6", *SMOKE, "--out", out)
    message = complaint(capsys, "reproduce", "orhan2018/fig6", *SMOKE, *FEW, "--seed", "1", "--resume", "--out", out)
    assert "another spec" in message
    assert "another spec" in complaint(capsys, "reproduce", "orhan2018/fig4", *SMOKE, "--resume", "--out", out)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_spec_is_named(capsys, tmp_path, text):
    (tmp_path / "spec.json").write_text(text)
    assert "is damaged" in complaint(capsys, "reproduce", "orhan2018/fig6", *SMOKE, "--resume", "--out", tmp_path)
    assert "is damaged" in complaint(capsys, "demo", "--out", tmp_path)


def test_a_foreign_folder_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "not empty" in complaint(capsys, "reproduce", "orhan2018/fig6", *SMOKE, "--out", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_resume_of_a_finished_run_draws_again(capsys, fig6):
    out, _ = fig6
    (out / "report.html").unlink()
    assert cli.run(["reproduce", "orhan2018/fig6", *SMOKE, *FEW, "--resume", "--out", str(out)]) == 0
    assert (out / "report.html").exists()


def test_full_disk_is_one_line(capsys, tmp_path, monkeypatch):
    from nonsingular.training import Store

    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "o/results.zarr"))

    monkeypatch.setattr(Store, "write", full)
    assert "No space left on device" in complaint(
        capsys, "reproduce", "orhan2018/fig6", *SMOKE, *FEW, "--out", tmp_path / "o"
    )


def test_an_interrupted_run_resumes(capsys, tmp_path):  # a killed one: test_crash_safety
    out = tmp_path / "o"
    command = [
        "reproduce",
        "orhan2018/fig6",
        "--scale",
        "smoke",
        "--runs",
        "2",
        "--epochs",
        "4",
        "--networks",
        "plain",
        "--out",
        str(out),
    ]
    started = Started(command, tmp_path)
    while not (out / "results.zarr" / "train_accuracy" / "c").exists():  # until first measurements are written
        assert started.running()
        time.sleep(0.05)
    started.send(signal.SIGINT)
    status, _, error = started.end()
    assert status == 130
    assert "--resume" in error
    output = printed(capsys, *command, "--resume", "--json")
    assert len(json.loads(output)) == len(experiment("orhan2018/fig6").claims)


def test_several_ids_get_folders_of_their_own(capsys, tmp_path):
    printed(capsys, "reproduce", "orhan2018/fig4", "orhan2018/fig6", *SMOKE, "--networks", "plain", "--out", tmp_path)
    assert (tmp_path / "orhan2018" / "fig4" / "claims.json").exists()
    assert (tmp_path / "orhan2018" / "fig6" / "claims.json").exists()
    assert (tmp_path / "orhan2018" / "report.html").exists()  # the page of them all
    expected = sum(len(experiment(id).claims) for id in ("orhan2018/fig4", "orhan2018/fig6"))
    assert len(json.loads(printed(capsys, "claims", tmp_path, "--json"))) == expected


def test_real_images(capsys, tmp_path, data_dir):
    output = printed(
        capsys, "reproduce", "orhan2018/fig6", *SMOKE, *FEW, "--data", "mnist", "--data-dir", data_dir,
        "--out", tmp_path / "o", "--json",
    )  # fmt: skip
    assert {row["data"] for row in json.loads(output)} == {"mnist"}


def test_help_and_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nonsingular ")
    assert cli.run(["reproduce", "--help"]) == 0
    assert "--resume" in capsys.readouterr().out


def test_help_loads_no_library():
    code = "import sys; from nonsingular import cli; cli.run(['--help']); print([m for m in HEAVY if m in sys.modules])"
    heavy = ["torch", "numpy", "scipy", "xarray", "zarr", "sklearn", "matplotlib", "datasets", "ray", "optuna"]
    done = subprocess.run(
        [sys.executable, "-c", code.replace("HEAVY", repr(heavy))], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_look_at_digits_loads_nothing_slow():
    """A second of start-up each: whatever loads them does so where it uses them."""
    code = "import sys, nonsingular as ns, nonsingular.diagnosis; ns.data.load('digits'); "
    code += "print([m for m in SLOW if m in sys.modules])"
    slow = ["sklearn", "pandas", "scipy.stats", "scipy.optimize", "scipy.special", "xarray", "matplotlib"]
    done = subprocess.run(
        [sys.executable, "-c", code.replace("SLOW", repr(slow))], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
