"""``nonsingular machine``."""

from __future__ import annotations

from typing import Annotated

import typer

from nonsingular.cli import options
from nonsingular.cli.commands import THIS_MACHINE
from nonsingular.cli.options import Device, Json
from nonsingular.cli.streams import print_json

SHOWN = THIS_MACHINE


def command(
    again: Annotated[bool, typer.Option("--again", help="Measure now, whatever was measured before.")] = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Measure in some seconds what this machine computes, and tell what is chosen from it; measured once, then kept."""
    from nonsingular.cli.tables.machine import print_machine
    from nonsingular.machine import machine

    found = machine(options.device(device), again)
    if json_:
        print_json(found.to_json())
    else:
        print_machine(found)
