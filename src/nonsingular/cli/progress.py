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
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nonsingular.progress import heard_by

SECONDS = 10.0
"""Between two lines."""


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
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
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
        task = self._bar.add_task(escape(name), total=total, done="", rate="")
        self._stretches.append(_Stretch(name, total, unit, task, self._clock()))

    def end(self) -> None:
        """The latest stretch is over."""
        over = self._stretches.pop()
        if self._stretches:
            self._bar.remove_task(over.task)
        else:
            self._bar.stop_task(over.task)

    def advance(self, steps: int = 1) -> None:
        """Part of the command's own stretch is done."""
        if self._stretches:
            self._advance(self._stretches[0], steps)

    def count(self, unit: str, number: int) -> None:
        """Likewise of the innermost one that is counted in this unit."""
        if (found := self._counted_in(unit)) is not None:
            self._advance(found, number)

    def expect(self, unit: str, total: int) -> None:
        """It turns out to have so many."""
        if (found := self._counted_in(unit)) is not None:
            found.total = total
            self._bar.update(found.task, total=total, done=found.amount())

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


class _Stretch:
    """What a stretch of work has come to."""

    def __init__(self, name: str, total: int | None, unit: str, task: TaskID, now: float) -> None:
        self.name, self.total, self.unit, self.task = name, total, unit, task
        self.done = 0
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
                parts.append(f"{_duration(max(0, self.total - done) / rate)} left")
        return ", ".join(parts)


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
