"""What networks reached at the end."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.markup import escape
from rich.table import Table

from nonsingular.cli.terminal import console
from nonsingular.experiments.run.instruments import LABELS, PERCENT


def print_summary(table: Mapping[str, Mapping[str, tuple[float, float]]], runs: int) -> None:
    """Mean and standard error of every variable, one column a network."""
    shown = Table("", *map(escape, table), box=box.SIMPLE_HEAD)
    for variable in next(iter(table.values())):
        scale = 100 if variable in PERCENT else 1
        shown.add_row(LABELS[variable], *(_mean_and_error(*row[variable], scale) for row in table.values()))
    console().print(shown)
    console().print(
        f"[dim]After the last epoch: mean of {runs} runs ± standard error; measures averaged over layers.[/]"
    )


def _mean_and_error(mean: float, error: float, scale: float) -> str:
    digits = 1 if scale == 100 else 3
    return f"{scale * mean:.{digits}f} ± {scale * error:.{digits}f}"
