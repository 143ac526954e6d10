"""Counts of eigenvalues."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.table import Table

from nonsingular.curvature import Spectrum


def print_spectrum(found: Spectrum) -> None:
    """Counts of eigenvalues with their intervals, and how they were got."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("eigenvalues")
    for heading in ("count", "95 % interval", "%"):
        table.add_column(heading, justify="right")
    where = {
        "degenerate": f"degenerate, within ±{found.window:g}",
        "negative": f"negative, below -{found.window:g}",
        "positive": f"positive, above {found.window:g}",
    }
    for name, words in where.items():
        count = getattr(found, name)
        low, high = count.interval
        interval = "not known" if math.isnan(low) else "exact" if low == high else f"{low:,.0f} to {high:,.0f}"
        table.add_row(words, f"{count.count:,.0f}", interval, f"{count.percent:.4g}")
    console = Console()
    console.print(table)
    console.print(f"{found.parameters:,} parameters; {found.how}.", highlight=False)
