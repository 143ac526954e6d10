"""Ctrl-C ends the process soon, whatever library call it meets."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = "interrupted; what was finished is kept, add --resume to go on"
STATUS = 130
PATIENCE = 1.0
"""Seconds that unwinding may take: files are whole or absent at any moment, so that nothing is lost after them."""


def promise() -> None:
    """From now on let Ctrl-C raise ``KeyboardInterrupt`` and, where that takes too long, end the process all the same.

    Python sees a signal between two calls into a library. Some of these take a minute, others swallow the exception.
    A second Ctrl-C ends the process at once.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, lambda number, frame: leave())
        timer = threading.Timer(PATIENCE, leave)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def leave(said: bool = False) -> None:
    """End the process without taking the libraries down, which alone can take seconds.

    Args:
        said: whether the user has been told already.
    """
    if not said:
        os.write(2, f"\nnonsingular: {INTERRUPTED}\n".encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(STATUS)
