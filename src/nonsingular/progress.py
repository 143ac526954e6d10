"""How far long work is: told where it is done, heard by whoever shows it (the command line); nobody by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Something that shows how far work is."""

    def start(self, name: str, total: int | None, unit: str) -> None:
        """A stretch of work of ``total`` units begins; None where nobody knows."""

    def count(self, unit: str, number: int) -> None:
        """So many units are done; of another unit than the present stretch's they are not its."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within: this listener is told."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def start(name: str, total: int | None, unit: str) -> None:
    """Tell that a stretch of work begins."""
    if (listener := _listener.get()) is not None:
        listener.start(name, total, unit)


def count(unit: str, number: int = 1) -> None:
    """Tell that part of it is done."""
    if (listener := _listener.get()) is not None:
        listener.count(unit, number)
