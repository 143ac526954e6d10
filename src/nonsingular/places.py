"""Where in the user's own code something happens: the innermost line that belongs to no library."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from sysconfig import get_path
from types import FrameType

import torch

from nonsingular.errors import LibraryWarning

_OURS = str(Path(__file__).resolve().parent)
_LIBRARIES = tuple({f"{p}/" for p in (_OURS, Path(torch.__file__).parent, *map(get_path, ("stdlib", "platstdlib")))})


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        path = Path(self.file)
        try:
            return f"{path.relative_to(Path.cwd())}:{self.line}"
        except ValueError:
            return f"{self.file}:{self.line}"


def here() -> Place | None:
    """The user's line that is being executed; None where there is none, as in a thread of a library."""
    frame = user_frame()
    return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def raised_in(error: BaseException) -> str:
    """Where the user's code raised an error, or called what did, as the end of a message; "" where it has no part."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_library(f.filename)]
    return f" ({os.path.relpath(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""


def warn(message: str) -> None:
    """Warn at the user's line, however deep in this library the call is."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and is_library(frame.f_code.co_filename):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, LibraryWarning, stacklevel=depth)


def user_frame() -> FrameType | None:
    """The innermost frame of the user's own code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def user_frames() -> Iterator[FrameType]:
    """Frames of the user's own code, innermost first."""
    frame = user_frame()
    while frame is not None:
        if not is_library(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


@cache
def is_library(file: str) -> bool:
    """Whether a file is Python's, this library's or an installed package's: none of the user's own."""
    return file.startswith(("<", *_LIBRARIES)) or "/site-packages/" in file or "/dist-packages/" in file
