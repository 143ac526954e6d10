"""How far work is, on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nonsingular.progress import heard_by

SECONDS = 10.0
"""Between two lines."""
BAR_LEAST, BAR_MOST = 8, 40
"""Characters of a bar."""


class Bar:
    """Progress with rate and time left.

    Within its ``with`` block it hears what the library tells by `nonsingular.progress`; commands may tell it directly.

    Args:
        clock: seconds.
        wait: for so many seconds; True once nothing more is to be told.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wait: Callable[[float], bool] | None = None
    ) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(), _Line(console), console=console, disable=not console.is_terminal, transient=True
        )
        self._stretches: list[_Stretch] = []  # each within the one before
        self._note = ""
        self._over = threading.Event()
        self._clock, self._wait = clock, wait or self._over.wait
        self._heard = ExitStack()

    def __enter__(self) -> Bar:
        self._heard.enter_context(heard_by(self))
        self._bar.start()
        if self._bar.disable:
            threading.Thread(target=self._say, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._bar.stop()
        self._heard.close()

    def start(self, name: str, total: int | None, unit: str = "net-steps") -> None:
        """A stretch of work of the command's own begins; what was before is over."""
        while self._stretches:
            self.end()
        self.begin(name, total, unit)

    def begin(self, name: str, total: int | None, unit: str) -> None:
        """A stretch begins, within the one that is going on."""
        task = self._bar.add_task(name, total=total, done="", rate="", more=False)
        self._stretches.append(_Stretch(name, total, unit, task, self._clock()))

    def end(self) -> None:
        """The latest stretch is over: nothing more is shown of it."""
        self._bar.remove_task(self._stretches.pop().task)

    def advance(self, steps: int = 1) -> None:
        """Part of the command's own stretch is done."""
        if self._stretches:
            self._advance(self._stretches[0], steps)

    def count(self, unit: str, number: int) -> None:
        """Likewise of the innermost one that is counted in this unit."""
        if (found := self._counted_in(unit)) is not None:
            self._advance(found, number)

    def expect(self, unit: str, total: int, more: bool = False) -> None:
        """It turns out to have so many, or at least so many."""
        if (found := self._counted_in(unit)) is not None:
            found.total, found.more = total, more
            self._bar.update(found.task, total=total, done=found.amount(), more=more)

    def note(self, what: str) -> None:
        """A line on what has been done."""
        if self._bar.disable:
            self._note = what
        else:
            self._bar.console.print(f"[dim]{escape(what)}[/]", highlight=False)

    def _counted_in(self, unit: str) -> _Stretch | None:
        return next((s for s in reversed(self._stretches) if s.unit == unit), None)

    def _advance(self, stretch: _Stretch, number: int) -> None:
        stretch.done += number
        self._bar.advance(stretch.task, number)
        speed = next(t.speed for t in self._bar.tasks if t.id == stretch.task)
        rate = f"{_short(speed)} {stretch.unit}/s" if speed else ""
        self._bar.update(stretch.task, done=stretch.amount(), rate=rate)

    def _say(self) -> None:
        """A line, again and again, until nothing more is to be told."""
        began = self._clock()
        while not self._wait(SECONDS):
            now = self._clock()
            told = [s.line(now) for s in list(self._stretches)] or ["working"]
            line = f"{_duration(now - began)}  {'; '.join(told)}" + (f", last: {self._note}" if self._note else "")
            with suppress(OSError, ValueError):  # nobody reads it, or it is closed
                sys.stderr.write(line + "\n")
                sys.stderr.flush()


class _Line(ProgressColumn):
    """A stretch in one line of any width: what it is and the time left are kept, then come amount, bar and rate."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Table:
        """As much as there is room for."""
        left = "" if task.time_remaining is None else _left(task.time_remaining, task.fields["more"])
        elapsed = "" if task.elapsed is None else _duration(task.elapsed)
        room = self._console.width - 3 - len(left)  # of the spinner, and a gap
        name = Text(task.description)
        name.truncate(max(8, room), overflow="ellipsis")
        room -= len(name) + 1
        shown = {"done": task.fields["done"], "left": left, "rate": task.fields["rate"], "elapsed": elapsed}
        for what in ("done", "bar", "rate", "elapsed"):
            needs = BAR_LEAST + 1 if what == "bar" else len(shown[what]) + 1
            if needs > room:
                shown[what] = ""
            else:
                room -= needs
                shown.setdefault(what, "shown")
        bar = ProgressBar(
            total=task.total, completed=task.completed, width=min(BAR_MOST, BAR_LEAST + room),
            pulse=task.total is None, animation_time=task.get_time(),
        )  # fmt: skip
        cells = [name, bar if shown["bar"] else "", *(shown[what] for what in ("done", "left", "rate", "elapsed"))]
        line = Table.grid(padding=(0, 1))
        line.add_row(*filter(None, cells))
        return line


class _Stretch:
    """What a stretch of work has come to."""

    def __init__(self, name: str, total: int | None, unit: str, task: TaskID, now: float) -> None:
        self.name, self.total, self.unit, self.task = name, total, unit, task
        self.done, self.more = 0, False
        self._seen = deque([(now, 0)], maxlen=7)

    def amount(self) -> str:
        """How much is done, of how much."""
        return f"{self.done:,}" + ("" if self.total is None else f"/{self.total:,}")

    def line(self, now: float) -> str:
        """All that is known; the rate is that of the last lines."""
        self._seen.append((now, self.done))
        (since, before), (_, done) = self._seen[0], self._seen[-1]
        rate = (done - before) / max(now - since, 1e-9)
        parts = [f"{self.name}: {self.amount()} {self.unit}" if self.done else self.name]
        if rate > 0 and self.done != self.total:
            parts.append(f"{_short(rate)} {self.unit}/s")
            if self.total is not None:
                parts.append(_left(max(0, self.total - done) / rate, self.more))
        return ", ".join(parts)


def _left(seconds: float, more: bool) -> str:
    return f"{'at least ' if more else ''}{_duration(seconds)} left"


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
