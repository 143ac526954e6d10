"""The list of experiments."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape

from nonsingular.cli.terminal import Column, console, print_table
from nonsingular.experiments.experiment import Experiment


def print_experiments(found: Iterable[Experiment]) -> None:
    """The list of experiments."""
    columns = [Column("id"), Column("title", least=24), Column("scales", least=8)]
    print_table(console(), columns, [[e.id, escape(e.title), ", ".join(e.scales)] for e in found])
