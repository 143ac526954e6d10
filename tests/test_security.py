"""What others hand over runs no code: files of every kind, and every page that is written, without a network."""

import json
import os
import pickle
import re
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr

import nonsingular as ns
from browsing import opened, wait
from nonsingular import cli
from nonsingular.errors import InputError
from nonsingular.experiments.report.finished import read
from nonsingular.experiments.report.pages import write_report
from nonsingular.experiments.run import archive
from nonsingular.landscape.keeping import Kept
from nonsingular.play import write_page
from nonsingular.training import Store
from nonsingular.training.store import load_checkpoint
from nonsingular.weights import read_weights

TARGET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10))
"""


class Mischief:
    """Makes the file ``hacked`` where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("hacked"),)


def pickled(path):
    path.write_bytes(pickle.dumps(Mischief(), protocol=2))


def saved(path):
    torch.save({"state_dict": Mischief(), "epoch": Mischief()}, path)


def array(path):
    np.savez(path.with_suffix(".npz"), values=np.array([Mischief()], object))
    path.with_suffix(".npz").rename(path)


FORMS = {"pickle": pickled, "torch.save": saved, "array of objects": array}


def old_store(path, filters, compressor=None, kind="|O"):
    """A store of Zarr's second format, whose chunks may be pickles."""
    (path / "x").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text("{}")
    described = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": kind, "compressor": compressor,
                 "fill_value": None, "order": "C", "filters": filters}  # fmt: skip
    (path / "x" / ".zarray").write_text(json.dumps(described))
    (path / "x" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["run"]}')
    (path / "x" / "0").write_bytes(pickle.dumps(Mischief()))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder in which nothing has been unpickled in the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not Path("hacked").exists()


def test_the_mischief_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Mischief()))
    assert Path("hacked").exists()


# --- doors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "door",
    [
        read_weights,
        load_checkpoint,
        lambda path: ns.weights.state_of(path),
        lambda path: read_weights(path.rename(path.with_suffix(".safetensors"))),
    ],
    ids=["weights", "kept checkpoint", "state_of", "safetensors"],
)
def test_checkpoints_run_no_code(here, form, door):
    FORMS[form](here / "c.pt")
    with pytest.raises(InputError, match=r"c\.(pt|safetensors)"):
        door(here / "c.pt")


@pytest.mark.parametrize("form", FORMS)
def test_kept_numbers_run_no_code(here, form):
    FORMS[form](here / archive.FILE)
    with pytest.raises(InputError, match=archive.FILE):
        archive.read(here)
    FORMS[form](here / "surface.npz")
    with pytest.raises(InputError, match=r"surface\.npz"):
        Kept((3, 3), here / "surface.npz", {})


PICKLE = {"id": "pickle", "protocol": 4}


@pytest.mark.parametrize(
    ("filters", "compressor", "kind"),
    [
        ([PICKLE], None, "|O"),
        ([{"id": "vlen-utf8"}, PICKLE], None, "|O"),
        ([{"id": "vlen-utf8"}], PICKLE, "|O"),
        ([PICKLE], None, "<f8"),
    ],
)
def test_stores_run_no_code_whatever_numcodecs_allows(here, monkeypatch, filters, compressor, kind):
    """Early versions of numcodecs unpickle chunks, and later ones where an environment variable says so."""
    pickles = pytest.importorskip("numcodecs.pickles")
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    old_store(here / "results.zarr", filters, compressor, kind)
    with pytest.raises(InputError, match=r"results\.zarr"):
        Store(here / "results.zarr").read()


