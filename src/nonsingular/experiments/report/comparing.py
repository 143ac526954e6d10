"""Two finished results side by side: the effect of whatever differs between them, with intervals over their runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments import reproducing
from nonsingular.experiments.report import differences, finished
from nonsingular.experiments.run import archive
from nonsingular.experiments.run.instruments import PERCENT
from nonsingular.intervals import difference, mean

FIRST = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
"""Variables that are compared unless others are asked for, if both results have them."""
AVERAGED = {"network", "run", "epoch", "layer"}
"""Dimensions of what can be compared: the last epoch counts, layers are averaged."""


@dataclass(frozen=True)
class Difference:
    """One variable of one network: B minus A, with a 95 % interval over runs.

    Runs of both results that share a seed share batches and what starts are drawn from: those are compared pair by
    pair, and runs without a partner are left out; where no two share one, all are, as drawn apart.

    Attributes:
        variable: its name.
        label: what it is called, with its unit.
        network: whose; empty where results have no networks.
        a: its mean over the runs of A, after the last epoch at which it was measured.
        b: the same of B.
        value: b - a.
        interval: of the difference; None with fewer than two runs.
        runs: of A and of B.
        paired: whether runs with equal seeds were compared with each other.
    """

    variable: str
    label: str
    network: str
    a: float
    b: float
    value: float
    interval: tuple[float, float] | None
    runs: tuple[int, int]
    paired: bool = False


@dataclass(frozen=True)
class Comparison:
    """Two results.

    Attributes:
        a: folder of the first.
        b: folder of the second.
        differ: what their specs hold unequal, a phrase each.
        differences: of every variable and network that both have.
    """

    a: str
    b: str
    differ: Sequence[str]
    differences: Sequence[Difference]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return asdict(self)


def compare(a: Path, b: Path, variables: Sequence[str] = ()) -> Comparison:
    """The differences between two finished results, B minus A.

    Args:
        a: folder of the first.
        b: folder of the second.
        variables: names; by default accuracies and losses, or all where there are none.

    Raises:
        InputError: a folder without a finished experiment or without measured data; no network, or none of
            ``variables``, that both have.
    """
    specs = [finished.read(folder).spec for folder in (a, b)]
    first, second = (_data(folder) for folder in (a, b))
    names = _variables(first, second, a, b, variables)
    networks = _networks(first, second, a, b)
    rows = [_difference(first, second, variable, network) for variable in names for network in networks]
    return Comparison(str(a), str(b), differences.between(specs[0], specs[1], passed=("seed",)), rows)


def _data(folder: Path) -> xr.Dataset:
    found = reproducing.finished_data(folder)
    if found is None:
        raise archive.missing(folder)
    return found


def _variables(first: xr.Dataset, second: xr.Dataset, a: Path, b: Path, asked: Sequence[str]) -> list[str]:
    both = [
        str(name)
        for name in sorted(map(str, first.data_vars))
        if name in second and all("run" in d[name].dims and set(d[name].dims) <= AVERAGED for d in (first, second))
    ]
    for name in asked:
        if name not in both:
            raise InputError(f"{name!r} cannot be compared in {a} and {b}; both have {', '.join(both) or 'nothing'}")
    if not both:
        raise InputError(f"{a} and {b} have no variable by runs in common")
    return list(asked) or [name for name in FIRST if name in both] or both


def _networks(first: xr.Dataset, second: xr.Dataset, a: Path, b: Path) -> list[str]:
    if "network" not in first.coords or "network" not in second.coords:
        return [""]
    there, others = (list(map(str, data.network.values)) for data in (first, second))
    both = [name for name in there if name in others]
    if not both:
        raise InputError(
            f"{a} and {b} have no network in common: one has {', '.join(there)}, the other {', '.join(others)}"
        )
    return both


def _difference(first: xr.Dataset, second: xr.Dataset, variable: str, network: str) -> Difference:
    x, y = (_by_run(data, variable, network) for data in (first, second))
    paired = "run" in x.coords and "run" in y.coords and bool(np.isin(x.run, y.run).any())
    if paired:
        x, y = xr.align(x, y, join="inner")
    effect, at = difference(y, x, paired=paired), [mean(values).value for values in (x, y)]
    finite = [int(values.notnull().sum()) for values in (x, y)]
    attributes = first[variable].attrs
    unit = "%" if variable in PERCENT else str(attributes.get("units", "1"))
    label = str(attributes.get("long_name", variable)) + (f" ({unit})" if unit != "1" else "")
    interval = (effect.low, effect.high) if effect.low <= effect.high else None
    return Difference(variable, label, network, at[0], at[1], effect.value, interval, (finite[0], finite[1]), paired)


def _by_run(data: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """One number a run: after the last epoch at which any run was measured, averaged over layers."""
    values = data[variable]
    if "network" in values.dims:
        values = values.sel(network=network)
    if "epoch" in values.dims:
        measured = values.dropna("epoch", how="all")
        values = measured.isel(epoch=-1) if measured.sizes["epoch"] else values.isel(epoch=-1)
    if "layer" in values.dims:
        values = values.mean("layer")
    return 100 * values if variable in PERCENT else values
