"""Counts of eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from nonsingular.cli.options import options_words
from nonsingular.cli.terminal import Column, console, in_words, numbers, print_table
from nonsingular.curvature import Spectrum
from nonsingular.words import counted, significant


def print_spectrum(found: Spectrum, record: Mapping[str, Any]) -> None:
    """Counts of eigenvalues with their intervals, how they were got, of which loss, in which mode, on which data."""
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
        rows.append([words, f"{count.count:,.0f}", interval, significant(count.percent, 4)])
    to = console()
    print_table(to, [Column("eigenvalues", least=20), *numbers("count", "95 % interval", "%")], rows)
    to.print(f"{counted(found.parameters, 'parameter')}; {options_words(found.how)}.")
    to.print(f"loss: {record['loss']:.4g}, {escape(record['loss_fn'])}; mode: {record['mode']}")
    to.print(f"data: {escape(in_words(record['data']))}")
