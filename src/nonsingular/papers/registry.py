"""Every experiment of the five papers: the figures that stand in the modules of ``nonsingular.papers``."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache

from nonsingular import papers
from nonsingular.errors import InputError
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report.papers import PAPERS
from nonsingular.spelling import nearest


@cache
def _all() -> dict[str, Experiment]:
    modules = pkgutil.walk_packages(papers.__path__, f"{papers.__name__}.")
    values = [value for module in modules for value in vars(importlib.import_module(module.name)).values()]
    figures = [figure for value in values for figure in (value if isinstance(value, tuple) else (value,))]
    found = {figure.id: figure for figure in figures if isinstance(figure, Experiment)}
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _place(id: str) -> tuple[int, list[str | int]]:
    """In listings: papers as ``PAPERS`` has them, figures by name and number."""
    paper = id.split("/")[0]
    parts = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", id)]
    return list(PAPERS).index(paper) if paper in PAPERS else len(PAPERS), parts


def experiments() -> Iterator[Experiment]:
    """All experiments of the papers."""
    return (e for e in _all().values() if "/" in e.id)


def experiment(id: str) -> Experiment:
    """The experiment with this id.

    Raises:
        InputError: unknown id; the message offers the nearest one.
    """
    found = _all().get(id)
    if found is None:
        near = nearest(id, _all())
        hint = f"; did you mean {near}?" if near else ""
        raise InputError(f"unknown experiment {id!r}{hint} (nonsingular reproduce --list shows all)")
    return found
