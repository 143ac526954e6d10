"""How far training came, on one scale for every data set: 0 for guessing, 100 for no error."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.data import SOURCES
from nonsingular.experiments.effects import per_run
from nonsingular.words import counted

HALFWAY = 50.0
"""Percent of the way from which on a network is said to have trained."""


def fitted(results: xr.Dataset, network: str, split: str = "train") -> np.ndarray:
    """How far each run came from chance (0) to no error (100) at the end, in percent; a run that diverged came nowhere.

    Raises:
        NotMeasured: the network was left out.
    """
    # A plain array: judges ask this all the time.
    accuracy = per_run(results, f"{split}_accuracy", network).transpose("epoch", ...).values
    chance, first, last = 1 / classes(results), accuracy[0], accuracy[-1]
    return np.where(np.isnan(last) & ~np.isnan(first), 0.0, 100 * (last - chance) / (1 - chance))


def possible(results: xr.Dataset) -> tuple[float, float]:
    """The range of ``fitted``: guessing is 0, and always wrong is below it."""
    return -100 / (classes(results) - 1), 100.0


def classes(results: xr.Dataset) -> int:
    """Of the data set that was trained on."""
    source = SOURCES[results.attrs.get("data", "digits")]
    return 10 if source is None else source.classes


def diverged(results: xr.Dataset, *networks: str) -> str:
    """Which runs left the range of numbers, for a note."""
    lost = {n: int(per_run(results, "train_loss", n).isel(epoch=-1).isnull().sum()) for n in networks}
    return "; ".join(
        f"{count} of {counted(results.sizes['run'], f'{name} run')} diverged" for name, count in lost.items() if count
    )
