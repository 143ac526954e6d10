"""Instruments that count the eigenvalues of each network's Hessian: exactly, by Lanczos, and by four moments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from nonsingular.curvature import Hessian, Spectrum, spectrum
from nonsingular.experiments.claims import Effect, difference
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.instruments import INSTRUMENTS, LABELS, Instrument, Snapshot
from nonsingular.plots.curves import Panel, over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW = 0.1  # orhan2018 Note 4: degenerate eigenvalues are those within 0.1 of zero
PARTS = ("degenerate", "negative", "positive")
SEED = 2018  # of the random vectors, the same for all networks


def hessian_of(snapshot: Snapshot, run: int) -> Hessian:
    """The Hessian of one network's cross-entropy on the snapshot's samples."""
    network = snapshot.population.network(run).eval()
    batches = [(snapshot.inputs.cpu(), snapshot.labels.cpu())]
    return Hessian(network, F.cross_entropy, batches)


def _each_run(snapshot: Snapshot, names: list[str], measure: Callable[[Hessian], list[float]]) -> dict[str, Tensor]:
    """The measure of every network; NaN for those that have diverged."""
    finite = snapshot.trainer.finite().tolist()
    rows = [measure(hessian_of(snapshot, r)) if ok else [math.nan] * len(names) for r, ok in enumerate(finite)]
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64).T, strict=True))


def _fractions(result: Spectrum) -> list[float]:
    return [getattr(result, part).fraction for part in PARTS]


def _exact(snapshot: Snapshot) -> dict[str, Tensor]:
    names = [f"{part}_exact" for part in PARTS]
    return _each_run(snapshot, names, lambda H: _fractions(spectrum(H, WINDOW, "exact")))


def _lanczos(snapshot: Snapshot) -> dict[str, Tensor]:
    names = [f"{part}_lanczos{end}" for end in ("", "_low", "_high") for part in PARTS]

    def measure(H: Hessian) -> list[float]:
        s = spectrum(H, WINDOW, "lanczos", tolerance=0.1, max_steps=LANCZOS_STEPS, max_probes=2, seed=SEED)
        intervals = np.array([getattr(s, part).fraction_interval for part in PARTS])
        return [*_fractions(s), *intervals[:, 0], *intervals[:, 1]]

    return _each_run(snapshot, names, measure)


def _moments(snapshot: Snapshot) -> dict[str, Tensor]:
    names = [f"{part}_moments" for part in PARTS]

    def measure(H: Hessian) -> list[float]:
        try:
            return _fractions(spectrum(H, WINDOW, "moments", max_probes=MOMENT_PROBES, seed=SEED))
        except ValueError:  # a vanished gradient leaves no moments to fit
            return [math.nan] * len(names)

    return _each_run(snapshot, names, measure)


LANCZOS_STEPS = 150
MOMENT_PROBES = 4

INSTRUMENTS["hessian_exact"] = Instrument({f"{part}_exact": () for part in PARTS}, _exact)
INSTRUMENTS["hessian_lanczos"] = Instrument(
    {f"{part}_lanczos{end}": () for end in ("", "_low", "_high") for part in PARTS}, _lanczos
)
INSTRUMENTS["hessian_moments"] = Instrument({f"{part}_moments": () for part in PARTS}, _moments)
for _method in ("exact", "lanczos", "moments"):
    for _part in PARTS:
        LABELS[f"{_part}_{_method}"] = f"{_part} eigenvalues (%)"


def larger_share(results: xr.Dataset, variable: str, first: str, second: str) -> Effect:
    """First minus second network's share, averaged over the measured epochs after the start, in percentage points."""
    a, b = (100 * per_run(results, variable, name).isel(epoch=slice(1, None)).mean("epoch") for name in (first, second))
    return difference(a, b)


def spectra_over_epochs(results: xr.Dataset, title: str, method: str = "moments") -> Figure:
    """Shares of degenerate and negative eigenvalues over the epochs at which they were measured."""
    names = [f"{part}_{method}" for part in ("degenerate", "negative")]
    measured = results.dropna("epoch", how="all", subset=names[:1])
    return over_epochs(measured, [Panel(n, LABELS[n], percent=True) for n in names], title)
