"""The list of experiments."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.markup import escape
from rich.table import Table

from nonsingular.cli.terminal import console
from nonsingular.experiments.experiment import Experiment


def print_experiments(found: Iterable[Experiment]) -> None:
    """The list of experiments."""
    table = Table("id", "title", "scales", box=box.SIMPLE_HEAD)
    for e in found:
        table.add_row(e.id, escape(e.title), ", ".join(e.scales))
    console().print(table)
