"""What the user's own code calls a thing, and where it makes it; functions at one of its lines."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

from nonsingular.places import Place, is_library, user_frame

T = TypeVar("T")


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
