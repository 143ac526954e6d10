"""Misspelt keywords, told by the name that was called and the nearest one that there is.

Python tells them by the function that fails in the end, which a user has not called: that of a base class, or one that
takes its caller's options.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Collection, Iterable
from types import FunctionType
from typing import Any, TypeVar

F = TypeVar("F", bound=Any)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, if one is near.

    >>> nearest("metod", ["method", "window"])
    'method'
    """
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


def refuse_unknown(called: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse keywords that there are not.

    Raises:
        TypeError: as Python does.

    >>> refuse_unknown("Hessian", ["param"], ["params", "seed"])
    Traceback (most recent call last):
    TypeError: Hessian() takes no keyword 'param'; did you mean 'params'?
    """
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"{called}() takes no keyword {name!r}; {hint}")


def spelled(function: F) -> F:
    """The same function, or ``__init__`` of a class, that tells a misspelt keyword by the name that was called."""

    def check(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        own, open_ = keywords(function)
        if open_ or named.keys() <= set(own):
            return
        if function.__name__ != "__init__":
            refuse_unknown(function.__name__, named, own)
        kind = type(arguments[0])
        refuse_unknown(kind.__name__, [n for n in named if n not in own], keywords_of(kind))

    def checked(*arguments: Any, **named: Any) -> Any:
        if named:
            check(arguments, named)
        return function(*arguments, **named)

    return in_place_of(function, checked)


def in_place_of(function: F, wrapper: Callable[..., Any]) -> F:
    """A wrapper as a function of the module that its function is of, where doctest looks for its examples."""
    found = FunctionType(wrapper.__code__, function.__globals__, function.__name__, None, wrapper.__closure__)
    return typing.cast(F, functools.update_wrapper(found, function))


def keywords(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """The keywords of a function, those of ``**options: Unpack[...]`` among them, and whether it takes any other."""
    found: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            found.append(name)
        elif parameter.kind == parameter.VAR_KEYWORD:
            options = typing.get_args(eval(parameter.annotation, function.__globals__))  # what the module itself wrote
            if not options:
                return found, True
            found += options[0].__annotations__
    return [name for name in found if name != "self"], False


def keywords_of(kind: type) -> list[str]:
    """The keywords of a class: its own, and those that it hands on to what it is made of."""
    found: list[str] = []
    for base in kind.__mro__:
        if "__init__" in vars(base):
            own, handed_on = keywords(vars(base)["__init__"])
            found += [name for name in own if name not in found]
            if not handed_on:
                break
    return found
