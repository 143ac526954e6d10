"""How far work is, on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nonsingular.progress import heard_by

SECONDS = 10.0
"""Between two lines; a tenth of the time that has passed where that is longer, up to a minute."""


class Bar:
    """Progress with rate and time left.

    Within its ``with`` block it hears what the library tells by `nonsingular.progress`; commands may tell it directly.
    """

    def __init__(self) -> None:
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
        self._task: TaskID | None = None
        self._state = _State("", None, "")
        self._over = threading.Event()
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
        """A stretch of work begins."""
        again = self._task is not None and name == self._state.name
        self._state = _State(name, total, unit)
        if again and self._task is not None:
            self._bar.reset(self._task, total=total)
        else:
            self._task = self._bar.add_task(escape(name), total=total, done="", rate="")

    def advance(self, steps: int = 1) -> None:
        """Part of it is done."""
        if self._task is None:
            return
        self._state.done += steps
        self._bar.advance(self._task, steps)
        speed = self._bar.tasks[-1].speed
        rate = f"{_short(speed)} {self._state.unit}/s" if speed else ""
        self._bar.update(self._task, done=self._state.amount(), rate=rate)

    def count(self, unit: str, number: int) -> None:
        """Likewise, if it is counted in this unit."""
        if unit == self._state.unit:
            self.advance(number)

    def note(self, what: str) -> None:
        """A line on what has been done."""
        if self._bar.disable:
            self._state.note = what
        else:
            self._bar.console.print(f"[dim]{escape(what)}[/]", highlight=False)

    def _say(self) -> None:
        began = time.monotonic()
        pause = SECONDS
        while not self._over.wait(pause):
            passed = time.monotonic() - began
            with suppress(OSError, ValueError):  # nobody reads it, or it is closed
                sys.stderr.write(self._state.line(passed) + "\n")
                sys.stderr.flush()
            pause = max(SECONDS, min(6 * SECONDS, passed / 10))


class _State:
    """What a stretch of work has come to."""

    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self.note = 0, ""
        self._seen = deque([(time.monotonic(), 0)], maxlen=7)

    def amount(self) -> str:
        """How much is done, of how much."""
        return f"{self.done:,}" + ("" if self.total is None else f"/{self.total:,}")

    def line(self, passed: float) -> str:
        """All that is known, in a line; the rate is that of the last lines."""
        self._seen.append((time.monotonic(), self.done))
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        rate = (done - before) / max(now - since, 1e-9)
        parts = [f"{self.name or 'working'}: {self.amount()} {self.unit}" if self.done else self.name or "working"]
        if rate > 0:
            parts.append(f"{_short(rate)} {self.unit}/s")
            if self.total is not None:
                parts.append(f"{_clock(max(0, self.total - done) / rate)} left")
        if self.note:
            parts.append(f"last: {self.note}")
        return f"{_clock(passed)}  {', '.join(parts)}"


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
