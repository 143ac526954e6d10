"""What the command line shows: tables and progress bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from nonsingular.curvature import Spectrum
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS, PERCENT
from nonsingular.experiments.report import count

VERDICT_STYLE = {"holds": "bold green", "fails": "bold red", "inconclusive": "yellow"}


class Bar:
    """A progress bar with rate and time left, on standard error; silent where that is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, name: str, total: int, unit: str = "net-steps") -> None:
        """A stretch of work begins."""
        self._unit = unit
        self._task = self._progress.add_task(name, total=total, rate="")

    def advance(self, steps: int = 1) -> None:
        """Part of it is done."""
        if self._task is None:
            return
        self._progress.advance(self._task, steps)
        speed = self._progress.tasks[-1].speed
        self._progress.update(self._task, rate=f"{speed:,.0f} {self._unit}/s" if speed else "")

    def note(self, what: str) -> None:
        """A line above the bar, where there is a terminal."""
        if not self._progress.disable:
            self._progress.console.print(f"[dim]{escape(what)}[/]", highlight=False)


def print_experiments(found: Iterable[Experiment]) -> None:
    """The list of experiments."""
    table = Table("id", "title", "scales", box=box.SIMPLE_HEAD)
    for e in found:
        table.add_row(e.id, escape(e.title), ", ".join(e.scales))
    _console().print(table)


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
            _number(row["measured"]),
            "–" if low is None and high is None else f"{_number(low)} to {_number(high)}",
            f"[{VERDICT_STYLE.get(verdict, '')}]{escape(verdict)}[/]",
        )
    _console().print(table)


def print_counts(rows: Sequence[Mapping[str, Any]]) -> None:
    """How many claims have which verdict."""
    found = count(rows)
    _console().print(", ".join(f"[{VERDICT_STYLE[name]}]{found[name]} {COUNTED.get(name, name)}[/]" for name in found))


COUNTED = {"holds": "hold", "fails": "fail"}


def _console() -> Console:
    """Standard output; wide where it is a file, which does not wrap."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def _measured_on(row: Mapping[str, Any]) -> str:
    parts = (row["unit"], row["scale"], row["data"], f"{row['runs']} runs", row["note"])
    return f"({', '.join(str(part) for part in parts if part)})"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def print_summary(table: Mapping[str, Mapping[str, tuple[float, float]]], runs: int) -> None:
    """Mean and standard error of every variable, one column a network."""
    shown = Table("", *map(escape, table), box=box.SIMPLE_HEAD)
    for variable in next(iter(table.values())):
        scale = 100 if variable in PERCENT else 1
        shown.add_row(LABELS[variable], *(_mean_and_error(*row[variable], scale) for row in table.values()))
    _console().print(shown)
    _console().print(
        f"[dim]After the last epoch: mean of {runs} runs ± standard error; measures averaged over layers.[/]"
    )


def _mean_and_error(mean: float, error: float, scale: float) -> str:
    digits = 1 if scale == 100 else 3
    return f"{scale * mean:.{digits}f} ± {scale * error:.{digits}f}"


def print_spectrum(found: Spectrum) -> None:
    """Counts of eigenvalues with their intervals, and how they were got."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("eigenvalues")
    for heading in ("count", "95 % interval", "%"):
        table.add_column(heading, justify="right")
    where = {
        "degenerate": f"degenerate, within ±{found.window:g}",
        "negative": f"negative, below -{found.window:g}",
        "positive": f"positive, above {found.window:g}",
    }
    for name, words in where.items():
        count = getattr(found, name)
        low, high = count.interval
        interval = "not known" if math.isnan(low) else "exact" if low == high else f"{low:,.0f} to {high:,.0f}"
        table.add_row(words, f"{count.count:,.0f}", interval, f"{count.percent:.4g}")
    console = Console()
    console.print(table)
    console.print(f"{found.parameters:,} parameters; {found.how}.", highlight=False)


def print_search(found: Mapping[str, Any]) -> None:
    """The best trial beside the paper's values and the network without any of the numbers."""
    best, paper = found["best"], found["paper"]
    table = Table("", "best trial", *(["the paper's"] if paper else []), box=box.SIMPLE_HEAD)
    for name in found["searched"]:
        table.add_row(name, _number(best and best[name]), *([_number(paper.get(name))] if paper else []))
    table.add_row("accuracy (%)", _number(best and best["accuracy"]))
    table.add_row("without them (%)", _number(found["reference"]))
    _console().print(table)
    failed = f", {found['failed']} of them diverged" if found["failed"] else ""
    _console().print(
        f"[dim]Accuracy: {found['objective'].removesuffix(' (%)')}. {len(found['trials'])} trials{failed}. The best of "
        "many trials is an optimistic estimate: other seeds will do somewhat worse.[/]"
    )


def print_landscape(numbers: Mapping[str, Any]) -> None:
    """What was evaluated, with what error, and how rough the surface is."""
    console = _console()
    console.print(f"loss from {numbers['smallest_loss']:.4g} to {numbers['largest_loss']:.4g}", highlight=False)
    for done, error, span in zip(
        *(_as_list(numbers[name]) for name in ("evaluated", "interpolation_error", "range")), strict=True
    ):
        share = f", {100 * error / span:.2g} % of the range" if span > 0 else ""
        scale = "log loss" if numbers["scale"] == "log" else "loss"
        rest = f"; error of the others {error:.2g} in {scale}{share}" if done < numbers["points"] else ""
        console.print(f"{done:,} of {numbers['points']:,} points evaluated{rest}", highlight=False)
    console.print(f"[dim]{numbers['samples']:,} of {numbers['total_samples']:,} samples; {escape(numbers['how'])}[/]")
    if "explained" in numbers:
        console.print(f"variance of the path: {', '.join(f'{100 * e:.1f} %' for e in numbers['explained'])}")
    if "roughness" in numbers:
        table = Table("roughness", "mean", "deviation over planes", box=box.SIMPLE_HEAD)
        for name, row in numbers["roughness"].items():
            table.add_row(name.replace("_", " "), _number(row["mean"]), _number(row["deviation"]))
        console.print(table)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
