"""Standard output and error: what happens when nobody reads them, and that ``--json`` prints nothing but JSON."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from nonsingular.files import to_json

_answer: TextIO | None = None


def secure() -> None:
    """From now on a reader that has gone (``| head``), or a stream that was closed, stops no work.

    What is printed then is lost, and the exit status stays that of the work. Characters that the stream's encoding does
    not have are replaced.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: without this the next file that is opened would be printed into
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for good)
        elif isinstance(stream, io.TextIOWrapper) and stream.fileno() == number:
            stream.flush()
            secured = io.TextIOWrapper(
                io.BufferedWriter(_Descriptor(number, "w", closefd=False)),
                stream.encoding,
                "replace" if stream.errors == "strict" else stream.errors,
                line_buffering=stream.line_buffering or name == "stderr",
            )
            setattr(sys, name, secured)


class _Descriptor(io.FileIO):
    """A file descriptor that becomes ``/dev/null`` when nobody reads it any more."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except BrokenPipeError:
            _close(self.fileno())
            return len(content)


def finished(status: int) -> int:
    """Nothing is left to print, also where it cannot be printed (a full disk); gives the status back."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _close(number)
            stream.flush()
    return status


def _close(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


@contextlib.contextmanager
def only_json() -> Iterator[None]:
    """Within: whatever anybody prints, a user's model included, goes to standard error, but for ``print_json``."""
    global _answer
    before, _answer = _answer, sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _answer = before


def print_json(document: Any) -> None:
    """A command's answer for programs, on standard output."""
    print(to_json(document), file=_answer or sys.stdout)
