"""How far work is, on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nonsingular.progress import heard_by
from nonsingular.words import duration

SECONDS = 10.0
"""Between two lines."""
WIDTH = 80
"""Characters of such a line at most."""
BAR_LEAST, BAR_MOST = 8, 40
"""Characters of a bar."""
LONG = 300.0
"""Seconds from which on it is said how to wait less."""
SURE = 10.0
"""Seconds after which a rate is believed."""


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
        self._shorter: Callable[[str, float], str] = lambda name, seconds: ""
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

    def suggest(self, shorter: Callable[[str, float], str]) -> None:
        """Have it said once how to wait less, where a stretch turns out to take minutes.

        Args:
            shorter: name of the stretch, seconds that it takes in all -> what takes less, and how long that takes; ""
                where nothing does.
        """
        self._shorter = shorter

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
        rate = _rate(speed, stretch.unit) if speed else ""
        self._bar.update(stretch.task, done=stretch.amount(), rate=rate)
        if not stretch.long and (seconds := stretch.whole(self._clock())) >= LONG:
            stretch.long = True
            if shorter := self._shorter(stretch.name, seconds):
                self._tell(f"{stretch.name}: {duration(seconds)} in all; {shorter}")

    def _tell(self, line: str) -> None:
        """A line that stays."""
        if self._bar.disable:
            sys.stderr.write(f"{line}\n")
        else:
            self._bar.console.print(escape(line), highlight=False)

    def _say(self) -> None:
        """A line, again and again, until nothing more is to be told."""
        began = self._clock()
        while not self._wait(SECONDS):
            now = self._clock()
            told = [s.line(now) for s in list(self._stretches)] or ["working"]
            last = [f"last: {self._note}"] if self._note else []
            line = _fitting([f"{_duration(now - began)}  {told[0]}", *told[1:], *last])
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
        self.done, self.more, self.long = 0, False, False
        self._began = now
        self._seen = deque([(now, 0)], maxlen=7)

    def whole(self, now: float) -> float:
        """Seconds that all of it takes; 0 where nobody knows yet."""
        passed = now - self._began
        return passed * self.total / self.done if self.total and self.done and passed >= SURE else 0.0

    def amount(self) -> str:
        """How much is done, of how much."""
        return f"{self.done:,}" + ("" if self.total is None else f"/{self.total:,}")

    def line(self, now: float) -> str:
        """All that is known; the rate is that of the last lines."""
        self._seen.append((now, self.done))
        (since, before), (_, done) = self._seen[0], self._seen[-1]
        rate = (done - before) / max(now - since, 1e-9)
        unit = _unit(str(self.total or self.done), self.unit)
        parts = [f"{self.name}: {self.amount()} {unit}" if self.done else self.name]
        if rate > 0 and self.done != self.total:
            parts.append(_rate(rate, self.unit))
            if self.total is not None:
                parts.append(_left(max(0, self.total - done) / rate, self.more))
        return ", ".join(parts)


def _fitting(parts: Sequence[str]) -> str:
    """The first of some parts, cut where it is too long, and those of the others for which there is room."""
    line = parts[0] if len(parts[0]) <= WIDTH else f"{parts[0][: WIDTH - 1]}…"
    for part in parts[1:]:
        if len(line) + len("; ") + len(part) <= WIDTH:
            line = f"{line}; {part}"
    return line


def _left(seconds: float, more: bool) -> str:
    return f"{'at least ' if more else ''}{_duration(seconds)} left"


def _rate(rate: float, unit: str) -> str:
    number = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"{number} {_unit(number, unit)}/s"


def _unit(number: str, unit: str) -> str:
    """A unit is given in the plural."""
    return unit.removesuffix("s") if number == "1" else unit


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
