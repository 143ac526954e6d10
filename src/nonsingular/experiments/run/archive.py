"""The measured data of a finished experiment: one file beside its claims, from which they can be judged again.

The file is netCDF 3, gzipped, which ``xarray.open_dataset`` reads with scipy alone. It holds every measured number, no
weights. What float32 holds exactly is stored so; read back, every number is what it was.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nonsingular import __version__
from nonsingular.errors import InputError
from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.files import write_whole

FILE = "measured.nc.gz"

COORDINATES = {
    "network": "network",
    "run": "seed of the run",
    "epoch": "passes through the training set",
    "layer": "layer, from the inputs on",
    "mode": "number of the eigenvalue",
}
"""What the dimensions of studies are called in words."""


def write(folder: Path, results: xr.Dataset) -> None:
    """Keep the measured data of a finished experiment in its folder.

    Args:
        folder: the experiment's.
        results: as ``described``; attributes are texts, numbers, or lists of them.
    """
    write_whole(folder / FILE, encode(results))


def encode(results: xr.Dataset) -> bytes:
    """The bytes of the file: equal data, equal bytes."""
    stored = {name: _narrowed(array) for name, array in results.variables.items()}
    narrowed = results.copy().assign({n: a for n, a in stored.items() if n in results.data_vars})
    narrowed = narrowed.assign_coords({n: a for n, a in stored.items() if n in results.coords})
    narrowed.attrs = dict(_plain(results.attrs))
    content = narrowed.to_netcdf(engine="scipy", format="NETCDF3_64BIT")
    return gzip.compress(bytes(content), mtime=0)


def read(folder: Path) -> xr.Dataset:
    """The measured data that an experiment's folder holds.

    Raises:
        InputError: there are none, or the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        raise missing(folder)
    try:
        return decode(path.read_bytes())
    except Exception as error:
        raise InputError(f"{path} is not readable as measured data: {error}") from error


def decode(content: bytes) -> xr.Dataset:
    """The results that ``encode`` was given."""
    with xr.open_dataset(io.BytesIO(gzip.decompress(content)), engine="scipy") as data:
        return _widened(data.load())


def missing(folder: Path) -> InputError:
    """What is wrong with a folder without measured data."""
    return InputError(f"{folder} holds no measured data ({FILE}): only a new run would keep them")


def described(results: xr.Dataset, labels: Mapping[str, str] | None = None, **attributes: Any) -> xr.Dataset:
    """The results with long names and units of their variables and with the version that measured them.

    Args:
        results: of an experiment.
        labels: variable -> its axis label, ``name (unit)``, beside those of the instruments.
        **attributes: of the whole.
    """
    known = COORDINATES | LABELS | dict(labels or {})
    found = results.copy()
    for name, array in found.variables.items():
        long_name, units = _named(str(name), known.get(str(name), ""))
        array.attrs = {"long_name": long_name, "units": units} | dict(array.attrs)
    return found.assign_attrs({"version": f"nonsingular {__version__}"} | attributes)


def joined(parts: Sequence[tuple[str, xr.Dataset]]) -> xr.Dataset:
    """The runs of several results of one study as one, in the order of their seeds.

    Args:
        parts: the name of each in messages, and its measured data. Runs that several have must be identical.

    Raises:
        InputError: they hold the same run with different numbers, or numbers of no run that differ.
    """
    for name, part in parts:
        if "run" not in part.dims:
            raise InputError(f"{name} has no independent runs to which others could be added")
    kept: list[tuple[str, xr.Dataset]] = []
    for name, part in parts:
        for other, before in kept:
            _require_same(other, before, name, part)
        seen = {int(r) for _, before in kept for r in before.run.values}
        fresh = [r for r in part.run.values if int(r) not in seen]
        kept.append((name, part.sel(run=fresh)))
    first = kept[0][1]
    whole = xr.concat(
        [part for _, part in kept],
        "run",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    )
    return whole.sortby("run").transpose(*first.dims)


def _require_same(name: str, a: xr.Dataset, other: str, b: xr.Dataset) -> None:
    """Refuse results that cannot be one study's, or that contradict each other about a run."""
    if set(a.variables) != set(b.variables):
        missing = ", ".join(sorted(map(str, set(a.variables) ^ set(b.variables))))
        raise InputError(f"{name} and {other} did not measure the same: only one has {missing}")
    for dimension in set(a.dims) - {"run"}:
        if not a[dimension].equals(b[dimension]):
            raise InputError(f"{name} and {other} differ along {dimension}")
    both = sorted(set(a.run.values.tolist()) & set(b.run.values.tolist()))
    for run in both:
        if not a.sel(run=run).equals(b.sel(run=run)):
            raise InputError(f"{name} and {other} both hold the run with seed {run}, with different numbers")
    for variable in a.data_vars:
        if "run" not in a[variable].dims and not a[variable].equals(b[variable]):
            raise InputError(f"{name} and {other} differ in {variable}, which belongs to no run")


NO_UNITS = ("correlation", "cosine", "centred")
"""What labels have in brackets that is no unit."""

_LABEL = re.compile(r"(?P<name>.*?)\s*\((?P<unit>[^()]*)\)", re.DOTALL)


def _named(name: str, label: str) -> tuple[str, str]:
    """Long name and units from an axis label; units are 1 where there are none.

    Instruments store shares, which their labels show in percent.
    """
    label = label.replace("\n", " ") or name.replace("_", " ")
    found = _LABEL.fullmatch(label)
    if found is None or found["unit"] in NO_UNITS:
        return label, "1"
    return found["name"], "1" if name in PERCENT else found["unit"]


def _narrowed(array: xr.Variable) -> xr.Variable:
    """In the narrowest type that holds every number: netCDF 3 has no integers of 64 bits."""
    values = array.values
    if values.dtype.kind in "TUO":
        values = np.array([str(x) for x in values.flat], object).reshape(values.shape)
    elif values.dtype == np.float64:
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        values = narrow if np.array_equal(narrow, values, equal_nan=True) else values
    elif values.dtype.kind in "iu" and values.dtype.itemsize > 4:
        values = values.astype(np.int32) if np.array_equal(values.astype(np.int32), values) else values.astype(float)
    return xr.Variable(array.dims, values, dict(_plain(array.attrs)))


def _plain(attributes: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Attributes as netCDF takes them."""
    for name, value in attributes.items():
        plain = isinstance(value, str | int | float | list | tuple | np.ndarray | np.number)
        yield str(name), value if plain and not isinstance(value, bool) else json.dumps(value)


def _widened(data: xr.Dataset) -> xr.Dataset:
    """In the types that were measured: float64, int64 and text."""
    wide = {"f": np.float64, "i": np.int64, "O": str}
    changed = {n: a.astype(wide[a.dtype.kind]) for n, a in data.variables.items() if a.dtype.kind in wide}
    found = data.assign({n: a for n, a in changed.items() if n in data.data_vars})
    found = found.assign_coords({n: a for n, a in changed.items() if n in data.coords})
    for array in found.variables.values():
        array.encoding = {}
    return found
