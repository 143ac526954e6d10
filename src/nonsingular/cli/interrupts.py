"""Ctrl-C ends the process soon, whatever library call it meets."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

STATUS = 130
PATIENCE = 1.0
"""Seconds that unwinding may take: files are whole or absent at any moment, so that nothing is lost after them."""
_how: list[str] = []
"""The command line that goes on with what was interrupted; empty where nothing is kept."""


def begin() -> None:
    """A command line is run: nothing is kept of it yet."""
    _how.clear()


def resumable(arguments: Sequence[str] | None = None) -> None:
    """From now on what was finished is kept, and the same command line goes on with it by ``--resume``.

    Args:
        arguments: of the command line; by default this process's own.
    """
    given = [a for a in (sys.argv[1:] if arguments is None else arguments) if a not in ("--resume", "--replace")]
    _how[:] = ["nonsingular", *given, "--resume"]


def interrupted() -> str:
    """What is said, in one line."""
    return f"interrupted; go on with: {shlex.join(_how)}" if _how else "interrupted"


def promise() -> None:
    """From now on let Ctrl-C raise ``KeyboardInterrupt`` and, where that takes too long, end the process all the same.

    Python raises between two calls into a library. Some of these take a minute, others swallow the exception. So a
    thread is told of the signal as the system delivers it, whatever the main thread does, as long as that has let go
    of the interpreter. A second Ctrl-C ends the process at once. Of one that Python itself cannot raise, as while an
    object is taken away, it would print a traceback: that ends like one which a library swallows.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), daemon=True).start()
    sys.unraisablehook = _without_interrupts(sys.unraisablehook)


def _without_interrupts(tell: Callable[[Any], object]) -> Callable[[Any], None]:
    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            tell(unraisable)

    return hook


@contextmanager
def given_away() -> Iterator[None]:
    """Within: Ctrl-C is a ``KeyboardInterrupt`` for a user's own code, which may take its time with it."""
    before = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)


def _watch(told: int) -> None:
    """Wait for a first Ctrl-C, then for a second one or until patience ends."""
    while signal.SIGINT not in os.read(told, 1):
        pass
    select.select([told], [], [], PATIENCE)
    os.write(2, f"\nnonsingular: {interrupted()}\n".encode())  # not by a stream, which the main thread may hold
    os._exit(STATUS)


def leave() -> None:
    """End the process without taking the libraries down, which alone can take seconds."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(STATUS)
