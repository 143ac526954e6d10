"""The Python that a reader sees runs: the blocks of the README and of the pages, the examples in docstrings."""

import doctest
import importlib
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nonsingular

ROOT = Path(__file__).parents[2]
WRITTEN = ("*.md", "howto/*.md", "explanation/*.md", "lessons/*.md")  # not what the site generates
PAGES = [ROOT / "README.md", *sorted(page for where in WRITTEN for page in (ROOT / "docs").glob(where))]
ELSEWHERE = {"figures.md", "figure_words.md"}  # test_extending.py looks at what comes out as well
SOURCE = Path(nonsingular.__file__).parent
EXAMPLE = re.compile(r"^ *>>> (?!.*doctest: \+SKIP)", re.MULTILINE)
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if EXAMPLE.search(path.read_text())]


def blocks(page):
    """The Python of a page, as one program whose line numbers are the page's."""
    text, lines = page.read_text(), []
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        above = text[: block.start(1)].count("\n")
        lines += [""] * (above - len(lines)) + block[1].splitlines()
    return "\n".join(lines)


def given():
    """What a page takes for granted: a model, its data, a training loop."""
    torch.manual_seed(0)
    model, other, third = (
        nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)) for _ in range(3)
    )
    model.register_module("tokens", nn.Identity())
    inputs, labels = torch.randn(60, 6), torch.arange(60) % 3
    batches = list(zip(inputs.split(20), labels.split(20), strict=True))
    return {
        "model": model,
        "other": other,
        "checkpoints": [third, other, model],
        "loss_fn": F.cross_entropy,
        "inputs": inputs,
        "batches": batches,
        "loader": batches,
        "v": torch.randn(sum(p.numel() for p in model.parameters())),
        "optimiser": torch.optim.SGD(model.parameters(), 0.1),
        "writer": None,
    }


@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: p.name)
def test_pages_run(page, tmp_path, monkeypatch):
    if page.name in ELSEWHERE:
        pytest.skip("is run by test_extending.py")
    monkeypatch.chdir(tmp_path)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)  # cluster.md under torchrun, with one process
    exec(compile(blocks(page), page, "exec"), given())


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "start.md"], ids=lambda p: p.name)
def test_the_first_example_warns_of_nothing(page):
    """Also of a network that has just been trained, and is another one when it is measured."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(blocks(page), page, "exec"), {**given(), "model": model})


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_examples_in_docstrings_run(path):
    name = ".".join(("nonsingular", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
