"""``nonsingular bench-trust``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli.commands import HIDDEN
from nonsingular.cli.options import Json
from nonsingular.cli.streams import print_json
from nonsingular.errors import InputError

SHOWN = HIDDEN


def command(
    models: Annotated[int, typer.Option(help="Programs, each a model, a loss and batches of its own.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the first program; the others follow.")] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="File to which each judged program is added; those in it are not judged again.", show_default="none"
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Put programs together at random and hold every number against a slow float64 reference.

    Exit status 1 where a number is wrong or something crashed.
    """
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.trust import print_tally
    from nonsingular.trust import bench

    if models < 1:
        raise InputError(f"models must be at least 1, got {models}")
    with Bar() as bar:
        bar.start("judging", models, "programs")
        tally = bench(range(seed, seed + models), lambda _: bar.advance(), keep)
    if json_:
        print_json(tally.to_json())
    else:
        print_tally(tally)
    if tally.faults:
        raise typer.Exit(1)
