"""Figure 2: two hidden units (b, c) and linear dependence (d, e), solved."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import Measure, claim, measured
from nonsingular.papers.orhan2018.two_hidden_units import run
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive


def singular_lines_are_degenerate(results: xr.Dataset) -> Effect:
    """Log10 of the Fisher information's relative smallest eigenvalue on the lines, against beside them."""
    require(results, "fisher")
    fisher = np.abs(results.fisher)
    on = float(fisher.sel(line=["overlap", "elimination"]).max())
    beside = float(fisher.sel(line="regular").median())
    return exactly(float(np.log10(max(on, 1e-18) / beside)), f"median beside the lines {beside:.1e}")


def one_segment_is_stable(results: xr.Dataset) -> Effect:
    """The smaller of the two margins: curvature inside |z| < 1 above 0 and outside below 0, or the reverse."""
    require(results, "lowest", "segments")
    z = np.abs(results.line_z)
    inside, outside = results.lowest.where(z < 0.95, drop=True), results.lowest.where(z > 1.05, drop=True)
    inner_stable = min(float(inside.min()), -float(outside.max()))
    outer_stable = min(float(outside.min()), -float(inside.max()))
    shares = [
        f"{float((s == 1).sum() / s.notnull().sum()):.0%} with {int(s.inputs)} input(s)"
        for s in results.segments.transpose("inputs", "teacher")
        if s.notnull().any()
    ]
    return exactly(max(inner_stable, outer_stable), f"of random teachers: one stable segment in {', '.join(shares)}")


def always_one_segment(inputs: int) -> Measure:
    """Share of random teachers for which exactly one segment of h = 0 is stable."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "segments")
        found = results.segments.sel(inputs=inputs)
        return mean((found == 1).where(found.notnull()), within=(0, 1))

    return measured(effect, f"share of random teachers with {inputs} input(s)")


def plateau(results: xr.Dataset) -> Effect:
    """Log10 of the slow-down on the trajectory nearest to, but outside, the basin; 0 if it never escapes."""
    require(results, "path_rate", "path_loss")
    start = min(float(s) for s in results.start if s > 1)
    path = results.sel(start=start)
    rate, loss = path.path_rate.values, path.path_loss.values
    fastest = int(np.argmax(-np.gradient(loss, path.tau.values)[1:]) + 1) if loss[-1] < 0.5 * loss[0] else 0
    if fastest < 2:
        return exactly(0.0, "the loss does not fall to half of its start")
    slowest = rate[:fastest].min()
    slow_down = min(rate[0], rate[fastest]) / slowest
    return exactly(float(np.log10(slow_down)), f"start {start:g} times the edge of the basin, full network")


def convergence_order(results: xr.Dataset) -> Effect:
    """Slope of log deviation against log h."""
    require(results, "deviation", "scale_h")
    slopes = {
        str(flow): float(np.polyfit(np.log(results.scale_h), np.log(results.deviation.sel(flow=flow)), 1)[0])
        for flow in results.flow.values
    }
    return exactly(slopes["uniform"], f"order {slopes['narrow']:.2f} without the term z' u / 2")


def speed_of_m(system: str, where: str) -> Measure:
    """Mean over teachers of log10(rms speed of m / rms speed of |Jc|)."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "ratio")
        ratios = results.ratio.sel(system=system)
        return mean(np.log10(ratios), note=f"m is slower for {float((ratios < 1).mean()):.0%} of the teachers")

    return measured(effect, f"log10 of the rms speed of m over that of |Jc|, {where}, mean over teachers", "log10")


FIGURE = Figure(
    "orhan2018/fig2",
    "Two hidden units, and linear dependence: flow fields, plateaus",
    source="orhan2018 §2.2, figure 2",
    sizes=Scales(
        runs=(6, 20, 100),  # teachers
        grid=(41, 81, 161),
        plane=(7, 15, 31),
        teachers_plane=(3, 5, 13),
        scales=([1.0, 0.5, 0.25], [2.0, 1.0, 0.5, 0.25, 0.125], [4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625]),
    ),
    run=run, draw=plots.fig2, interactive=interactive.fig2,
    claims=(
        claim(
            "degenerate-lines", "h = 0 and z = ±1 are degenerate",
            measured(
                singular_lines_are_degenerate,
                "log10 of the Fisher information's smallest relative eigenvalue there over that beside the lines",
            ) < -6, source="orhan2018 §2.2, figure 2b",
        ),
        claim(
            "stable-segment", "The elimination lines divide h = 0 into a stable and an unstable segment",
            measured(
                one_segment_is_stable,
                "smaller of the margins by which the lowest curvature is positive on one and negative on the other",
                "|w a|",
            ) > 0, source="orhan2018 §2.2, figure 2b",
        ),
        claim(
            "stable-segment-one-input", "With one input most random teachers give exactly one stable segment of h = 0",
            always_one_segment(1) > 0.5, ours=True,
        ),
        claim(
            "stable-segment-three-inputs",
            "With three inputs most random teachers give exactly one stable segment of h = 0",
            always_one_segment(3) > 0.5, ours=True,
        ),
        claim(
            "plateau",
            "A trajectory from outside the stable segment's basin still passes a plateau: learning slows at least "
            "tenfold before it speeds up again", measured(plateau, "log10 of the slow-down", "log10") > 1,
            source="orhan2018 §2.2, figure 2c",
        ),
        claim(
            "reduction", "The flow of the full network reduces to (h, z) near the overlap line",
            measured(convergence_order, "order with which the distance between both falls with h", "order in h") > 0.8,
            source="orhan2018 figure 2a, b (after Wei et al. 2008)",
        ),
        claim(
            "slow-along-m", "Learning along m is slower than along |Jc|",
            speed_of_m("optimised", "all else at its optimum") < 0, source="orhan2018 figure 2e, Note 2",
        ),
        claim(
            "much-slower-along-m", "Learning along m is much slower than along |Jc|, at least three times",
            speed_of_m("optimised", "all else at its optimum") < -float(np.log10(3)),
        ),
        claim(
            "slow-along-m-at-teacher", "Learning along m is slower than along |Jc| with all else as the teacher has it",
            speed_of_m("teacher", "all else at the teacher's values") < 0, ours=True,
        ),
        claim(
            "slow-along-m-in-weights",
            "m is slower than |Jc| when the weights themselves follow their gradient, whatever the coordinates",
            speed_of_m("weights", "flow of the weights") < 0, ours=True,
        ),
    ),
    differs=(
        "Units are erf, whose averages over Gaussian inputs are exact. The flow in (h, z) is a reduction of our own "
        "(theory/two_units.py), checked against the full network, not equations 3.7 and 3.9 of Wei et al. (2008).",
        "The paper speaks of on-singularity plateaus too, a random walk of gradient descent's noise along the stable "
        "segment. They are not judged: these flows have no noise, and how long a walk takes is decided by a learning "
        "rate that the paper does not give.",
    ),
    labels={
        "basin": "whether the flow ends on the stable segment",
        "edge_eta": "h / w of the basin's edge",
        "path_z": "z of the full network",
        "path_eta": "h / w of the full network",
        "path_loss": "loss of the full network / that of the best single unit",
        "path_rate": "squared gradient norm of the full network",
        "reduced_z": "z of the reduced flow",
        "reduced_eta": "h / w of the reduced flow",
        "fisher": "smallest / largest eigenvalue of the Fisher information",
        "teacher": "seed of the teacher",
    },
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
