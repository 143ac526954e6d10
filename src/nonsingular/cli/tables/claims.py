"""The scoreboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from nonsingular.cli.terminal import console, number
from nonsingular.experiments.report.pages import count

VERDICT_STYLE = {"holds": "bold green", "fails": "bold red", "inconclusive": "yellow"}


def print_claims(rows: Sequence[Mapping[str, Any]]) -> None:
    """The scoreboard."""
    table = Table("paper", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("claim", min_width=22)
    for name in ("paper's value", "ours", "interval", "verdict"):
        table.add_column(name)
    for row in rows:
        low, high = row["interval"] or (None, None)
        verdict = str(row["verdict"])
        table.add_row(
            escape(str(row["paper"])),
            f"{escape(str(row['statement']))} [dim]{escape(_measured_on(row))}[/]",
            escape(str(row["expected"])),
            number(row["measured"]),
            "–" if low is None and high is None else f"{number(low)} to {number(high)}",
            f"[{VERDICT_STYLE.get(verdict, '')}]{escape(verdict)}[/]",
        )
    console().print(table)


def print_counts(rows: Sequence[Mapping[str, Any]]) -> None:
    """How many claims have which verdict."""
    found = count(rows)
    console().print(", ".join(f"[{VERDICT_STYLE[name]}]{found[name]} {COUNTED.get(name, name)}[/]" for name in found))


COUNTED = {"holds": "hold", "fails": "fail"}


def _measured_on(row: Mapping[str, Any]) -> str:
    parts = (row["unit"], row["scale"], row["data"], f"{row['runs']} runs", row["note"])
    return f"({', '.join(str(part) for part in parts if part)})"
