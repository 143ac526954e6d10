"""What networks reached at the end."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape

from nonsingular.cli.terminal import Column, console, numbers, print_table
from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.words import counted


def print_summary(table: Mapping[str, Mapping[str, tuple[float, float]]], runs: int) -> None:
    """Mean and standard error of every variable, one column a network."""
    rows = []
    for variable in next(iter(table.values())):
        scale = 100 if variable in PERCENT else 1
        rows.append([LABELS[variable], *(_mean_and_error(*row[variable], scale) for row in table.values())])
    print_table(console(), [Column("", least=16), *numbers(*map(escape, table))], rows, parts=True)
    console().print(
        f"[dim]After the last epoch: mean of {counted(runs, 'run')} ± standard error; measures averaged over layers.[/]"
    )


def _mean_and_error(mean: float, error: float, scale: float) -> str:
    digits = 1 if scale == 100 else 3
    return f"{scale * mean:.{digits}f} ± {scale * error:.{digits}f}"
