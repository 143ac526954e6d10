"""Figure S5: deep linear networks, their phase portraits and their speed (Note 5)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import ROUNDING, hessian_gap, require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import Measure, claim, measured
from nonsingular.papers.orhan2018.deep_linear import NETWORKS, SHALLOW, run
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive

PAPER_SADDLES = {"plain": (0.0, 0.0), "residual": (-1.0, -1.0), "hyper-residual": (-1.0, -2.0)}


def saddle_distance(results: xr.Dataset) -> Effect:
    """Largest distance between the saddles found and the paper's."""
    require(results, "saddle")
    gaps = [np.linalg.norm(results.saddle.sel(network=n) - np.array(PAPER_SADDLES[n])) for n in NETWORKS]
    return exactly(float(max(gaps)))


def faster_network(first: str, second: str, *, in_steps: bool = False) -> Measure:
    """Mean log10(second's time / first's), smallest over the singular values; unfinished runs count with the window."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "converged", "curvature")
        hours = np.minimum(results.converged, results.attrs["window"])
        if in_steps:
            hours = hours * results.curvature / 2
        ratios = np.log10(hours.sel(network=second) / hours.sel(network=first))
        means = ratios.mean("run")
        note = "mean at s = " + ", ".join(f"{float(s):g}: {float(m):.2f}" for s, m in zip(means.s, means, strict=True))
        return mean(ratios.min("s"), note=note)

    in_ = "steps of the largest stable learning rate" if in_steps else "time"
    words = f"log10 of {second} over {first} {in_} to |u / s - 1| < 1 %, least over s, mean over starts"
    return measured(effect, words, "log10")


def more_with_depth(first: str, second: str) -> Measure:
    """By how much log10 of the speed-up is larger with ten layers than with three, smallest over s."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "converged", "converged_shallow")
        speed_up = []
        for name in ("converged", "converged_shallow"):
            hours = np.minimum(results[name], results.attrs["window"])
            speed_up.append(np.log10(hours.sel(network=second) / hours.sel(network=first)))
        return mean((speed_up[0] - speed_up[1]).min("s"))

    words = f"log10 of {second} over {first} time, of 10 layers less that of {SHALLOW}, least over s, mean over starts"
    return measured(effect, words, "log10")


def plain_reaches(results: xr.Dataset) -> Effect:
    """Mean over runs of the largest |u| / s that the plain network has reached, over all s."""
    require(results, "u")
    share = np.abs(results.u.sel(network="plain")) / results.s
    return mean(share.isel(time=-1).max("s"))


def matrix_order(results: xr.Dataset) -> Effect:
    """Order in the step size at which the distance falls, the smallest over the networks."""
    require(results, "matrix_gap")
    steps = np.log(results.steps.values)
    orders = [-np.polyfit(steps, np.log(results.matrix_gap.sel(network=n)), 1)[0] for n in results.network.values]
    last = float(results.matrix_gap.isel(steps=-1).max())
    return exactly(float(min(orders)), f"largest distance {last:.1e} of s at {int(results.steps[-1])} steps")


def columns_are_equal(results: xr.Dataset) -> Effect:
    """Mean relative distance of the two columns."""
    require(results, "equal_columns")
    solved = float(results.equal_columns.sel(point="a_i = a_j and u = s").max())
    return mean(
        results.equal_columns.sel(point="a_i = a_j"),
        note=f"the entries H_ii and H_ij differ by (u - s) u / a_i^2 there; at u = s the distance is {solved:.0e}",
    )


FIGURE = Figure(
    "orhan2018/figS5",
    "Phase portraits and mode strength of deep linear networks",
    source="orhan2018 Note 5, figure S5",
    sizes=Scales(
        runs=(5, 30, 200), grid=(31, 61, 121), points=(301, 801, 1601), steps=(250, 500, 2000), layers=10, start=1e-2,
        window=100.0,
    ),
    run=run, draw=plots.figs5, interactive=interactive.figs5,
    claims=(
        claim(
            "saddles", "The saddle is at (0, 0) in plain, (-1, -1) in residual, (-1, -2) in hyper-residual networks",
            measured(saddle_distance, "largest distance") < 1e-6, source="orhan2018 Note 5, figure S5a",
        ),
        claim(
            "residual-faster", "With ten layers the residual network is faster than the plain one, for every s",
            faster_network("residual", "plain") > 0, source="orhan2018 Note 5, figure S5b",
        ),
        claim(
            "hyper-faster", "With ten layers the hyper-residual network is faster than the residual one",
            faster_network("hyper-residual", "residual") > 0, source="orhan2018 Note 5, figure S5b",
        ),
        claim(
            "hyper-faster-in-steps", "It is faster also in steps of gradient descent",
            faster_network("hyper-residual", "residual", in_steps=True) > 0, ours=True,
        ),
        *(
            claim(
                f"deeper-{first}", f"What {first} networks gain over {second} ones is more pronounced with depth",
                more_with_depth(first, second) > 0, source="orhan2018 Note 5",
            )
            for first, second in (("residual", "plain"), ("hyper-residual", "residual"))
        ),
        claim(
            "plain-does-not-arrive", "The plain network's u does not reach s in the window",
            measured(plain_reaches, "largest |u| / s over s at its end, mean over starts") < 0.99,
            source="orhan2018 Note 5, figure S5b",
        ),
        claim(
            "hessian", "The second derivatives agree with automatic differentiation",
            measured(hessian_gap, "largest relative distance") < ROUNDING, source="orhan2018 equations 33-34",
        ),
        claim(
            "equal-columns", "Columns i and j of the Hessian are identical when a_i = a_j",
            measured(columns_are_equal, "relative distance, mean over random points") < ROUNDING,
            source="orhan2018 Note 5",
        ),
        claim(
            "matrices", "Modes of actual, rectangular weight matrices under gradient descent follow equations 29-31",
            measured(
                matrix_order, "order with which the distance falls with the step, Euler's method has 1",
                "order in the step",
            ) > 0.9, source="orhan2018 Note 5 (after Saxe et al. 2013)",
        ),
    ),
    differs=("The paper gives neither the start nor the window of figure S5b; here weights of size 0.01 and 100 tau.",),
    labels={
        "da": "velocity of a (1/tau)",
        "db": "velocity of b (1/tau)",
        "speed": "speed (1/tau)",
        "saddle": "coordinate of the saddle",
        "paths": "coordinate of the path",
        "hessian_gap": "distance of the derived from the computed Hessian / its norm",
        "equal_columns": "distance of the Hessian's columns of equal weights / its norm",
        "matrix_gap": "distance of the matrices' descent from the modes' flow",
    },
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
