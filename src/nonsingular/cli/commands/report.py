"""``nonsingular report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Folders, Json
from nonsingular.cli.streams import print_json
from nonsingular.cli.terminal import telling_of_folders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonsingular.experiments.report.finished import Finished

SHOWN = THE_PAPERS


def command(
    folders: Folders,
    out: Annotated[
        Path | None,
        typer.Option(
            help="One page of all papers, in this file.",
            show_default="report.html for each paper, in the folder of its experiments",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Gather finished experiments into an HTML page for each paper, or one of all: scoreboard, figures, claims."""
    from nonsingular.cli.progress import Bar

    with Bar() as bar, telling_of_folders(out):
        bar.start("loading the experiments", None, "")  # seconds, where libraries are not yet in memory
        from nonsingular.experiments.report.finished import find
        from nonsingular.papers.registry import experiments

        found = find(folders)
        experiments()
        bar.end()
        written = write_pages(found, out)
    if json_:
        print_json([{"report": path, "experiments": [f.id for f in found]} for path, found in written.items()])
    else:
        for path in written:
            typer.echo(path)


def write_pages(found: Sequence[Finished], out: Path | None = None) -> dict[Path, list[Finished]]:
    """A page for each paper, or one of all; what each gathers."""
    from nonsingular.experiments.report.pages import pages, write_report
    from nonsingular.papers.registry import experiments

    known = {e.id: e for e in experiments()}
    gathered = {out: found} if out else pages(found)
    return {write_report(path, those, known): list(those) for path, those in gathered.items()}
