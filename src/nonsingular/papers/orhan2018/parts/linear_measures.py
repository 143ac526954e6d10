"""What the claims of figures S4 and S5 measure of linear networks, solved."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import require
from nonsingular.experiments.verbs import Measure, measured
from nonsingular.papers.orhan2018.parts.deep_linear import NETWORKS, SHALLOW

CONDITIONING = "log10 of the Hessian's smallest over its largest |eigenvalue|, mean over random points"
STARTS = {
    "small": "small random starts of both",
    "random equal norms": "random unit vectors a, b of the plain network; the residual one starts from zeros, where "
    "a + v and b + u are of unit norm too",
}
"""Starts of figure S4 in words."""
PAPER_SADDLES = {"plain": (0.0, 0.0), "residual": (-1.0, -1.0), "hyper-residual": (-1.0, -2.0)}


@measured("largest distance of a saddle found from the paper's over the three networks")
def distance_of_saddles(results: xr.Dataset) -> Effect:
    """Largest distance between the saddles found and the paper's."""
    require(results, "saddle")
    gaps = [np.linalg.norm(results.saddle.sel(network=n) - np.array(PAPER_SADDLES[n])) for n in NETWORKS]
    return exactly(float(max(gaps)))


def _log_ratio(
    results: xr.Dataset, times: xr.DataArray, first: str, second: str, per_time: xr.DataArray | float = 1.0
) -> xr.DataArray:
    """log10 of the second's time over the first's; what is not done in the window counts with its end."""
    counts = np.minimum(times, results.attrs["window"]) * per_time
    return xr.apply_ufunc(np.log10, counts.sel(network=second) / counts.sel(network=first))


def log_speed_up(first: str, second: str, *, in_steps: bool = False) -> Measure:
    """Mean log10(second's time / first's), smallest over the singular values; unfinished runs count with the window."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "converged", "curvature")
        ratios = _log_ratio(results, results.converged, first, second, results.curvature / 2 if in_steps else 1.0)
        means = ratios.mean("run")
        note = "mean at s = " + ", ".join(f"{float(s):g}: {float(m):.2f}" for s, m in zip(means.s, means, strict=True))
        return mean(ratios.min("s"), note=note)

    in_ = "steps of the largest stable learning rate" if in_steps else "time"
    words = (
        f"log10 of {second} over {first} {in_} to |u / s - 1| < 1 %, at most the window, least over s, mean over starts"
    )
    return Measure(effect, words, "log10")


def log_speed_up_by_depth(first: str, second: str) -> Measure:
    """By how much log10 of the speed-up is larger with ten layers than with three, smallest over s."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "converged", "converged_shallow")
        deep, shallow = (
            _log_ratio(results, times, first, second) for times in (results.converged, results.converged_shallow)
        )
        return mean((deep - shallow).min("s"))

    ratio = f"log10 of {second} over {first} time, at most the window"
    words = f"{ratio}, of 10 layers less that of {SHALLOW}, least over s, mean over starts"
    return Measure(effect, words, "log10")


@measured("largest |u| / s over s at the end of the window, mean over starts")
def share_that_plain_reaches(results: xr.Dataset) -> Effect:
    """How near u of the plain network is to s at the end of the window: largest |u| / s over s, mean over starts."""
    require(results, "u")
    share = np.abs(results.u.sel(network="plain")) / results.s
    return mean(share.isel(time=-1).max("s"))


@measured(
    "order with which the distance of the matrices from the modes' flow falls with the step, least over networks; "
    "Euler's method has 1",
    "order in the step",
)
def order_of_matrix_descent(results: xr.Dataset) -> Effect:
    """Order in the step size at which the distance falls, the smallest over the networks."""
    require(results, "matrix_gap")
    steps = np.log(results.steps.values)
    orders = [-np.polyfit(steps, np.log(results.matrix_gap.sel(network=n)), 1)[0] for n in results.network.values]
    last = float(results.matrix_gap.isel(steps=-1).max())
    return exactly(float(min(orders)), f"largest distance {last:.1e} of s at {int(results.steps[-1])} steps")


@measured("norm of the columns' difference over that of one, mean over random points")
def distance_of_columns(results: xr.Dataset) -> Effect:
    """Mean relative distance of the two columns."""
    require(results, "equal_columns")
    solved = float(results.equal_columns.sel(point="a_i = a_j and u = s").max())
    return mean(
        results.equal_columns.sel(point="a_i = a_j"),
        note=f"the entries H_ii and H_ij differ by (u - s) u / (a_i + c_i)^2; at u = s the distance is {solved:.0e}",
    )


def log_time_ratio(draw: str) -> Measure:
    """Mean log10(plain's time / residual's) to 1 % error over starts of one kind; of ``draw`` in the results."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "converged")
        times = results.converged.sel(draw=draw)
        missed = int((~np.isfinite(times)).sum())
        note = f"{missed} not converged in the window, counted with its end" if missed else ""
        return mean(_log_ratio(results, times, "residual", "plain"), note=note)

    words = f"log10 of plain over residual time to 1 % error, at most the window, mean over {STARTS[draw]}"
    return Measure(effect, words, "log10")


@measured("log10 of plain over residual time to 1 % error, at most the window", "log10")
def log_time_ratio_of_equal_start(results: xr.Dataset) -> Effect:
    """The same for the caption's own start."""
    require(results, "equal_converged")
    plain, residual = (float(results.equal_converged.sel(network=n)) for n in ("plain", "residual"))
    window = results.attrs["window"]
    left = float(results.error.sel(start="equal norms", network="plain").isel(time=-1))
    if np.isfinite(plain):
        note = ""
    else:
        note = f"at least: the plain network stops on a saddle with error {left:.2f}, its second mode never learnt"
    return exactly(float(np.log10(min(plain, window) / min(residual, window))), note)


@measured(CONDITIONING, "log10")
def log_smallest_eigenvalue_at_overlap(results: xr.Dataset) -> Effect:
    """The mean at points with two equal b."""
    require(results, "plain_conditioning")
    generic, solved = (float(results.plain_conditioning.sel(point=p).mean()) for p in ("generic", "overlap, no error"))
    return mean(
        results.plain_conditioning.sel(point="overlap"),
        note=f"{generic:.1f} at generic points, {solved:.1f} where also the error is 0: the paper's block d2E/da2 is "
        "singular, but the blocks d2E/dadb contain the error",
    )
