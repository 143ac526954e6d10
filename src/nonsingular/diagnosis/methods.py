"""What the methods of a user's model call, by their source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


def called_apart(model: nn.Module) -> set[str]:
    """Names of the modules that some method of the model's class calls, and ``forward`` does not.

    Args:
        model: whose class may have a source that can be read; nothing is known of others.
    """
    own = {name: f for c in type(model).__mro__ if c.__module__.split(".")[0] != "torch" for name, f in vars(c).items()}
    forward = set(_called(own["forward"])) if "forward" in own else set()
    others = [f for name, f in own.items() if inspect.isfunction(f) and name != "forward" and not name.startswith("__")]
    return {name for f in others for name in _called(f)} - forward


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
