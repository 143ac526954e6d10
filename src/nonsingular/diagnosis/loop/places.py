"""Where in the user's own code something happens: the innermost line that belongs to no library."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from sysconfig import get_path
from types import FrameType, FunctionType
from typing import TypeVar

import torch

T = TypeVar("T")
_OURS = str(Path(__file__).resolve().parents[2])
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


def at_line(function: Callable[..., T], place: Place | None) -> Callable[..., T]:
    """The same function, its last line taken for one of the user's, whose calls it makes again."""
    if place is None:
        return function
    if not isinstance(function, FunctionType):
        return at_line(lambda *arguments, **named: function(*arguments, **named), place)
    code = function.__code__
    last = max(line for *_, line in code.co_lines() if line is not None)
    code = code.replace(co_filename=place.file, co_firstlineno=code.co_firstlineno + place.line - last)
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)


def assigned(thing: object) -> Place | None:
    """Where the user's file makes an object that has a name there; None unless it has exactly one such line."""
    frame, name, kind = user_frame(), variable(thing), type(thing).__name__
    if frame is None or not name:
        return None
    file = frame.f_code.co_filename
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).rpartition(".")[2] == kind
        and any(ast.unparse(target).removeprefix("self.") == name for target in node.targets)
    ]
    return Place(file, lines[0]) if len(lines) == 1 else None


def user_frame() -> FrameType | None:
    """The innermost frame of the user's own code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


@cache
def is_library(file: str) -> bool:
    """Whether a file is Python's, this library's or an installed package's: none of the user's own."""
    return file.startswith(("<", *_LIBRARIES)) or "/site-packages/" in file or "/dist-packages/" in file


def variable(thing: object) -> str:
    """The name under which the user's code knows an object where it is now; "" where it has none."""
    frame = user_frame()
    while frame is not None:
        if not is_library(frame.f_code.co_filename):
            for names in (frame.f_locals, frame.f_globals):
                found = next((n for n, v in list(names.items()) if v is thing and not n.startswith("_")), None)
                if found is None:
                    owner = names.get("self")
                    found = next((n for n, v in list(getattr(owner, "__dict__", {}).items()) if v is thing), None)
                if found is not None:
                    return found
        frame = frame.f_back
    return ""
