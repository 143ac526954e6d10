"""What ``nonsingular bench-trust`` shows."""

from __future__ import annotations

from rich.markup import escape

from nonsingular.cli.terminal import Column, console, numbers, print_table
from nonsingular.trust import Tally
from nonsingular.trust.bench import OUTCOMES
from nonsingular.words import counted


def print_tally(tally: Tally) -> None:
    """Outcomes of every check, refusals by reason, and every fault with its program."""
    to = console()
    rows = [[check, *(str(found[outcome]) for outcome in OUTCOMES)] for check, found in tally.outcomes.items()]
    print_table(to, [Column("check"), *numbers(*OUTCOMES)], rows)
    to.print(f"{counted(tally.programs, 'program')}; {tally.unusable} more do not run by themselves")
    to.print("[dim]beyond: the reference has no number either, so there is nothing to compare[/]")
    if tally.reasons:
        to.print("\nrefused because")
        for reason, times in tally.reasons.most_common():
            to.print(f"  {times:4d}  {escape(reason)}")
    for fault in tally.faults:
        to.print(f"\n[bold]{fault.check}[/], seed {fault.seed}: {escape(fault.detail)}\n  {escape(fault.program)}")
