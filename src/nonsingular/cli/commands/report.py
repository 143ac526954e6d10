"""``nonsingular report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Folders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonsingular.experiments.finished import Finished

SHOWN = THE_PAPERS


def command(
    folders: Folders,
    out: Annotated[
        Path | None,
        typer.Option(help="One page of all [default: report.html for each paper, in the folder of its experiments]."),
    ] = None,
) -> None:
    """Gather finished experiments into one HTML page a paper: scoreboard, figures beside claims, protocol."""
    from nonsingular.experiments.finished import find

    write_pages(find(folders), out)


def write_pages(found: Sequence[Finished], out: Path | None = None) -> None:
    """A page for each paper, or one of all."""
    from nonsingular.experiments.registry import experiments
    from nonsingular.experiments.report import pages, write_report

    known = {e.id: e for e in experiments()}
    for path, gathered in ({out: found} if out else pages(found)).items():
        typer.echo(write_report(path, gathered, known))
