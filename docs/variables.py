"""Writes ``docs/howto/variables.md``: what instruments measure, from the instruments themselves.

``python docs/variables.py`` after an instrument was added or has changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from nonsingular import measures
from nonsingular.experiments.run.instruments import EVALUATED, INSTRUMENTS, LABELS, PROBE_SAMPLES
from nonsingular.experiments.run.instruments.hessian import WINDOW
from nonsingular.experiments.run.instruments.representations import SAMPLES

PAGE = Path(__file__).parent / "howto" / "variables.md"

HEAD = f"""# What a figure can measure

A study names *instruments*. Each measures one variable or several of every network and run: after every epoch with
`instruments=["train_accuracy"]`, after some with `instruments={{"gradient_norm": (0, 10)}}`. Epoch 0 is the network
before training, -1 the last epoch; layers are hidden layers, counted from 1. A claim takes one number a run from a
variable, with what it does not name averaged over:

| quantity | is |
|---|---|
| `of("mean_overlap")` | its mean over layers and over the measured epochs after the start |
| `of("mean_overlap", epoch=3)` | its mean over layers after epoch 3 |
| `of("gradient_norm", epoch=START, layer=1, log=True)` | log10 of it in the first hidden layer, before training |
| `of("test_accuracy", epoch=END)` | after the last epoch, in percent, as all shares are |

Accuracies are those of the first {EVALUATED} training or test samples, the variables of `representations` those of the
first {SAMPLES}, all others those of the first {PROBE_SAMPLES} training samples. Degenerate eigenvalues of the Hessian
are those between -{WINDOW:g} and {WINDOW:g}; `_low` and `_high` are ends of Lanczos' 95 % intervals. Who misspells a
name is told so before anything is trained.

| instrument | variables | what they are | of each |
|---|---|---|---|
"""


def page() -> str:
    """The page: a row for the variables of an instrument that have the same label."""
    return HEAD + "".join(_row(name, *alike) for name in INSTRUMENTS for alike in _alike(name))


def _alike(instrument: str) -> Iterator[tuple[str, list[str]]]:
    variables = INSTRUMENTS[instrument].variables
    for label in dict.fromkeys(LABELS[v] for v in variables):
        yield label, [v for v in variables if LABELS[v] == label]


def _row(instrument: str, label: str, variables: list[str]) -> str:
    of_each = ", ".join(INSTRUMENTS[instrument].variables[variables[0]]) or "network"
    cells = [f"`{instrument}`", ", ".join(f"`{v}`" for v in variables), _words(variables[0], label), of_each]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _words(variable: str, label: str) -> str:
    """The axis label, and what the measure of that name says of itself."""
    label = " ".join(label.split())
    said = inspect.getdoc(getattr(measures, variable)) if hasattr(measures, variable) else None
    return f"{label}: {_first(said)}" if said else label


def _first(said: str) -> str:
    text = said.split("\n\n")[0].replace("\n", " ").replace("``", "`").rstrip(".")
    return text[0].lower() + text[1:]


if __name__ == "__main__":
    PAGE.write_text(page())
