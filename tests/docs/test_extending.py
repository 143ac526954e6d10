"""What the documentation tells a reader to type works."""

import importlib.util
import inspect
import json
import re
from pathlib import Path

import pytest
import torch

from nonsingular import cli
from nonsingular.experiments import needs, quantities, verbs
from nonsingular.experiments.claims import judge
from nonsingular.experiments.run.instruments import LABELS

ROOT = Path(__file__).parents[2]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "howto" / page).read_text(), re.M | re.S)


def test_an_experiment_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for page in ("figures.md", "figure_words.md"):
        for block in blocks(page):
            exec(compile(block, f"docs/howto/{page}", "exec"), names)
    assert names["outcome"].results.sizes["run"] == 4
    folder = tmp_path / "out" / "mine" / "half"
    assert {"results.zarr", "figures", "claims.json", "spec.json", "report.html"} <= {p.name for p in folder.iterdir()}
    assert f"torch {torch.__version__}" in (folder / "report.html").read_text()  # the machine it ran on
    (row,) = json.loads((folder / "claims.json").read_text())
    assert capsys.readouterr().out.startswith(row["verdict"])
    assert cli.run(["claims", "out"]) == 0
    assert "Five layers train faster" in capsys.readouterr().out
    assert cli.run(["report", "out"]) == 0
    page = tmp_path / capsys.readouterr().out.strip()
    sums = names["SUMS"]  # its examples are what they are said to be
    found = [judge(c, sums.examples(sign), scale="smoke", data="").verdict for sign in (1, -1) for c in sums.claims]
    assert found == ["holds", "fails"]
    for whole in (page, folder / "report.html"):  # both know what the folder says, whatever the registry lacks
        assert "The images are scikit-learn" in whole.read_text()


def test_pages_name_files_that_are_there():
    text = "".join((ROOT / "docs" / "howto" / page).read_text() for page in ("figures.md", "figure_words.md"))
    found = re.findall(r"`((?:src|experiments|plots|tests|orhan2018|measures)/[\w./]*)`", text)
    assert len(found) > 0
    for path in found:
        places = [ROOT, ROOT / "src" / "nonsingular", ROOT / "src" / "nonsingular" / "papers"]
        assert any((place / path).exists() for place in places), path


@pytest.mark.parametrize("module", [quantities, verbs, needs], ids=lambda module: module.__name__.split(".")[-1])
def test_the_page_has_every_quantity_verb_and_need(module):
    text = (ROOT / "docs" / "howto" / "figure_words.md").read_text()
    made = ("Quantity", "Measure", "Test", "Declared", "Need")
    there = [f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__]
    names = [f.__name__ for f in there if f.__name__[0] != "_" and f.__annotations__.get("return") in made]
    assert len(names) > 3
    assert not [name for name in names if f"{name}(" not in text and f"`{name}`" not in text]


def test_the_page_of_variables_is_whole():
    written = importlib.util.spec_from_file_location("variables_page", ROOT / "docs" / "variables.py")
    module = importlib.util.module_from_spec(written)
    written.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run python docs/variables.py"
    assert {name for name in LABELS if f"`{name}`" not in module.page()} == set()


def test_searches_of_the_documentation_are_understood():
    """Every command of docs/howto/search.md is parsed; only its training is left out."""
    from nonsingular.search import ranges

    commands = re.findall(
        r"^nonsingular search (.*?)(?:#.*)?$", (ROOT / "docs" / "howto" / "search.md").read_text(), re.M
    )
    assert len(commands) >= 4
    for command in commands:
        numbers = re.split(r"\s--", " " + command)[0].split()
        assert not numbers or ranges(numbers)
