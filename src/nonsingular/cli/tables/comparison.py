"""Two results side by side."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from nonsingular.cli.terminal import console, number
from nonsingular.experiments.report.comparing import Comparison
from nonsingular.intervals import in_words
from nonsingular.words import counted


def print_comparison(found: Comparison) -> None:
    """What differs between the two, and by how much their measures do."""
    shown = console()
    shown.print(f"A: {escape(found.a)}\nB: {escape(found.b)}")
    for phrase in found.differ:
        shown.print(f"[dim]{escape(phrase)}[/]")
    table = Table("measure", "network", "A", "B", "B minus A", "interval", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in found.differences:
        names = (escape(row.label), escape(row.network or "all"))
        table.add_row(
            *names, number(row.a), number(row.b), number(row.value), in_words(*(row.interval or (None, None)))
        )
    shown.print(table)
    shown.print(
        f"[dim]{_matched(found)}After the last epoch, layers averaged. "
        f"{counted(len(found.differences), 'difference')}; intervals are of 95 % each, of which one in twenty leaves "
        "zero out by chance.[/]"
    )


def _matched(found: Comparison) -> str:
    pairs = [row for row in found.differences if row.paired]
    if not pairs:
        return "No two runs share a seed: they count as drawn apart. "
    return f"Runs with equal seeds are compared pair by pair ({counted(max(row.runs[0] for row in pairs), 'pair')}). "
