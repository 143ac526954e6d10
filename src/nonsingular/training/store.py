"""Results as they come: a Zarr store of labelled arrays, written region by region, and checkpoints beside it."""

from __future__ import annotations

import asyncio
import io
import math
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.files import write_whole

if TYPE_CHECKING:  # both take half a second, of which who trains without a store has nothing
    import xarray as xr

EPOCHS_A_CHUNK = 16


@checked
@dataclass(frozen=True)
class Store:
    """A Zarr group in which every variable exists in full from the start, NaN where nothing is measured yet.

    >>> import tempfile
    >>> import xarray as xr
    >>> import nonsingular as ns
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = ns.training.Store.save(Path(folder) / "r.zarr", xr.Dataset({"loss": ("run", [1.0, 2.0])}))
    ...     loss = ns.training.Store(Path(folder) / "r.zarr").read().loss.values
    >>> loss
    array([1., 2.])
    """

    path: Path

    @staticmethod
    def create(
        path: Path,
        coordinates: Mapping[str, np.ndarray],
        variables: Mapping[str, tuple[str, ...]],
        attributes: Mapping[str, Any],
        described: Callable[[xr.Dataset], xr.Dataset] = lambda data: data,
    ) -> Store:
        """An empty store.

        Args:
            path: folder of the store, ``*.zarr``.
            coordinates: dimension name -> its labels.
            variables: variable name -> its dimensions; values are float64.
            attributes: kept with the data set.
            described: gives the variables attributes of their own, such as units.
        """
        import xarray as xr

        sizes = {name: len(values) for name, values in coordinates.items()}
        chunks = {name: min(n, EPOCHS_A_CHUNK) if name == "epoch" else n for name, n in sizes.items()} | {"network": 1}
        empty = xr.Dataset(
            {name: (dims, np.full([sizes[d] for d in dims], math.nan)) for name, dims in variables.items()},
            coords=dict(coordinates),
            attrs=dict(attributes),
        )
        encoding = {name: {"chunks": tuple(chunks[d] for d in dims)} for name, dims in variables.items()}
        return Store.save(path, described(empty), encoding)

    @staticmethod
    def save(path: Path, data: xr.Dataset, encoding: Mapping[str, Any] | None = None) -> Store:
        """A store of results that are complete already, in the place of an earlier one if there is one."""
        # Zarr has a standard for strings of any length, none for numpy's of fixed length.
        fixed = {name: array.astype(object) for name, array in data.variables.items() if array.dtype.kind == "U"}
        partial = path.with_suffix(".partial")  # a crash now leaves no half-made store under the final name
        with warnings.catch_warnings():  # readers look for consolidated metadata, which Zarr 3 does not yet specify
            warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
            try:
                data.assign(fixed).to_zarr(partial, mode="w", encoding=encoding, consolidated=True)
            except OSError:
                shutil.rmtree(partial, ignore_errors=True)  # half a store would keep a full disk full
                raise
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
        return Store(path)

    def write(self, values: Mapping[str, np.ndarray], region: Mapping[str, int | slice]) -> None:
        """Set part of the variables.

        Args:
            values: variable name -> values of the region's shape.
            region: dimension name -> index or slice; dimensions not named are set as a whole.
        """
        from zarr.core.sync import sync

        sync(self._write(values, region))

    async def _write(self, values: Mapping[str, np.ndarray], region: Mapping[str, int | slice]) -> None:
        """All variables at once: one after another, each would wait for the threads in which Zarr works."""
        import zarr

        group = await zarr.api.asynchronous.open_group(store=self.path, mode="r+")

        async def one(name: str, value: np.ndarray) -> None:
            array = await group.getitem(name)
            assert isinstance(array, zarr.AsyncArray)
            index = tuple(region.get(str(d), slice(None)) for d in array.metadata.dimension_names or ())
            await array.setitem(index, value)

        await asyncio.gather(*(one(name, value) for name, value in values.items()))

    def read(self) -> xr.Dataset:
        """Everything measured so far, in memory.

        Raises:
            InputError: there is no store at the path, or it is damaged.
        """
        if not self.path.exists():
            raise InputError(f"no results at {self.path}; run nonsingular reproduce with --out first")
        try:
            with self.opened() as data:
                return data.load()
        except Exception as error:
            raise InputError(f"{self.path} is not a readable store of results: {error}") from error

    def opened(self) -> xr.Dataset:
        """The data set whose values are read when they are asked for; it is a context that closes it.

        Zarr's second format, in which chunks may be pickles that run code, is not read.

        Raises:
            OSError: or ValueError, or another: it is no store.
        """
        import xarray as xr

        return xr.open_zarr(self.path, consolidated=False, zarr_format=3)


def encode(state: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def decode(checkpoint: bytes) -> dict[str, Any]:
    """The state that ``encode`` was given, on the CPU. Nothing in the bytes is executed."""
    state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    return state


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old one or the new one whole."""
    write_whole(path, encode(state))


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint at ``path``, or None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return decode(path.read_bytes())
    except Exception as error:
        raise InputError(f"{path} is not a readable checkpoint ({error}); delete it to start its runs again") from error
