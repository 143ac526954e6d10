"""The best trial of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from nonsingular.cli.terminal import console, number


def print_search(found: Mapping[str, Any]) -> None:
    """The best trial beside the paper's values and the network without any of the numbers."""
    best, paper = found["best"], found["paper"]
    table = Table("", "best trial", *(["the paper's"] if paper else []), box=box.SIMPLE_HEAD)
    for name in found["searched"]:
        table.add_row(name, number(best and best[name]), *([number(paper.get(name))] if paper else []))
    table.add_row("accuracy (%)", number(best and best["accuracy"]))
    table.add_row("without them (%)", number(found["reference"]))
    console().print(table)
    failed = f", {found['failed']} of them diverged" if found["failed"] else ""
    console().print(
        f"[dim]Accuracy: {found['objective'].removesuffix(' (%)')}. {len(found['trials'])} trials{failed}. The best of "
        "many trials is an optimistic estimate: other seeds will do somewhat worse.[/]"
    )
