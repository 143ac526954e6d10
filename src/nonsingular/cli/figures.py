"""Experiments by what a user writes: an id of the papers, or a figure in a file of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nonsingular.cli.code import code
from nonsingular.errors import InputError
from nonsingular.experiments.experiment import Experiment
from nonsingular.papers import registry

FORM = "FILE.py:NAME"


def experiment(name: str) -> Experiment:
    """The experiment with an id, or the one that ``file.py:NAME`` or ``package.module:NAME`` holds; its code is run.

    Raises:
        InputError: there is none.
    """
    place, separator, figure = name.rpartition(":")
    if not separator:
        if name.endswith(".py"):
            raise InputError(f"a figure of your own is {FORM}, got {name!r}")
        return registry.experiment(name)
    module = code(place).module
    found = getattr(module, figure, None)
    if not isinstance(found, Experiment):
        there = ", ".join(n for n, value in vars(module).items() if isinstance(value, Experiment))
        raise InputError(f"{place} has no experiment {figure!r}; it has {there or 'none'}")
    return found


def told(name: str) -> str:
    """What a user wrote, so that it is understood in another folder too: files by their whole path."""
    place, separator, figure = name.rpartition(":")
    return f"{Path(place).resolve()}:{figure}" if separator and place.endswith(".py") else name


def known(figures: Sequence[str]) -> Callable[[str], Experiment]:
    """Experiments by id: those of the papers, and the named ones of a user's own files.

    Raises:
        InputError: one of ``figures`` is not there.
    """
    own = {found.id: found for found in map(experiment, figures)}

    def find(id: str) -> Experiment:
        if id in own:
            return own[id]
        try:
            return registry.experiment(id)
        except InputError as error:
            raise InputError(f"{error}; of a file of your own, name it with --figure {FORM}") from None

    return find
