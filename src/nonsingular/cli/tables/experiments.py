"""The list of experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from rich.markup import escape
from rich.table import Table

from nonsingular.cli.terminal import console
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report.papers import paper


def print_experiments(found: Iterable[Experiment]) -> None:
    """Every experiment, paper by paper: name and title, and its scales where they are not everybody's."""
    found, to = list(found), console()
    ((usual, _),) = Counter(tuple(e.scales) for e in found).most_common(1)
    for prefix, group in groupby(found, key=lambda e: e.id.split("/")[0]):
        to.print(f"[bold]{prefix}/[/]  {escape(paper(prefix).title)}")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for e in group:
            only = "" if tuple(e.scales) == usual else f" [dim](scales {', '.join(e.scales)})[/]"
            table.add_row(f"  {e.id.removeprefix(f'{prefix}/')}", f"{escape(e.title)}{only}")
        to.print(table)
        to.print()
    to.print(f"As in: nonsingular reproduce {found[0].id} --scale {usual[0]} (or {', '.join(usual[1:])})")
