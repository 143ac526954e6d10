"""One self-contained HTML page for an experiment: verdicts first, then the figures and the protocol."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import torch

from nonsingular.experiments.claims import Judgement
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure


def write_report(
    path: Path,
    experiment: Experiment,
    spec: Spec,
    judgements: Sequence[Judgement],
    figures: Mapping[str, Path],
    interactive: Mapping[str, PlotlyFigure],
) -> Path:
    """Write the page and return its path.

    Args:
        path: the HTML file.
        experiment: its id and title.
        spec: the protocol, printed whole.
        judgements: the scoreboard.
        figures: name -> SVG file; embedded, so that the page opens without anything beside it.
        interactive: name -> plotly figure; embedded with the library that draws them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nonsingular.experiments"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    embedded = {name: base64.b64encode(file.read_bytes()).decode() for name, file in figures.items()}
    live = {
        name: figure.to_html(full_html=False, include_plotlyjs=first, div_id=f"interactive-{name}")
        for first, (name, figure) in zip([True] + [False] * len(interactive), interactive.items(), strict=False)
    }
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    path.write_text(
        environment.get_template("report.html").render(
            experiment=experiment, spec=spec, judgements=judgements, figures=embedded, live=live, machine=machine
        ),
        encoding="utf-8",
    )
    return path
