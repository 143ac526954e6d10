"""Commands on a file system that is full: one line, what is complete is kept, and space makes the same results."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from nonsingular import cli
from nonsingular.experiments.run import archive
from nonsingular.files import PARTIAL, write_whole
from nonsingular.plots.saving import write_figure
from users_files import FIGURE, TARGET, TRAINED

pytestmark = pytest.mark.drawn

SHORT = ("--scale", "smoke", "--epochs", "1")
COMMANDS = {
    "reproduce": ["reproduce", "orhan2018/fig6", *SHORT, "--runs", "1", "--networks", "plain"],
    "search": ["search", "mu", "depth=3", "width=16", *SHORT, "--trials", "2", "--at-once", "1"],
    "landscape": ["landscape", "TARGET", "--grid", "9", "--samples", "200", "--precision", "float32"],
    "diagnose": ["diagnose", "TARGET", "--samples", "200", "--steps", "2", "--seeds", "2", "--no-curvature"],
    "merge": ["merge", "a", "b", "--figure", "figure.py:FIGURE"],
    "spectrum": ["spectrum", "TARGET", "--samples", "50", "--method", "moments"],
}
SIZES = (32, 400)  # KiB, so that the disk is full at different stages


@pytest.fixture
def disk(tmp_path):
    """Mounts a small file system of its own; ``disk(None)`` makes room on it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(kib):
        how = [] if not os.path.ismount(folder) else ["remount,"]
        options = f"{''.join(how)}size={'200m' if kib is None else f'{kib}k'}"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        made = subprocess.run(mount, capture_output=True, check=False)
        if made.returncode:
            pytest.skip("a small file system cannot be mounted here (it takes root)")
        return folder

    yield size
    subprocess.run(["umount", "-l", folder], check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_one_line_then_the_same_results(name, disk, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TARGET)
    arguments = [word.replace("TARGET", "mine.py:build") for word in COMMANDS[name]]
    resume = {"spectrum": ["--replace"], "merge": []}.get(name, ["--resume"])
    if name == "merge":
        (tmp_path / "figure.py").write_text(FIGURE)
        for part, seed in (("a", "0"), ("b", "4")):
            words = ["reproduce", "figure.py:FIGURE", "--scale", "smoke", "--seed", seed, "--out", part]
            assert cli.run(words) == 0
    failures = 0
    for kib in SIZES:
        out = disk(kib) / "o"
        status = cli.run([*arguments, *resume, "--out", str(out)])
        failures += assert_done_or_one_line(status, capfd.readouterr().err)
        assert_whole(out)
        if name == "merge" and status == 0:  # it is done, and would be refused
            shutil.rmtree(out)
    assert failures, "no size was too small: make SIZES smaller"
    assert cli.run([*arguments, *resume, "--out", str(disk(None) / "o")]) == 0
    assert cli.run([*arguments, "--out", str(tmp_path / "whole")]) == 0
    assert _results(disk(None) / "o") == _results(tmp_path / "whole")


FIRST = ["reproduce", "trained.py:FIGURE", "--scale", "smoke"]
LATER = {
    "judge": ["judge", "OUT", "--figure", "trained.py:FIGURE"],
    "more runs": [*FIRST, "--runs", "2", "--resume", "--out", "OUT"],
}
ROOM = (0, 8, 60)  # KiB beside what is finished


@pytest.mark.parametrize("name", LATER)
def test_what_is_finished_stays_where_nothing_more_fits(name, disk, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trained.py").write_text(TRAINED)
    out = disk(None) / "o"
    assert cli.run([*FIRST, "--out", str(out)]) == 0
    shutil.copytree(out, tmp_path / "whole")
    finished, failures = archive.read(out), 0
    for room in ROOM:
        there = os.statvfs(out)
        disk((there.f_blocks - there.f_bfree) * there.f_frsize // 1024 + room)
        capfd.readouterr()
        status = cli.run([word.replace("OUT", str(out)) for word in LATER[name]])
        failures += assert_done_or_one_line(status, capfd.readouterr().err)
        assert_whole(out)
        xr.testing.assert_identical(archive.read(out).isel(run=[0]).drop_attrs(), finished.drop_attrs())
    assert failures, "no room was too small: make ROOM smaller"
    disk(None)
    for folder in (out, tmp_path / "whole"):
        assert cli.run([word.replace("OUT", str(folder)) for word in LATER[name]]) == 0
    assert _results(out) == _results(tmp_path / "whole")


def assert_done_or_one_line(status, said):
    """Whether it failed: for want of space, and in one line."""
    assert status in (0, 2), said
    if status == 2:
        assert "space" in said.lower() or "full" in said.lower(), said
        assert "Traceback" not in said
        assert len([line for line in said.splitlines() if line.startswith("nonsingular:")]) == 1, said
    return status == 2


def assert_whole(folder):
    """Every file that a reader would open is complete."""
    for path in folder.rglob("*"):
        assert path.suffix != PARTIAL, path
        if path.suffix == ".json" and "results.zarr" not in path.parts:
            json.loads(path.read_text())
        if path.suffix == ".svg":
            assert path.read_text().endswith("</svg>\n"), path
        if path.suffix == ".png":
            assert b"IEND" in path.read_bytes()[-12:], path
        if path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>"), path


def _results(folder):
    """All numbers that a command leaves behind."""
    found = {p.name: json.loads(p.read_text()) for p in folder.glob("*.json") if p.name != "machine.json"}
    if (folder / "results.zarr").exists():
        results = xr.open_zarr(folder / "results.zarr", consolidated=False).load()
        found["results"] = {name: results[name].values.tobytes() for name in results}
    assert found
    return {k: v for k, v in found.items() if k != "spec.json"}


def test_a_figure_that_does_not_fit_leaves_no_half_of_it(disk, tmp_path):
    figure = Figure()
    figure.subplots().plot(np.random.default_rng(0).normal(size=2000))
    assert write_figure(tmp_path, "f", figure) == tmp_path / "f.png"
    assert_whole(tmp_path)
    folder = disk(16)
    with pytest.raises(OSError, match="space"):
        write_figure(folder, "f", figure)
    assert_whole(folder)


def test_a_file_that_does_not_fit_leaves_the_old_one(disk):
    path = disk(64) / "file"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="space"):
        write_whole(path, bytes(2**20))
    assert path.read_bytes() == b"old"
    assert not path.with_name(path.name + PARTIAL).exists(), "half a file keeps the disk full"
