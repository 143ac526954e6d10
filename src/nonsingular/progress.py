"""How far long work is: told where it is done, heard by whoever shows it (the command line); nobody by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Something that shows how far work is."""

    def begin(self, name: str, total: int | None, unit: str) -> None:
        """A stretch of work of ``total`` units begins, within the one that is going on; None where nobody knows."""

    def end(self) -> None:
        """The latest stretch is over."""

    def expect(self, unit: str, total: int, more: bool = False) -> None:
        """The stretch that is counted in this unit turns out to have so many, or at least so many."""

    def count(self, unit: str, number: int) -> None:
        """So many units are done; what no stretch is counted in is not shown."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within: this listener is told."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def stretch(name: str, total: int | None, unit: str) -> Iterator[None]:
    """Within: a stretch of work of ``total`` units, told by ``count``; None where nobody knows."""
    listener = _listener.get()
    if listener is None:
        yield
        return
    listener.begin(name, total, unit)
    try:
        yield
    finally:
        listener.end()


def count(unit: str, number: int = 1) -> None:
    """Tell that part of it is done."""
    if (listener := _listener.get()) is not None:
        listener.count(unit, number)


def expect(unit: str, total: int, more: bool = False) -> None:
    """Tell that it turns out to have so many units in all; at least so many, where there may be ``more``."""
    if (listener := _listener.get()) is not None:
        listener.expect(unit, total, more)
