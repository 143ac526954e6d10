"""A user's class or function in a spec: its name, and a hash by which another version of it is recognised.

Hashed are its source, the numbers it closes over or has as defaults, and the globals that it names: functions and
classes of the user's by their own fingerprints, modules of the user's by their whole source, what is installed by name.
What no version can be told of, such as a random generator, is refused: results of one would be mixed with another's.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonsingular.errors import InputError

INSTALLED = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {Path(__file__).resolve().parents[1]}
)
"""Folders whose code is known by its name: Python's, those of installed packages, and this one's."""
Seen = dict[int, Any]
"""Objects that were looked at, by their ids: kept, so that no other gets the id of one."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, np.dtype)


def fingerprint(factory: Any) -> dict[str, str]:
    """Of a class or function, or of another object that is part of a spec.

    Raises:
        InputError: it depends on an object that cannot be told from another one.
    """
    name = str(getattr(factory, "__qualname__", None) or repr(factory))
    ours = not isinstance(factory, (type, types.FunctionType, types.MethodType, partial)) and _installed(type(factory))
    return {"name": name, "source": _hash([] if ours else _parts(factory, name, {}))}


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _parts(value: Any, where: str, seen: Seen) -> list[str]:
    """What makes a value what it is, as text."""
    if isinstance(value, PLAIN):
        return [repr(value)]
    if id(value) in seen:
        return ["as above"]
    seen[id(value)] = value
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        return [str(array.shape), str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return ["{", *(p for k, v in value.items() for p in (*_parts(k, where, seen), *_parts(v, where, seen))), "}"]
    if isinstance(value, (list, tuple)):
        return ["[", *(p for v in value for p in _parts(v, where, seen)), "]"]
    if isinstance(value, (set, frozenset)):
        return ["{", *sorted(_hash(_parts(v, where, seen)) for v in value), "}"]
    if isinstance(value, partial):
        return _parts([value.func, value.args, value.keywords], where, seen)
    if isinstance(value, types.MethodType):
        return _parts([value.__func__, value.__self__], where, seen)
    if isinstance(value, (types.BuiltinFunctionType, types.MethodDescriptorType, types.ModuleType, type)) or callable(
        getattr(value, "__code__", None) and value
    ):
        return _code(value, where, seen)
    if isinstance(value, torch.nn.Module):
        return _parts([type(value), repr(value), value.state_dict()], where, seen)
    if not _installed(type(value)) and hasattr(value, "__dict__"):
        return _parts([type(value), vars(value)], where, seen)
    if " at 0x" not in repr(value):
        return [repr(value)]
    raise InputError(
        f"{where} uses an object of {type(value).__name__} by which versions of it cannot be told apart; "
        "make it inside, from numbers and text"
    )


def _code(value: Any, where: str, seen: Seen) -> list[str]:
    if _installed(value):
        return [f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', None) or value.__name__}"]
    if isinstance(value, types.ModuleType):
        return [_source(value)]
    if isinstance(value, type):
        inner = [x for x in vars(value).values() if _function(x)]
        bases = [p for base in value.__bases__ for p in _parts(base, where, seen)]
        attributes = [x for name, x in vars(value).items() if isinstance(x, PLAIN) and not name.startswith("__")]
        named = [p for x in inner for p in _named(_function(x), where, seen)]
        return [_source(value), *bases, *map(repr, attributes), *named]
    return [_source(value), *_named(value, where, seen)]


def _function(value: Any) -> types.FunctionType | None:
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return value if isinstance(value, types.FunctionType) else None


def _named(function: types.FunctionType | None, where: str, seen: Seen) -> list[str]:
    """What a function has from elsewhere: defaults, what it closes over, and the globals that it names."""
    assert function is not None
    parts = _parts([function.__defaults__, function.__kwdefaults__], where, seen)
    closed = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # of what is not yet defined
            closed[name] = cell.cell_contents
    globals_ = {n: function.__globals__[n] for n in sorted(_globals(function.__code__)) if n in function.__globals__}
    for name, value in (*sorted(closed.items()), *globals_.items()):
        parts += [name, *_parts(value, where, seen)]
    return parts


def _globals(code: types.CodeType) -> Iterator[str]:
    """Names that code looks up among the globals, that of functions inside it too."""
    yield from {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


def _source(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        return code.co_code.hex() + repr(code.co_consts) if code else ""


def _installed(value: Any) -> bool:
    """Whether code is known by its name: built in, or in one of the folders of ``INSTALLED``."""
    module = value if isinstance(value, types.ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None:
        return isinstance(value, types.BuiltinFunctionType)
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ != "__main__"
    return any(folder in Path(file).resolve().parents for folder in INSTALLED)
