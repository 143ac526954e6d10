"""How far work is, on standard error."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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
