"""``nonsingular judge``."""

from __future__ import annotations

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Figures, Folders, Json
from nonsingular.cli.streams import print_json
from nonsingular.cli.terminal import complain

SHOWN = THE_PAPERS


def command(folders: Folders, figure: Figures = None, json_: Json = False) -> None:
    """Judge and draw finished experiments again from the data that they kept, by today's claims; nothing is trained."""
    from nonsingular.cli.figures import known
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.claims import print_claims, print_counts
    from nonsingular.experiments.report.judging import judge_all

    with Bar():
        found = judge_all(folders, known(figure or []))
    rows = [row for again in found if not again.refused for row in again.rows]
    for again in found:
        if again.refused:
            complain(again.refused)
    if json_:
        print_json(rows)
        return
    print_claims(rows)
    print_counts(rows)
    for again in found:
        for id, (before, now) in again.changed.items():
            typer.echo(f"{again.folder}: {id}: {before or 'new'} -> {now or 'no longer a claim'}")
