"""The scoreboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from nonsingular.cli.terminal import Column, console, number, numbers, print_table
from nonsingular.experiments.claims import BESIDE, interval_in_words, is_ours
from nonsingular.experiments.report.pages import NAMED, SAID, count, shares
from nonsingular.words import counted

VERDICT_STYLE = {"holds": "bold green", "fails": "bold red", "inconclusive": "yellow", "unmeasured": "dim"}


def print_claims(rows: Sequence[Mapping[str, Any]]) -> None:
    """The scoreboard, the verdicts first."""
    reproduced = all(row["paper"] in NAMED for row in rows)  # else there are figures of the reader's own
    expected, measured = ("paper's value", "measured here") if reproduced else ("expected", "measured")
    columns = [
        Column("verdict"), Column("claim", least=32), Column(expected, least=14), *numbers(measured, "interval"),
        Column("paper"),
    ]  # fmt: skip
    table = []
    for row in rows:
        verdict = str(row["verdict"])
        style = VERDICT_STYLE.get(verdict, "default")
        statement = escape(str(row["statement"]).removesuffix("."))
        table.append([
            f"[{style}]{escape(verdict)}[/]",
            f"{f'[dim]{BESIDE}:[/] ' if is_ours(row) else ''}{statement} [dim]{_measured_on(row)}[/]",
            escape(str(row["expected"])),
            number(row["measured"]),
            interval_in_words(row, "none: one run" if row["runs"] == 1 else "none"),
            escape(str(row["paper"])),
        ])  # fmt: skip
    print_table(console(), columns, table)


def print_counts(rows: Sequence[Mapping[str, Any]]) -> None:
    """How many claims have which verdict, each counted once, and how many rows are no claims of the papers."""
    found, others = count(rows), sum(map(is_ours, rows))
    verdicts = ", ".join(f"[{VERDICT_STYLE[name]}]{found[name]} {SAID.get(name, name)}[/]" for name in found)
    at = f"; judged at {escape(words)}" if (words := shares(rows)) else ""
    beside = f"; {counted(others, 'question')} beside them ({BESIDE})" if others else ""
    whose = " of the papers" if all(row["paper"] in NAMED for row in rows) else ""
    claims = counted(sum(found.values()), "claim")
    console().print(f"{verdicts} of {claims}{whose}, each counted once{beside}{at}")


def _measured_on(row: Mapping[str, Any]) -> str:
    parts = (row["unit"], row["scale"], row["data"], counted(row["runs"], "run"), row["note"])
    return escape(f"({', '.join(str(part) for part in parts if part)})")
