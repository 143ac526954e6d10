"""The best trial of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nonsingular.cli.terminal import Column, console, number, numbers, print_table
from nonsingular.words import counted


def print_search(found: Mapping[str, Any]) -> None:
    """The best trial beside the paper's values and the network without any of the numbers."""
    best, paper = found["best"], found["paper"]
    rows = [[name, number(best and best[name]), number(paper.get(name))] for name in found["searched"]]
    rows.append(["accuracy (%)", number(best and best["accuracy"]), ""])
    rows.append(["without them (%)", number(found["reference"]), ""])
    kept = 3 if paper else 2
    columns = [Column("", least=16), *numbers("best trial", "the paper's")]
    print_table(console(), columns[:kept], [row[:kept] for row in rows])
    failed = f", {found['failed']} of them diverged" if found["failed"] else ""
    trials = counted(len(found["trials"]), "trial")
    console().print(
        f"[dim]Accuracy: {found['objective'].removesuffix(' (%)')}. {trials}{failed}. The best of "
        "many trials is an optimistic estimate: other seeds will do somewhat worse.[/]"
    )
