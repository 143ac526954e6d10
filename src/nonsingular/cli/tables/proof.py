"""What copies learned, what helped them, and the next step."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from nonsingular.cli.terminal import Column, number, numbers, print_table
from nonsingular.diagnosis import Diagnosis
from nonsingular.diagnosis.advice import next_step
from nonsingular.diagnosis.learnability import percent, points
from nonsingular.intervals import Effect
from nonsingular.words import counted

DIFF = {"+": "green", "-": "red"}
COLOURS = {"helps": "bold green", "hurts": "bold red", "diverges": "bold red"}


def print_learns(to: Console, found: Diagnosis) -> None:
    """One row an arm, and what they say together."""
    if found.learns is None:
        return
    rows = [
        [
            escape(r.arm) + ("" if r.stopped is None else f", {counted(r.stopped, 'step')}"),
            percent(r.learned.value), _ends(r.learned), percent(r.held_out.value), number(r.first),
            number(r.loss), f"{r.runs}, {r.diverged} diverged" if r.diverged else str(r.runs),
        ]
        for r in found.learns.rows
    ]  # fmt: skip
    to.print()
    headings = numbers("learned", "95 % interval", "held out", "loss before", "after", "runs")
    print_table(to, [Column("copies"), *headings], rows)
    to.print(escape(found.learns.words))
    to.print(
        f"[dim]learned: the part of what {found.learns.constant_is} leaves (a loss of {number(found.learns.constant)}) "
        "that training took away; below 0 %, training ended above it; held out: of samples not trained on.[/]"
    )


def print_proof(to: Console, found: Diagnosis) -> None:
    """One row a treatment, what helped most first."""
    proof = found.proof
    if proof is None:
        return
    columns = [
        Column("verdict"), Column("treatment", least=16),
        *numbers("learned", "points more", "95 % interval", "accuracy"),
        Column("what it did", least=24),
    ]  # fmt: skip
    rows = []
    for t in proof.trials:
        verdict = f"[{COLOURS.get(t.verdict, 'yellow')}]{t.verdict}[/]"
        diverged = (
            f" ({t.treated.diverged} of {len(t.treated.loss)} runs diverged)"
            if t.treated and t.treated.diverged
            else ""
        )
        rows.append([
            verdict, escape(t.treatment), percent(t.reached.value), points(t.gained.value),
            _points_ends(t.gained), _accuracy(t.accuracy), escape(t.what + diverged),
        ])  # fmt: skip
    to.print()
    print_table(to, columns, rows)
    p = proof.protocol
    to.print(
        f"[dim]{counted(p.seeds, 'run')} of each, {counted(p.steps, 'step')}, untreated by "
        f"{escape(str(proof.steps))}, batches of {p.batch}; "
        "differences from untreated copies in points, paired by seed; accuracy on samples not trained on. helps: at "
        "least 5 points more with an interval above 0, and learned at least 5 %; too little: certain, but less than "
        "that; no difference: the interval is "
        "within 5 points of 0; too few runs: it is not, and --seeds N makes it narrower; left early: it is "
        "not, of copies left with nothing gained: perhaps harm.[/]"
    )


def print_next(to: Console, found: Diagnosis, source: str | Path | None) -> None:
    """What to do next, and what to copy."""
    advice = next_step(found, source)
    if advice is None:
        return
    to.print()
    to.print(f"[bold]Next step:[/] {escape(advice.words)}")
    for line in advice.code.splitlines():
        to.print(Text(f"    {line}", style=DIFF.get(line[:1], "")), soft_wrap=True)  # to be copied: never cut


def _ends(e: Effect) -> str:
    return f"{percent(e.low)} to {percent(e.high)}" if math.isfinite(e.low) else "–"


def _points_ends(e: Effect) -> str:
    return f"{points(e.low)} to {points(e.high)}" if math.isfinite(e.low) else "–"


def _accuracy(e: Effect) -> str:
    return f"{e.value:+.1f}" if math.isfinite(e.value) else "–"
