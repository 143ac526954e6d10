"""One self-contained HTML page for an experiment: verdicts first, then the figures and the protocol."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import torch

from nonsingular.experiments.claims import Judgement
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec


def write_report(
    path: Path, experiment: Experiment, spec: Spec, judgements: Sequence[Judgement], figures: Mapping[str, Path]
) -> Path:
    """Write the page and return its path.

    Args:
        path: the HTML file.
        experiment: its id and title.
        spec: the protocol, printed whole.
        judgements: the scoreboard.
        figures: name -> SVG file; embedded, so that the page opens without anything beside it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nonsingular.experiments"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    embedded = {name: base64.b64encode(file.read_bytes()).decode() for name, file in figures.items()}
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    path.write_text(
        environment.get_template("report.html").render(
            experiment=experiment, spec=spec, judgements=judgements, figures=embedded, machine=machine
        ),
        encoding="utf-8",
    )
    return path
