"""Every experiment of the five papers, in their order."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from functools import cache

from nonsingular.errors import InputError
from nonsingular.experiments.experiment import Experiment

MODULES = (
    "orhan2017",
    *(f"orhan2018.fig{n}" for n in range(1, 9)),
    "orhan2018.depth",
    "orhan2018.input_scale",
    *(f"orhan2018.fig_s{n}" for n in range(1, 8)),
    "oyedotun2021.tables",
    "oyedotun2021.depth",
    "oyedotun2021.remedies",
    "oyedotun2021.figures",
    "oyedotun2021.warm_start",
    "li2018.fig1",
    "li2018.fig2",
    "li2018.fig5",
    "li2018.fig6",
    "li2018.fig7",
    "li2018.fig9",
    "li2018.gradient",
    "li2018.trainability",
    "blumenfeld2020.fig1",
    "blumenfeld2020.table1",
    "blumenfeld2020.fig3",
    "blumenfeld2020.fig4",
    "blumenfeld2020.table2",
    "blumenfeld2020.fig8",
    "blumenfeld2020.fig9",
    "blumenfeld2020.table3",
    "blumenfeld2020.learning_rates",
    "blumenfeld2020.mixup",
    "blumenfeld2020.signal",
    "blumenfeld2020.perturbation",
    "blumenfeld2020.ntk",
    "blumenfeld2020.subnetworks",
    "demo",
)
"""Modules with a tuple EXPERIMENTS, in the package ``nonsingular.papers``, in the order of listings."""


@cache
def _all() -> dict[str, Experiment]:
    modules = (importlib.import_module(f"nonsingular.papers.{name}") for name in MODULES)
    return {e.id: e for module in modules for e in module.EXPERIMENTS}


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
        near = difflib.get_close_matches(id, _all(), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown experiment {id!r}{hint} (nonsingular reproduce --list shows all)")
    return found