@pytest.mark.parametrize("form", FORMS)
def test_finished_experiments_run_no_code(capsys, here, form):
    """Each file of a result in turn, by every command that reads results."""
    folder = here / "o"
    folder.mkdir()
    for name in ("claims.json", "spec.json", archive.FILE, "looks.json", "about.json", "machine.json"):
        FORMS[form](folder / name)
    for command in (["claims", "o"], ["report", "o"], ["judge", "o"], ["compare", "o", "o"],
                    ["merge", "o", "o", "--out", "m"]):  # fmt: skip
        assert cli.run(command) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kept", "command"),
    [
        ("trials.json", ["diagnose", "--steps", "1", "--seeds", "2", "--no-curvature", "--samples", "50", "--resume"]),
        ("points-0.npz", ["landscape", "--grid", "3", "--samples", "20", "--resume"]),
        ("spectrum.json", ["spectrum", "--samples", "20"]),
    ],
)
def test_stopped_work_runs_no_code(capsys, here, form, kept, command):
    (here / "model.py").write_text(TARGET)
    (here / "o").mkdir()
    FORMS[form](here / "o" / kept)
    assert cli.run([command[0], "model.py:build", *command[1:], "--out", "o"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_search_runs_no_code(capsys, here):
    pytest.importorskip("optuna")
    (here / "o").mkdir()
    for name in ("search.db", "study.db", "spec.json"):
        pickled(here / "o" / name)
    words = ["search", "mu", "sigma", "--scale", "smoke", "--trials", "1", "--out", "o"]
    assert cli.run(words) == 2
    assert cli.run([*words, "--resume"]) == 2
    capsys.readouterr()


# --- pages --------------------------------------------------------------------------------------------------

ATTACK = "<script>window.hacked = true</script>\"'><img src=x onerror='window.hacked = true'>"


def a_report(folder):
    row = dict.fromkeys(("id", "paper", "source", "statement", "expected", "unit", "scale", "data", "note"), ATTACK)
    row |= {"measured": 1.0, "interval": [0.0, 2.0], "runs": 3, "verdict": "holds"}
    (folder / "o").mkdir()
    (folder / "o" / "claims.json").write_text(json.dumps([row]))
    (folder / "o" / "spec.json").write_text(json.dumps({"experiment": ATTACK, "scale": ATTACK, "runs": 3}))
    return write_report(folder / "report.html", [read(folder / "o")], {})


def a_diagnosis(folder):
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    model.add_module(ATTACK.replace(".", ""), torch.nn.Linear(6, 6))
    model.add_module("relu", torch.nn.ReLU())
    model.add_module("head", torch.nn.Linear(6, 2))
    torch.nn.init.zeros_(model[0].weight)  # something to be found
    found = ns.diagnose(model, F.cross_entropy, [(torch.randn(40, 6), torch.arange(40) % 2)])
    assert found.findings
    return found.report(folder / "diagnosis.html", ATTACK)


def a_surface(folder):
    pytest.importorskip("plotly")
    from nonsingular.plots.landscape_interactive import page

    x = np.linspace(-1, 1, 5)
    found = xr.Dataset({"loss": (("y", "x"), 1 + x[:, None] ** 2 + x**2)}, {"x": x, "y": x})
    path = folder / "surface.html"
    path.write_text(page(found, ATTACK))
    return path


def a_play(folder):
    return write_page(folder / "play.html")


PAGES = {"report": a_report, "diagnosis": a_diagnosis, "surface": a_surface, "play": a_play}


@pytest.fixture(scope="module")
def listening():
    """A server on this machine, and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def injected(path, address):
    """What got past the escaping, if anything did."""
    loads = "".join(f"<{tag} src='{address}/{tag}'></{tag}>" for tag in ("img", "iframe", "script"))
    more = f"{loads}<link rel=stylesheet href='{address}/css'><script>window.hacked = true</script></body>"
    return path.read_text().replace("</body>", more)


def hacked(browser, path, asked):
    """Whether a script ran, and whether anything was asked for."""
    asked.clear()
    page = browser.new_page()
    page.goto(path.as_uri())
    found = bool(page.evaluate("window.hacked")), bool(asked)
    page.close()
    return found


@pytest.mark.parametrize("kind", PAGES)
def test_pages_run_and_load_nothing_but_their_own(browser, tmp_path, listening, kind):
    address, asked = listening
    path = PAGES[kind](tmp_path)
    page, errors, requests = opened(browser, path)
    if kind == "surface":
        wait(page, "'shown' in document.querySelector('[data-figure]').dataset")
    assert page.evaluate("window.hacked") is None
    assert (errors, requests) == ([], [path.as_uri()])
    page.close()
    path.write_text(injected(path, address))
    assert hacked(browser, path, asked) == (False, False)


def test_without_its_policy_a_page_would(browser, tmp_path, listening):
    address, asked = listening
    path = a_play(tmp_path)
    path.write_text(re.sub("<meta http-equiv[^>]*>", "", injected(path, address)))
    assert hacked(browser, path, asked) == (True, True)


# --- temporary files ----------------------------------------------------------------------------------------


def test_temporary_files_are_the_users_alone(capsys, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    before = os.umask(0)
    try:
        assert cli.run(["play"]) == 0
    finally:
        os.umask(before)
    (folder,) = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    capsys.readouterr()
