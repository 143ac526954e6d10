"""Counts of eigenvalues."""

from __future__ import annotations

import math

from nonsingular.cli.terminal import Column, console, numbers, print_table
from nonsingular.curvature import Spectrum


def print_spectrum(found: Spectrum) -> None:
    """Counts of eigenvalues with their intervals, and how they were got."""
    where = {
        "degenerate": f"degenerate, within ±{found.window:g}",
        "negative": f"negative, below -{found.window:g}",
        "positive": f"positive, above {found.window:g}",
    }
    rows = []
    for name, words in where.items():
        count = getattr(found, name)
        low, high = count.interval
        interval = "not known" if math.isnan(low) else "exact" if low == high else f"{low:,.0f} to {high:,.0f}"
        rows.append([words, f"{count.count:,.0f}", interval, f"{count.percent:.4g}"])
    to = console()
    print_table(to, [Column("eigenvalues", least=20), *numbers("count", "95 % interval", "%")], rows)
    to.print(f"{found.parameters:,} parameters; {found.how}.")
