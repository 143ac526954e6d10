"""``nonsingular claims``."""

from __future__ import annotations

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Folders, Json
from nonsingular.cli.streams import print_json

SHOWN = THE_PAPERS


def command(folders: Folders, json_: Json = False) -> None:
    """Show the scoreboard: each claim, the paper's value, what was measured here with its interval, the verdict."""
    from nonsingular.cli.tables.claims import print_claims, print_counts
    from nonsingular.experiments.report.finished import read_claims

    rows = [row for folder in folders for row in read_claims(folder)]
    if json_:
        print_json(rows)
    else:
        print_claims(rows)
        print_counts(rows)
