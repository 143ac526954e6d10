"""The scoreboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from nonsingular.cli.terminal import Column, console, interval, number, numbers, print_table
from nonsingular.experiments.report.pages import count

VERDICT_STYLE = {"holds": "bold green", "fails": "bold red", "inconclusive": "yellow"}


def print_claims(rows: Sequence[Mapping[str, Any]]) -> None:
    """The scoreboard, the verdicts first."""
    columns = [
        Column("verdict"), Column("claim", least=32), Column("paper's value", least=14), *numbers("ours", "interval"),
        Column("paper"),
    ]  # fmt: skip
    table = []
    for row in rows:
        verdict = str(row["verdict"])
        style = VERDICT_STYLE.get(verdict, "default")
        table.append([
            f"[{style}]{escape(verdict)}[/]",
            f"{escape(str(row['statement']))} [dim]{escape(_measured_on(row))}[/]",
            escape(str(row["expected"])),
            number(row["measured"]),
            interval(*(row["interval"] or (None, None))),
            escape(str(row["paper"])),
        ])  # fmt: skip
    print_table(console(), columns, table)


def print_counts(rows: Sequence[Mapping[str, Any]]) -> None:
    """How many claims have which verdict."""
    found = count(rows)
    console().print(", ".join(f"[{VERDICT_STYLE[name]}]{found[name]} {COUNTED.get(name, name)}[/]" for name in found))


COUNTED = {"holds": "hold", "fails": "fail"}


def _measured_on(row: Mapping[str, Any]) -> str:
    parts = (row["unit"], row["scale"], row["data"], f"{row['runs']} runs", row["note"])
    return f"({', '.join(str(part) for part in parts if part)})"
