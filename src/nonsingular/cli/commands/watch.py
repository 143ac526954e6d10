"""``nonsingular watch``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli import interrupts
from nonsingular.cli.commands import YOUR_NETWORK
from nonsingular.cli.options import Json
from nonsingular.cli.streams import print_json

SHOWN = YOUR_NETWORK
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""What is no option of ours is the script's; after ``--`` everything is."""


def command(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT.py", help="Your own training script, run as it is.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="Its arguments; after -- also those named as ours.", show_default="none"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Stop the script after so many steps of each optimiser that trains on.", show_default="at its end"
        ),
    ] = None,
    json_: Json = False,
) -> int:
    """Run your own training script, unchanged, watch its loop, and say what is wrong with it."""
    from nonsingular.cli.tables.loop import print_loop
    from nonsingular.diagnosis.loop import Observer, judged
    from nonsingular.diagnosis.loop.rehearse import refuse_few
    from nonsingular.diagnosis.loop.script import prints_to_stderr, run

    if steps is not None:
        refuse_few(steps, "--steps")
    observer = Observer(steps)
    try:
        with interrupts.given_away(), prints_to_stderr() if json_ else nullcontext():
            ran = run(script, arguments or [], observer)
    except KeyboardInterrupt:
        if not observer.loop.updates:
            raise
        ran = None
    if ran is not None:
        ran.tell()
    found = judged(observer, look=ran is not None)
    status = interrupts.STATUS if ran is None else ran.status or (2 if found.empty else 0)
    if json_:
        print_json({**found.to_json(), "script": str(script), "status": status})
    else:
        print_loop(found, str(script), ran.status if ran is not None else 0)
    return status
