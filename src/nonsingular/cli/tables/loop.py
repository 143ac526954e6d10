"""What ``nonsingular watch`` shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape

from nonsingular.cli.tables.diagnosis import print_findings
from nonsingular.cli.terminal import console, number
from nonsingular.diagnosis.loop import Rehearsal
from nonsingular.words import counted


def print_loop(found: Rehearsal, script: str, status: int = 0) -> None:
    """What the loop did, in three lines, and what is wrong with it; or that the script ended before there was one."""
    to, seen = console(), found.summary()
    if found.empty:
        to.print(
            f"\n[yellow]{escape(script)} ended before it trained anything[/]: its status is {status}"
            if status
            else f"\n[yellow]{escape(script)} trained nothing that was seen[/]: no backward pass and no step of an "
            "optimiser; give the script that trains, with its arguments"
        )
        _print_notes(to, found)
        return
    to.print(f"\n[bold]watched {escape(script)}[/]: {_steps(seen)}", highlight=False)
    best = seen["constant_loss"]
    reference = "" if best is None else f" (the best constant prediction: {number(best)})"
    if seen["first_loss"] is not None:
        to.print(f"loss {number(seen['first_loss'])} to {number(seen['last_loss'])}{reference}", highlight=False)
    if seen["step_over_weight"] is not None:
        to.print(f"a step changes the weights by {number(seen['step_over_weight'])} of themselves", highlight=False)
    if not found.findings:
        said = found.nothing()
        to.print(f"[bold {'yellow' if ',' in said else 'green'}]{said}[/]", highlight=False)
    print_findings(to, found.findings)
    _print_notes(to, found)


def _steps(seen: dict[str, Any]) -> str:
    """What was seen to step; of many optimisers, the steps of the one that took most.

    >>> _steps({"steps": 8, "optimisers": ["Adam"] * 60 + ["SGD"]})
    '8 steps each at most, 60 x Adam, SGD'
    """
    kinds = Counter(seen["optimisers"])
    optimisers = ", ".join(kind if n == 1 else f"{n} x {kind}" for kind, n in kinds.items()) or "no optimiser"
    return f"{counted(seen['steps'], 'step')}{' each at most' if kinds.total() > 1 else ''}, {optimisers}"


def _print_notes(to: Console, found: Rehearsal) -> None:
    for note in found.loop.notes:
        to.print(f"[dim]{escape(note)}[/]", highlight=False)
