"""``nonsingular merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Figures, Folders, Json
from nonsingular.cli.streams import print_json

SHOWN = THE_PAPERS


def command(
    folders: Folders,
    out: Annotated[Path, typer.Option(help="Folder of the result; it holds nothing yet.")],
    figure: Figures = None,
    json_: Json = False,
) -> None:
    """Put the runs of one study together that were computed apart, with other seeds, and judge them as one."""
    from nonsingular.cli.commands.reproduce import print_outcome
    from nonsingular.cli.figures import known
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.claims import print_claims
    from nonsingular.experiments.report.merging import merge

    with Bar() as bar:
        bar.start("merging", None, "")
        outcome = merge(folders, out, known(figure or []))
    rows = [j.to_json() for j in outcome.judgements]
    if json_:
        print_json(rows)
    else:
        print_claims(rows)
        print_outcome(outcome)
