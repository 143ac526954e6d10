"""Arguments, checked: what is wrong with one is told in one line that names it."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import operator
import os
import re
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, TypeVar

from nonsingular.errors import InputError, a_kind
from nonsingular.spelling import in_place_of, keywords

if typing.TYPE_CHECKING:
    import torch

F = TypeVar("F", bound=Any)
_NOTHING = object()

# --- numbers and names --------------------------------------------------------------------------------------


def positive(**values: float) -> None:
    """Every keyword is a finite number above 0.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if not (_is_number(value) and math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be a finite number above 0, got {shown(value)}")


def at_least(low: int, **values: int) -> None:
    """Every keyword is a whole number of at least ``low``.

    Raises:
        InputError: naming the first one that is not.

    >>> at_least(1, runs=-3)
    Traceback (most recent call last):
    nonsingular.errors.InputError: runs must be a whole number of at least 1, got -3
    """
    for name, value in values.items():
        if not (_is_whole(value) and value >= low):
            raise InputError(f"{name} must be a whole number of at least {low}, got {shown(value)}")


def one_of(options: tuple[str, ...], **values: str) -> None:
    """Every keyword is one of ``options``.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if not any(value is option or (isinstance(value, str) and value == option) for option in options):
            raise InputError(f"{name} must be one of {', '.join(options)}, got {shown(value)}")


def not_empty(**values: Any) -> None:
    """Every keyword holds something.

    Raises:
        InputError: naming the first one that does not.
    """
    for name, value in values.items():
        if len(value) == 0:
            raise InputError(f"{name} is empty: give at least one")


def as_many(**values: Any) -> None:
    """All keywords hold equally many, one or more.

    Raises:
        InputError: they do not.

    >>> as_many(networks=["a", "b"], seeds=[0])
    Traceback (most recent call last):
    nonsingular.errors.InputError: networks and seeds must be as many, got 2 and 1
    """
    not_empty(**values)
    if len({len(value) for value in values.values()}) > 1:
        raise InputError(
            f"{' and '.join(values)} must be as many, got {' and '.join(str(len(v)) for v in values.values())}"
        )


def row(**values: Any) -> None:
    """Every keyword is an array of one axis that is not empty.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if len(value.shape) != 1 or not value.shape[0]:
            raise InputError(f"{name} must be a row of numbers, got shape {list(value.shape)}")


def alike(**values: Any) -> None:
    """All keywords are arrays of shapes that go together, as NumPy has it.

    Raises:
        InputError: they do not.
    """
    import numpy as np

    shapes = [value.shape for value in values.values()]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        told = " and ".join(str(list(shape)) for shape in shapes)
        raise InputError(f"{' and '.join(values)} must have shapes that go together, got {told}") from None


def axes(least: int, **values: Any) -> None:
    """Every keyword is a tensor of so many axes, or more.

    Raises:
        InputError: naming the first one that is not.
    """
    for name, value in values.items():
        if len(value.shape) < least:
            raise InputError(f"{name} must have {least} axes or more, got shape {list(value.shape)}")


def device(given: Any) -> torch.device:
    """A device of PyTorch's, by its name.

    Raises:
        InputError: there is none of this name.
    """
    import torch

    try:
        return torch.device(given)
    except (RuntimeError, TypeError):
        raise InputError(
            f"device must be a torch.device or its name, such as 'cpu' or 'cuda:0', got {shown(given)}"
        ) from None


# --- kinds --------------------------------------------------------------------------------------------------


def checked(called: F) -> F:
    """The same function, or class, that tells an argument of the wrong kind by its name.

    Its annotations say what the kinds are. Numbers and strings are looked at before; other kinds only where the
    function fails, so that whatever works in the place of one is taken.
    """
    if isinstance(called, type):
        if "__init__" in vars(called):
            called.__init__ = checked(called.__init__)  # type: ignore[misc]
        return called

    plain: list[tuple[str, int, Any]] = []

    def refuse(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not plain:
            plain.extend(_plain(called) or [("", sys.maxsize, Any)])
        if named and _has_misspelt(called, named):
            return  # which is told first, by whoever takes them
        for name, place, hint in plain:
            value = named[name] if name in named else arguments[place] if place < len(arguments) else _NOTHING
            if value is not _NOTHING and not _fits(value, hint):
                raise InputError(f"{name} must be {_words(hint)}, got {shown(value)}")

    def told(arguments: tuple[Any, ...], named: dict[str, Any], error: Exception) -> None:
        from nonsingular.places import raised_in

        if isinstance(error, InputError) or raised_in(error):  # an error of the user's own code is theirs to read
            return
        if said := _mistaken(called, arguments, named):
            raise InputError(said) from error

    def checking(*arguments: Any, **named: Any) -> Any:
        refuse(arguments, named)
        try:
            return called(*arguments, **named)
        except Exception as error:
            told(arguments, named, error)
            raise

    return in_place_of(called, checking)


def shown(value: Any) -> str:
    """What was given, in a word or two.

    >>> shown("a"), shown(None), shown([1]), shown(int)
    ("'a'", 'None', 'a list', 'the class int')
    """
    if value is None or isinstance(value, str | numbers.Number):
        return repr(value) if len(repr(value)) <= 40 else a_kind(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, FunctionType):
        return "a function"
    shape = getattr(value, "shape", None)
    return f"{a_kind(value)} of shape {list(shape)}" if isinstance(shape, tuple) else a_kind(value)


def _plain(function: Callable[..., Any]) -> list[tuple[str, int, Any]]:
    """Name, place and kind of each argument that is a number or a string, or may be None instead."""
    inner = inspect.unwrap(function)
    parameters = [
        p for p in inspect.signature(inner).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    places = [sys.maxsize if p.kind is p.KEYWORD_ONLY else place for place, p in enumerate(parameters)]
    hints = [_evaluated(p.annotation, inner) for p in parameters]
    return [(p.name, n, hint) for p, n, hint in zip(parameters, places, hints, strict=True) if _is_plain(hint)]


@functools.cache
def _keywords(function: Callable[..., Any]) -> tuple[list[str], bool]:
    return keywords(inspect.unwrap(function))


def _has_misspelt(function: Callable[..., Any], named: dict[str, Any]) -> bool:
    known, open_ = _keywords(function)
    return not open_ and not named.keys() <= set(known)


def _is_plain(hint: Any) -> bool:
    parts = set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}
    return bool(parts) and parts <= {int, float, str, type(None)} and parts != {type(None)}


def _mistaken(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    """What is wrong with the first argument that is of another kind than the function asks for; "" where none is."""
    inner = inspect.unwrap(function)
    try:
        given = inspect.signature(inner).bind(*arguments, **named)
    except TypeError:  # Python says it
        return ""
    for name, value, hint in _with_hints(inner, given):
        if not _fits(value, hint):
            return f"{name} must be {_words(hint)}, got {shown(value)}"
    return ""


def _with_hints(function: Callable[..., Any], given: inspect.BoundArguments) -> Iterator[tuple[str, Any, Any]]:
    """Each argument that was given with its kind, where that is known."""
    for name, value in given.arguments.items():
        parameter = given.signature.parameters[name]
        hint = _evaluated(parameter.annotation, function)
        if parameter.kind is parameter.VAR_KEYWORD:
            options = typing.get_args(hint)
            hints = typing.get_type_hints(options[0]) if options else {}
            yield from ((n, v, hints[n]) for n, v in value.items() if n in hints)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            yield from ((name, v, hint) for v in value)
        else:
            yield name, value, hint


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        return eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation  # our own words
    except Exception:  # a name that only a type checker imports, or a shape that only a reader understands
        whole = re.match(rf"(?:{'|'.join(_ENTRIES)})\[(\w+),", annotation)
        return _evaluated(whole[1], function) if whole else Any


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a kind, as far as can be told by looking at it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if _is_array_like(hint):
        return _are_numbers(value) or (value is None and type(None) in parts)
    if _is_union(hint):
        return any(_fits(value, part) for part in parts)
    if hint is None or hint is type(None):
        return value is None
    if origin is typing.Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if hint in _PLAIN:
        return _PLAIN[hint][0](value)
    if origin is abc.Callable or hint is Callable:
        return callable(value)
    if origin in _SEVERAL:
        return _SEVERAL[origin][0](value) and _all_fit(value, origin, parts)
    if isinstance(hint, type) and getattr(hint, "_is_protocol", False):
        return all(hasattr(value, name) for name in _members(hint)) and not isinstance(value, type)
    if not isinstance(hint, type) or typing.is_typeddict(hint):
        return True
    try:
        return isinstance(value, hint)
    except TypeError:
        return True


def _all_fit(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    """Whether the first of several values are of the kind that all of them are."""
    if origin is tuple:
        each = parts[:1] * len(value) if parts[-1:] == (...,) else parts
        return len(each) == len(value) and all(map(_fits, value, each))
    if issubclass(origin, abc.Mapping):
        return all(_fits(key, parts[0]) and _fits(v, parts[1]) for key, v in list(value.items())[:8])
    if _is_several(value) and parts:
        return all(_fits(v, parts[0]) for v in value[:8])
    return True


def _words(hint: Any) -> str:
    """A kind, as people call it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if _is_array_like(hint):
        return "numbers or None" if type(None) in parts else "numbers"
    if _is_union(hint):
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if hint is None or hint is type(None):
        return "None"
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if hint in _PLAIN:
        return _PLAIN[hint][1]
    if origin is abc.Callable or hint is Callable:
        return "a function"
    if origin in _SEVERAL:
        return _SEVERAL[origin][1]
    if hasattr(hint, "dim_str"):  # jaxtyping's
        kind = _ENTRIES.get(hint.__name__.partition("[")[0], "numbers")
        return f"{_words(hint.array_type)} [{hint.dim_str.strip()}] of {kind}"
    name = getattr(hint, "__name__", str(hint))
    module = "torch.nn." if getattr(hint, "__module__", "").startswith("torch.nn.") else ""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {module}{name}"


def _members(protocol: type) -> list[str]:
    own = {name for base in protocol.__mro__ if getattr(base, "_is_protocol", False) for name in vars(base)}
    named = {name for base in protocol.__mro__ for name in vars(base).get("__annotations__", ())}
    return [name for name in own | named if not name.startswith("_") or name in ("__call__", "__matmul__")]


def _is_array_like(hint: Any) -> bool:
    if not _is_union(hint):
        return False
    from numpy.typing import ArrayLike

    return set(typing.get_args(ArrayLike)) <= set(typing.get_args(hint))


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def _are_numbers(value: Any) -> bool:
    import numpy as np

    try:
        return value is not None and np.asarray(value).dtype.kind in "biufc"
    except Exception:  # rows of unlike lengths
        return False


def _is_number(value: Any) -> bool:
    if isinstance(value, str) or callable(value):
        return False
    return isinstance(value, numbers.Real) or (hasattr(value, "__float__") and getattr(value, "shape", ()) == ())


def _is_whole(value: Any) -> bool:
    try:  # a tensor of floats has an index too, which fails
        operator.index(value)
    except (TypeError, RuntimeError):
        return False
    return getattr(value, "shape", ()) == ()


def _is_several(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str | bytes | Mapping)


_ENTRIES = {
    "Float": "floats", "Complex": "complex numbers", "Bool": "booleans", "Int": "integers", "Integer": "integers",
    "Int64": "integers",
}  # fmt: skip
_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    Any: (lambda value: True, "anything"),
    int: (_is_whole, "a whole number"),
    float: (_is_number, "a number"),
    bool: (lambda value: isinstance(value, numbers.Number) or type(value).__name__ == "bool", "True or False"),
    str: (lambda value: isinstance(value, str), "a string"),
    os.PathLike: (lambda value: isinstance(value, str | os.PathLike), "a path"),
}
_SEVERAL: dict[Any, tuple[Callable[[Any], bool], str]] = {
    abc.Sequence: (_is_several, "a list"),
    list: (_is_several, "a list"),
    tuple: (lambda value: isinstance(value, tuple | list), "a tuple"),
    abc.Iterable: (lambda value: hasattr(value, "__iter__") and not isinstance(value, str), "an iterable"),
    abc.MutableMapping: (lambda value: isinstance(value, abc.MutableMapping), "a dictionary"),
    abc.Mapping: (lambda value: isinstance(value, Mapping), "a dictionary"),
    dict: (lambda value: isinstance(value, Mapping), "a dictionary"),
}
