"""``nonsingular bench-diagnosis``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli import options
from nonsingular.cli.commands import HIDDEN
from nonsingular.cli.options import Json
from nonsingular.cli.streams import print_json
from nonsingular.errors import InputError

SHOWN = HIDDEN


def command(
    context: typer.Context,
    seeds: Annotated[int, typer.Option(help="Networks of each kind, from seeds no threshold has seen.")] = 2,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Measure the healthy networks' limits instead, into this file.", show_default="no"),
    ] = None,
    json_: Json = False,
) -> None:
    """Measure how often the diagnosis is right: sick and healthy networks with known answers."""
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.diagnosis import print_bench
    from nonsingular.diagnosis import bench

    if calibrate is not None:
        options.refuse_typed(context, ("json_",), "is of the rates, not of --calibrate")
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}")
    with Bar() as bar:
        if calibrate is not None:
            first = bench.CALIBRATION_SEED
            table = bench.calibrate(range(first, first + seeds), bar.note)
            bench.write_table(calibrate, table)
            typer.echo(calibrate)
            return
        first = bench.FRESH_SEED
        outcome = bench.bench(range(first, first + seeds), bar.note)
    if json_:
        print_json(outcome.to_json())
    else:
        print_bench(outcome)
