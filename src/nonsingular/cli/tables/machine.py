"""Rates of this machine, and what is chosen from them."""

from __future__ import annotations

from rich.markup import escape

from nonsingular.cli.terminal import Column, console, number, numbers, print_table
from nonsingular.intervals import in_words
from nonsingular.machine import Machine
from nonsingular.words import counted


def print_machine(found: Machine) -> None:
    """Each rate with the slowest and the fastest round, then the choices."""
    rows = [
        [work, number(rate.value), in_words(rate.low, rate.high), "GB/s" if work == "memory" else "GFLOP/s"]
        for work, rate in found.rates.items()
    ]
    to = console()
    to.print(escape(", ".join(filter(None, [found.name, found.instructions, counted(found.cores, "core")]))))
    print_table(to, [Column("", least=16), *numbers("rate", "rounds"), Column("")], rows)
    choices = [[what, escape(choice.taken), escape(choice.why)] for what, choice in found.chosen().items()]
    print_table(to, [Column("for"), Column("taken"), Column("why", least=30)], choices)
    to.print(f"[dim]measured {found.measured} with torch {found.torch}; again with --again[/]")
