"""What figure 2's claims measure of two hidden units and of linear dependence, solved."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import require
from nonsingular.experiments.verbs import Measure, measured
from nonsingular.words import counted, percentage


@measured(
    "log10 of the Fisher information's smallest relative eigenvalue on h = 0 and z = 1 (z = -1 is the same with "
    "the units exchanged) over that beside the lines"
)
def log_degeneracy_of_singular_lines(results: xr.Dataset) -> Effect:
    """The largest on the lines ``overlap`` (h = 0) and ``elimination`` (z = 1), over the median beside them."""
    require(results, "fisher")
    fisher = np.abs(results.fisher)
    on = float(fisher.sel(line=["overlap", "elimination"]).max())
    beside = float(fisher.sel(line="regular").median())
    return exactly(float(np.log10(max(on, 1e-18) / beside)), f"median beside the lines {beside:.1e}")


@measured("smaller of the margins by which the lowest curvature is positive on one and negative on the other", "|w a|")
def stability_margin(results: xr.Dataset) -> Effect:
    """The smaller of the two margins: curvature inside |z| < 1 above 0 and outside below 0, or the reverse."""
    require(results, "lowest", "segments")
    z = np.abs(results.line_z)
    inside, outside = results.lowest.where(z < 0.95, drop=True), results.lowest.where(z > 1.05, drop=True)
    inner_stable = min(float(inside.min()), -float(outside.max()))
    outer_stable = min(float(outside.min()), -float(inside.max()))
    shares = [
        f"{percentage(float((s == 1).sum() / s.notnull().sum()))} with {counted(int(s.inputs), 'input')}"
        for s in results.segments.transpose("inputs", "teacher")
        if s.notnull().any()
    ]
    return exactly(max(inner_stable, outer_stable), f"of random teachers: one stable segment in {', '.join(shares)}")


def share_with_one_stable_segment(inputs: int) -> Measure:
    """Share of random teachers for which exactly one segment of h = 0 is stable."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "segments")
        found = results.segments.sel(inputs=inputs)
        return mean((found == 1).where(found.notnull()), within=(0, 1))

    return Measure(effect, f"share of random teachers with {counted(inputs, 'input')}")


@measured(
    "log10 of the slow-down: the squared gradient norm at the start, or where the loss then falls fastest if that is "
    "smaller, over the smallest between",
    "log10",
)
def log_slow_down(results: xr.Dataset) -> Effect:
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


@measured("order with which the distance between the full and the reduced flow falls with h", "order in h")
def order_of_reduction(results: xr.Dataset) -> Effect:
    """Slope of log deviation against log h."""
    require(results, "deviation", "scale_h")
    slopes = {
        str(flow): float(np.polyfit(np.log(results.scale_h), np.log(results.deviation.sel(flow=flow)), 1)[0])
        for flow in results.flow.values
    }
    return exactly(slopes["uniform"], f"order {slopes['narrow']:.2f} without the term z' u / 2")


def log_speed_of_m(system: str, where: str) -> Measure:
    """Mean over teachers of log10(rms speed of m / rms speed of |Jc|)."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "ratio")
        ratios = results.ratio.sel(system=system)
        return mean(np.log10(ratios), note=f"m is slower for {percentage(float((ratios < 1).mean()))} of the teachers")

    return Measure(effect, f"log10 of the rms speed of m over that of |Jc|, {where}, mean over teachers", "log10")
