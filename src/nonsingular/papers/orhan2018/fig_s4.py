"""Figure S4: linear three-layer networks with two modes, and their Hessian (Note 5)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import ROUNDING, hessian_gap, require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import Measure, claim, measured
from nonsingular.papers.orhan2018.two_modes import run
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive


def time_ratio(draw: str) -> Measure:
    """Mean log10(plain's time / residual's) to 1 % error; runs that do not get there count with the window's end."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "converged")
        hours = results.converged.sel(draw=draw)
        missed = int((~np.isfinite(hours)).sum())
        hours = np.minimum(hours, results.attrs["window"])
        note = f"{missed} not converged in the window, counted with its end" if missed else ""
        return mean(np.log10(hours.sel(network="plain") / hours.sel(network="residual")), note=note)

    return measured(effect, f"log10 of plain over residual time to 1 % error, mean over {draw} starts", "log10")


def equal_start_ratio(results: xr.Dataset) -> Effect:
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


def overlap_is_singular(results: xr.Dataset) -> Effect:
    """The mean at points with two equal b."""
    require(results, "overlap_nullity")
    generic, solved = (float(results.overlap_nullity.sel(point=p).mean()) for p in ("generic", "overlap, no error"))
    return mean(
        results.overlap_nullity.sel(point="overlap"),
        note=f"{generic:.1f} at generic points, {solved:.1f} where also the error is 0: the paper's block d2E/da2 is "
        "singular, but the blocks d2E/dadb contain the error",
    )


def skips_are_not_singular(results: xr.Dataset) -> Effect:
    """The mean at points with two equal b, of the residual network."""
    require(results, "skip_nullity")
    return mean(results.skip_nullity)


def only_shifted(results: xr.Dataset) -> Effect:
    """The largest of the random points."""
    require(results, "shift_gap")
    return exactly(float(results.shift_gap.max()))


SMALLEST = "log10 of the Hessian's smallest over its largest |eigenvalue|, mean over random points"

FIGURE = Figure(
    "orhan2018/figS4",
    "Linear three-layer networks with two modes, plain against residual",
    source="orhan2018 Note 5, figure S4",
    sizes=Scales(runs=(10, 100, 1000), window=(40.0, 40.0, 80.0), points=(801, 801, 1601)),
    run=run, draw=plots.figs4, interactive=interactive.figs4,
    claims=(
        claim(
            "small-start", "From small random weights the residual network converges faster", time_ratio("small") > 0,
            source="orhan2018 Note 5, figure S4a",
        ),
        claim(
            "equal-norms", "It does so even with equal starting norms, from the caption's start",
            measured(equal_start_ratio, "log10 of plain over residual time to 1 % error", "log10") > 0,
            source="orhan2018 Note 5, figure S4b",
        ),
        claim(
            "equal-norms-random", "It does so on average over random directions of equal norm",
            time_ratio("random equal norms") > 0, ours=True,
        ),
        claim(
            "hessian", "The second derivatives agree with automatic differentiation",
            measured(hessian_gap, "largest relative distance") < ROUNDING, source="orhan2018 equations 23-28",
        ),
        claim(
            "overlap-singular", "Where two hidden units have equal b for all modes the Hessian is singular",
            measured(overlap_is_singular, SMALLEST, "log10") < -9, source="orhan2018 Note 5",
        ),
        claim(
            "residual-not-singular-there", "In the residual network equal b make no singularity",
            measured(skips_are_not_singular, f"{SMALLEST} with equal b", "log10") > -9, source="orhan2018 Note 5",
        ),
        claim(
            "residual-only-shifts",
            "But the skips only shift the singularities: at a - v and b - u the residual Hessian is the plain one's",
            measured(only_shifted, "largest relative distance") < ROUNDING, source="orhan2018 §2.5, Note 5",
        ),
    ),
    labels={
        "a": "mode's part of the incoming weights",
        "strength": "strength of the mode",
        "equal_converged": "time to 1 % error from equal norms (tau)",
        "hessian_gap": "distance of the derived from the computed Hessian / its norm",
        "overlap_nullity": "eigenvalues that are zero to rounding",
        "skip_nullity": "eigenvalues of the residual Hessian, smallest over largest (log10)",
        "shift_gap": "distance of the shifted residual from the plain Hessian / its norm",
    },
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
