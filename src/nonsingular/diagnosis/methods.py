"""What the methods of a user's model call, by their source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


def called_apart(model: nn.Module) -> set[str]:
    """Names of the modules that some method of the model's class calls, and neither ``forward`` nor its helpers do.

    Args:
        model: whose class may have a source that can be read; nothing is known of others.
    """
    classes = [c for c in reversed(type(model).__mro__) if c.__module__.split(".")[0] != "torch"]
    calls = {name: set(_called(f)) for c in classes for name, f in vars(c).items() if inspect.isfunction(f)}
    own, new = set[str](), {"forward"}
    while new:
        own |= new
        new = {name for method in new for name in calls.get(method, ())} - own
    return {name for method, names in calls.items() if method not in own | {"__init__"} for name in names} - own


def _called(method: Callable[..., Any]) -> Iterator[str]:
    """Attributes of the method's first argument that it calls."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, TypeError, SyntaxError):
        return
    owner = next(iter(inspect.signature(method).parameters), "")
    for node in ast.walk(tree):
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == owner:
            yield function.attr
