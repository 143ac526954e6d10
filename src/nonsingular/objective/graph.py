"""The autograd graph behind a tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any


def behind(starts: Iterable[Any], ends: Collection[Any] = ()) -> Iterator[Any]:
    """The operations of a graph from these on, each once; None is passed over, and what lies behind the ends."""
    stack, seen = [*starts], set[Any]()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if node not in ends:
            stack.extend(following for following, _ in node.next_functions)
