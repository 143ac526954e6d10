"""What ``nonsingular diagnose`` and ``bench-diagnosis`` show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from nonsingular.cli.tables.proof import print_learns, print_next, print_proof
from nonsingular.cli.terminal import Column, console, in_words, number, numbers, print_table
from nonsingular.diagnosis import Diagnosis, Finding
from nonsingular.diagnosis.contract.registered import MODULES
from nonsingular.words import counted

if TYPE_CHECKING:
    from nonsingular.diagnosis.bench import Outcome

UNTRAINED = (
    "; nothing was trained: --steps 200 tells whether it learns, `nonsingular watch train.py` whether your own loop "
    "does its part"
)


def print_diagnosis(found: Diagnosis, source: str | Path | None = None) -> None:
    """Findings with their evidence, what copies learned, what helped them, one row a layer, and the next step."""
    to, look = console(), found.look
    size = sum(p.size for p in look.parameters)
    to.print(
        f"{counted(size, 'parameter')}, {counted(len(found.layers), 'layer')}; looked at "
        f"{counted(look.samples, 'sample')} in {look.seconds:.1f} s"
        + ("" if look.complete else " (time was up before all were seen)"),
        highlight=False,
    )
    if found.data:
        to.print(f"data: {escape(in_words(found.data))}")
    if not found.findings:
        to.print(f"[bold green]nothing wrong found[/]{'' if found.learns else UNTRAINED}")
    print_findings(to, found.findings, found.proof is not None)
    print_learns(to, found)
    print_proof(to, found)
    _print_layers(to, found)
    for note in look.notes:
        to.print(f"[dim]{escape(note)}[/]")
    print_next(to, found, source)


def print_findings(to: Console, findings: Sequence[Finding], proved: bool = False) -> None:
    """Each finding: where, the numbers, why it hurts, what to change."""
    for place, finding in enumerate(findings, 1):
        because = f" [dim](probably because of {finding.because})[/]" if finding.because else ""
        to.print(f"\n[bold]{place}. {finding.kind}[/]  severity {finding.severity:.2f}{because}")
        places = [_some(finding.layers)] if finding.layers else []
        if finding.where and finding.where not in finding.layers:
            places.append(finding.where)
        if places:
            to.print(f"   in {escape('; '.join(places))}")
        for e in finding.evidence:
            where = f" of {e['layer']}" if "layer" in e else ""
            limit = f", healthy networks: up to {number(e['healthy'])}" if "healthy" in e else ""
            to.print(f"   {escape(e['measure'] + where)}: {number(e['value'])}{limit}")
        to.print(f"   {finding.mechanism} [dim]({finding.source})[/]")
        if finding.remedy:
            to.print(f"   [bold]change:[/] {escape(finding.remedy)}")
        if finding.remark:
            to.print(f"   {escape(finding.remark)}")
        if finding.treatments:
            what = "what helped" if proved else "may help"
            to.print(f"   {what}: {', '.join(finding.treatments)}")
        elif proved and not finding.because:
            to.print("   nothing that was tried helped")


def _print_layers(to: Console, found: Diagnosis) -> None:
    headings = ("units", "signal", "spread", "gradient", "dead %", "twins %", "eff. rank", "condition", "around")
    rows = []
    for l in found.layers:  # noqa: E741
        around = "–" if l.bypassed is None else "yes" if l.bypassed else "no"
        rows.append([
            escape(l.name), escape(l.kind), str(l.units), number(l.signal), number(l.spread), number(l.gradient),
            number(100 * l.dead), number(100 * l.twins), number(l.effective_rank), number(l.condition_number),
            around,
        ])  # fmt: skip
    to.print()
    print_table(to, [Column("layer"), Column("kind"), *numbers(*headings)], rows, parts=True, fold=True)
    to.print(
        "[dim]signal: root mean square passed on; spread: the part that tells samples apart; gradient: of one sample's "
        "loss by the output; dead: units that respond to no sample; twins: units with the weights of another; eff. "
        "rank: how many directions share the responses' spread (the page counts all above 1e-3 of the largest, too); "
        "condition: of the responses (inf: fewer directions than units); around: whether a connection leads around "
        "the layer.[/]"
    )
    for finding in found.findings:
        if finding.kind == "unregistered-parameters":
            modules = sum(int(e["value"]) for e in finding.evidence if e["measure"] == MODULES)
            to.print(f"[yellow]no row here:[/] {counted(modules, 'module') if modules else 'weights'} not registered")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{len(names)} layers: {shown}, ..." if len(names) > 6 else shown


def print_bench(found: Outcome) -> None:
    """Both rates with their intervals, and every wrong answer."""
    to = console()
    rows = []
    for name, rate in (("sensitivity", found.sensitivity), ("false alarms", found.false_alarms)):
        low, high = (100 * end for end in rate.interval)
        ends = f"{low:.1f} to {high:.1f} %"
        rows.append([name, f"{100 * rate.value:.1f} %", ends, f"{rate.successes}/{rate.trials}"])
    print_table(to, [Column(""), *numbers("rate", "95 % interval", "networks")], rows)
    for a in (a for a in found.answers if not a.right):
        state = ", trained" if a.trained else ""
        wanted = " or ".join(a.expected) or "nothing"
        said = ", ".join(a.found) or "nothing"
        to.print(f"{a.case} (seed {a.seed}{state}): expected {wanted}, found {said}")
