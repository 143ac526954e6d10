"""``nonsingular compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Json
from nonsingular.cli.streams import print_json

SHOWN = THE_PAPERS


def command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a finished experiment.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one.")],
    variables: Annotated[
        str | None,
        typer.Option(help="Names of what is compared, separated by commas.", show_default="accuracies and losses"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the picture and comparison.json.")] = Path("out/compare"),
    json_: Json = False,
) -> None:
    """Compare two results: how much each network's measures differ, with intervals over runs, and a picture."""
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.comparison import print_comparison
    from nonsingular.experiments.report.comparing import compare
    from nonsingular.files import held, to_json, write_whole
    from nonsingular.plots.comparison import comparison
    from nonsingular.plots.saving import write_figure

    with held(out), Bar() as bar:
        bar.start("comparing", None, "")
        found = compare(a, b, variables.split(",") if variables else ())
        rows = found.to_json()
        write_whole(out / "comparison.json", to_json(rows))
        over = "pairs of runs" if any(row.paired for row in found.differences) else "runs"
        figure = comparison(rows["differences"], f"A: {found.a}, B: {found.b}; 95 % intervals over {over}")
        picture = write_figure(out, "comparison", figure)
    if json_:
        print_json(rows)
    else:
        print_comparison(found)
        typer.echo(picture)
