"""The small exact models of Orhan & Pitkow 2018: figures 2, S4 and S5. They need no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.claims import NEGATIVE, Claim, Effect, NotMeasured, Region, exactly, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.workspace import Workspace
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive
from nonsingular.theory import linear_dependence, linear_networks, two_units
from nonsingular.theory import student_teacher as st

Array = np.ndarray
ROUNDING = 1e-9  # identities between float64 numbers of order one hold to better than this


def _needs(results: xr.Dataset, *names: str) -> None:
    for name in names:
        if name not in results:
            raise NotMeasured(f"{name} is not among the results")


# --- figure 2 -----------------------------------------------------------------------------------------------

_FIG2 = {
    "smoke": (6, {"grid": 41, "plane": 7, "teachers_plane": 3, "scales": [1.0, 0.5, 0.25]}),
    "laptop": (20, {"grid": 81, "plane": 15, "teachers_plane": 5, "scales": [2.0, 1.0, 0.5, 0.25, 0.125]}),
    "paper": (
        100,
        {"grid": 161, "plane": 31, "teachers_plane": 13, "scales": [4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625]},
    ),
}
STARTS = (0.9, 1.02, 1.1, 1.5)  # eta at z = 0.4, relative to the edge of the basin: one inside, three outside


def fig2_specs(scale: str) -> Spec:
    """Figure 2 at a scale; ``runs`` teachers."""
    runs, settings = _at_scale(_FIG2, scale)
    return Spec("orhan2018/fig2", scale, runs=runs, settings=settings)


def run_fig2(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Two hidden units (b, c) and linear dependence (d, e)."""
    settings, progress = spec.settings, workspace.progress
    teacher = two_units.close_teacher(0.5)
    edge = np.linspace(-1, 1, 402)  # an even number of points leaves out z = 0, where it is infinite
    parts = [
        two_units.reduced_flow(np.linspace(-2, 2, settings["grid"]), np.linspace(-1.5, 1.5, settings["grid"])),
        _trajectories(teacher),
        two_units.convergence(settings["scales"], points=101).rename(h="scale_h", separation="scale_separation"),
        two_units.singular_lines(teacher).rename(z="line_z"),
        xr.Dataset({"edge_eta": ("edge_z", two_units.separatrix(edge))}, coords={"edge_z": edge}),
    ]
    seeds = range(spec.seed, spec.seed + spec.runs)
    progress.start("flow fields", len(seeds) + 1, "teachers")
    ratios, segments = [], []
    for seed in seeds:
        field = linear_dependence.flow(
            linear_dependence.random_teacher(seed), np.linspace(0.2, 2, settings["teachers_plane"])
        )
        ratios.append(linear_dependence.speed_ratio(field).ratio.values)
        segments.append([_stable_segments(inputs, seed) for inputs in (1, 2, 3)])
        progress.advance()
    shown = linear_dependence.flow(linear_dependence.random_teacher(spec.seed), np.linspace(0.1, 2, settings["plane"]))
    progress.advance()
    parts.append(shown.rename({name: f"plane_{name}" for name in (*shown.data_vars, "m", "c")}))
    parts.append(
        xr.Dataset(
            {
                "ratio": (("teacher", "system"), np.array(ratios), {"long_name": "rms speed of m / of |Jc|"}),
                "segments": (("teacher", "inputs"), np.array(segments), {"long_name": "stable segments of h = 0"}),
            },
            coords={"teacher": list(seeds), "system": ["optimised", "teacher", "weights"], "inputs": [1, 2, 3]},
        )
    )
    return xr.merge(parts, combine_attrs="drop_conflicts")


def _trajectories(teacher: st.Network) -> xr.Dataset:
    """Full and reduced trajectories from ``STARTS``; losses relative to the best single unit's."""
    single = two_units.best_single_unit(teacher)
    tau = np.concatenate([[0], np.geomspace(0.05, 150, 600)])
    z, edge = 0.4, float(two_units.separatrix(0.4))
    full, reduced = [], []
    for start in STARTS:
        path = two_units.full_trajectory(
            two_units.start_near(single, z, start * edge), teacher, tau / (single.w * single.a)
        )
        full.append([path.z, path.h / single.w, path.loss / single.loss, path.rate])
        short = two_units.reduced_trajectory(z, start * edge, 150.0, points=1501)
        reduced.append([np.interp(tau, short.tau, short[name], right=np.nan) for name in ("z", "eta")])
    names = ("path_z", "path_eta", "path_loss", "path_rate")
    dims = ("start", "tau")
    variables: dict[str, Any] = {n: (dims, np.array([f[i] for f in full])) for i, n in enumerate(names)}
    variables |= {n: (dims, np.array([r[i] for r in reduced])) for i, n in enumerate(("reduced_z", "reduced_eta"))}
    return xr.Dataset(variables, coords={"start": list(STARTS), "tau": ("tau", tau, {"units": "1 / (w a)"})})


def _stable_segments(inputs: int, seed: int) -> float:
    """How many of the segments |z| < 1 and |z| > 1 of h = 0 attract, for a random two-unit teacher; NaN without one.

    The segment |z| < 1 attracts when w A has no negative eigenvalue, |z| > 1 when it has no positive one.
    """
    rng = np.random.default_rng(seed)
    teacher = st.Network(rng.standard_normal((2, inputs)), rng.standard_normal((1, 2)))
    try:
        single = two_units.best_single_unit(teacher)
    except InputError:
        return np.nan
    values = np.linalg.eigvalsh(single.w * single.A)
    values /= np.abs(values).max()  # directions orthogonal to J and the teacher's weights have eigenvalue 0
    return float((values > -ROUNDING).all()) + float((values < ROUNDING).all())


def singular_lines_are_degenerate(results: xr.Dataset) -> Effect:
    """Log10 of the Fisher information's relative smallest eigenvalue on the lines, against beside them."""
    _needs(results, "fisher")
    fisher = np.abs(results.fisher)
    on = float(fisher.sel(line=["overlap", "elimination"]).max())
    beside = float(fisher.sel(line="regular").median())
    return exactly(float(np.log10(max(on, 1e-18) / beside)), f"median beside the lines {beside:.1e}")


def one_segment_is_stable(results: xr.Dataset) -> Effect:
    """The smaller of the two margins: curvature inside |z| < 1 above 0 and outside below 0, or the reverse."""
    _needs(results, "lowest", "segments")
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


def always_one_segment(inputs: int) -> Any:
    """Share of random teachers for which exactly one segment of h = 0 is stable."""

    def effect(results: xr.Dataset) -> Effect:
        _needs(results, "segments")
        found = results.segments.sel(inputs=inputs)
        return mean((found == 1).where(found.notnull()))

    return effect


def plateau(results: xr.Dataset) -> Effect:
    """Log10 of the slow-down on the trajectory nearest to, but outside, the basin; 0 if it never escapes."""
    _needs(results, "path_rate", "path_loss")
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
    _needs(results, "deviation", "scale_h")
    slopes = {
        str(flow): float(np.polyfit(np.log(results.scale_h), np.log(results.deviation.sel(flow=flow)), 1)[0])
        for flow in results.flow.values
    }
    return exactly(slopes["uniform"], f"order {slopes['narrow']:.2f} without the term z' u / 2")


def log_speed_ratio(system: str) -> Any:
    """Mean over teachers of log10(rms speed of m / rms speed of |Jc|)."""

    def effect(results: xr.Dataset) -> Effect:
        _needs(results, "ratio")
        ratios = results.ratio.sel(system=system)
        return mean(np.log10(ratios), note=f"m is slower for {float((ratios < 1).mean()):.0%} of the teachers")

    return effect


_FIG2_CLAIMS = (
    Claim(
        "orhan2018/fig2/degenerate-lines",
        "Orhan & Pitkow 2018, §2.2, figure 2b",
        "h = 0 and z = ±1 are degenerate: log10 of the Fisher information's smallest relative eigenvalue there, "
        "against points beside the lines, is below -6",
        singular_lines_are_degenerate,
        Region(high=-6),
    ),
    Claim(
        "orhan2018/fig2/stable-segment",
        "Orhan & Pitkow 2018, figure 2b",
        "The elimination lines divide h = 0 into a stable and an unstable segment: smaller of the two margins by which "
        "the lowest curvature is positive on one and negative on the other",
        one_segment_is_stable,
        unit="|w a|",
    ),
    Claim(
        "orhan2018/fig2/stable-segment-one-input",
        "Orhan & Pitkow 2018, §2.2 (generality over teachers is ours)",
        "With one input, more than half of all random teachers give exactly one stable segment of h = 0",
        always_one_segment(1),
        Region(low=0.5),
    ),
    Claim(
        "orhan2018/fig2/stable-segment-three-inputs",
        "Orhan & Pitkow 2018, §2.2 (generality over teachers is ours)",
        "With three inputs, more than half of all random teachers give exactly one stable segment of h = 0",
        always_one_segment(3),
        Region(low=0.5),
    ),
    Claim(
        "orhan2018/fig2/plateau",
        "Orhan & Pitkow 2018, figure 2c",
        "A trajectory from outside the stable segment's basin still passes a plateau: learning slows at least tenfold "
        "before it speeds up again (log10 of the slow-down above 1)",
        plateau,
        Region(low=1),
        unit="log10",
    ),
    Claim(
        "orhan2018/fig2/reduction",
        "Orhan & Pitkow 2018, figure 2a-b (after Wei et al. 2008)",
        "The flow of the full network reduces to (h, z) near the overlap line: the distance between both falls with h "
        "with order at least 0.8",
        convergence_order,
        Region(low=0.8),
        unit="order in h",
    ),
    Claim(
        "orhan2018/fig2/slow-along-m",
        "Orhan & Pitkow 2018, figure 2e, Note 2",
        "Learning along m is slower than along |Jc|, all else at its optimum for each (m, |Jc|): mean log10 speed "
        "ratio below 0",
        log_speed_ratio("optimised"),
        NEGATIVE,
        unit="log10",
    ),
    Claim(
        "orhan2018/fig2/much-slower-along-m",
        "Orhan & Pitkow 2018, §2.2",
        "Learning along m is much slower than along |Jc|: at least three times, all else at its optimum",
        log_speed_ratio("optimised"),
        Region(high=-np.log10(3)),
        unit="log10",
    ),
    Claim(
        "orhan2018/fig2/slow-along-m-at-teacher",
        "Orhan & Pitkow 2018, figure 2e, Note 2 (all else at the teacher's values)",
        "Learning along m is slower than along |Jc| with all else held at the teacher's values",
        log_speed_ratio("teacher"),
        NEGATIVE,
        unit="log10",
    ),
    Claim(
        "orhan2018/fig2/slow-along-m-in-weights",
        "Orhan & Pitkow 2018, §2.2 (the weights' own gradient flow)",
        "m is slower than |Jc| when the weights themselves follow their gradient, whatever the coordinates",
        log_speed_ratio("weights"),
        NEGATIVE,
        unit="log10",
    ),
)


# --- figure S4 ----------------------------------------------------------------------------------------------

SINGULAR_VALUES = (3.0, 1.5)
_FIGS4 = {
    "smoke": (10, {"window": 40.0, "points": 801}),
    "laptop": (100, {"window": 40.0, "points": 801}),
    "paper": (1000, {"window": 80.0, "points": 1601}),
}


def figs4_specs(scale: str) -> Spec:
    """Figure S4 at a scale; ``runs`` random starts."""
    runs, settings = _at_scale(_FIGS4, scale)
    return Spec("orhan2018/figS4", scale, runs=runs, settings=settings)


def run_figs4(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Three-layer linear networks with two modes from small, from equal and from random equal-norm starts."""
    times = np.linspace(0, spec.settings["window"], spec.settings["points"])
    skips = linear_networks.hadamard_skips()
    zero = np.zeros((2, 2))

    def learn(network: str, A: Array, B: Array) -> xr.Dataset:
        skip = skips if network == "residual" else zero
        return linear_networks.three_layer_trajectory(SINGULAR_VALUES, A, B, times, U=skip, V=skip)

    def converged(path: xr.Dataset) -> float:
        return linear_networks.time_to_converge(path.time, path.error)

    # the caption's start of b; the residual network's zeros give vectors of the same norm, 1
    overlapped = np.ones((2, 2)) / np.sqrt(2), np.array([[1.0, 1.0], [-1.0, -1.0]]) / np.sqrt(2)
    equal = {"plain": learn("plain", *overlapped), "residual": learn("residual", zero, zero)}
    shown: dict[str, xr.Dataset] = {}
    hours = np.empty((2, 2, spec.runs))
    workspace.progress.start("trajectories", spec.runs, "starts")
    for k in range(spec.runs):
        rng = np.random.default_rng(spec.seed + k)
        small, unit = 1e-4 * rng.standard_normal((2, 2, 2)), rng.standard_normal((2, 2, 2))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        paths = {network: learn(network, *small) for network in ("plain", "residual")}
        shown = shown or paths
        hours[0, :, k] = [converged(paths[n]) for n in ("plain", "residual")]
        hours[1, :, k] = [converged(learn("plain", *unit)), converged(equal["residual"])]
        workspace.progress.advance()
    networks = ["plain", "residual"]
    return xr.Dataset(
        {
            "a": (
                ("start", "network", "time", "hidden", "mode"),
                np.stack([[paths[n].a for n in networks] for paths in (shown, equal)]),
            ),
            "error": (
                ("start", "network", "time"),
                np.stack([[paths[n].error for n in networks] for paths in (shown, equal)]),
            ),
            "strength": (
                ("start", "network", "time", "mode"),
                np.stack([[paths[n].strength for n in networks] for paths in (shown, equal)]),
            ),
            "converged": (("draw", "network", "run"), hours, {"units": "tau", "long_name": "time to 1 % error"}),
            "equal_converged": ("network", [converged(equal[n]) for n in networks], {"units": "tau"}),
            "hessian_gap": ("run", [_three_layer_gap(spec.seed + k) for k in range(spec.runs)]),
            "overlap_nullity": (("point", "run"), _overlap_nullity(spec)),
        },
        coords={
            "start": ["small", "equal norms"],
            "draw": ["small", "random equal norms"],
            "network": networks,
            "time": ("time", times, {"units": "tau"}),
            "point": ["generic", "overlap", "overlap, no error"],
        },
        attrs={"s": list(SINGULAR_VALUES), "window": spec.settings["window"]},
    )


def _three_layer_gap(seed: int) -> float:
    """Relative distance between equations 23-28 and automatic differentiation of 26 at a random point."""
    rng = np.random.default_rng(seed)
    A, B, U, V = rng.standard_normal((4, 3, 2))
    s = np.array(SINGULAR_VALUES)
    ours = linear_networks.three_layer_hessian(A, B, s, U, V)

    def energy(p: torch.Tensor) -> torch.Tensor:
        a, b = p.reshape(2, 2, 3).transpose(1, 2)
        error = torch.diag(torch.tensor(s)) - (b + torch.tensor(U)).T @ (a + torch.tensor(V))
        return (error**2).sum() / 2

    point = torch.tensor(np.concatenate([A.T.ravel(), B.T.ravel()]))
    automatic = torch.func.hessian(energy)(point).numpy()
    return float(np.abs(ours - automatic).max() / np.abs(automatic).max())


def _overlap_nullity(spec: Spec) -> Array:
    """Log10 of the smallest over the largest |eigenvalue| of the plain network's whole Hessian, at three places.

    At a random one, at one where two hidden units have the same outgoing weights b, and at such a one where besides
    the error R is 0 (three hidden units and two modes, so that it can be).
    """
    s = np.array(SINGULAR_VALUES)
    out = np.empty((3, spec.runs))
    for k in range(spec.runs):
        A, B = np.random.default_rng(spec.seed + k).standard_normal((2, 3, 2))
        merged = B.copy()
        merged[1] = merged[0]
        solved = A + np.linalg.pinv(merged.T) @ (np.diag(s) - merged.T @ A)
        for i, (a, b) in enumerate([(A, B), (A, merged), (solved, merged)]):
            values = np.abs(np.linalg.eigvalsh(linear_networks.three_layer_hessian(a, b, s)))
            out[i, k] = np.log10(max(values.min() / values.max(), 1e-18))
    return out


def time_ratio(draw: str) -> Any:
    """Mean log10(plain's time / residual's) to 1 % error; runs that do not get there count with the window's end."""

    def effect(results: xr.Dataset) -> Effect:
        _needs(results, "converged")
        hours = results.converged.sel(draw=draw)
        missed = int((~np.isfinite(hours)).sum())
        hours = np.minimum(hours, results.attrs["window"])
        note = f"{missed} not converged in the window, counted with its end" if missed else ""
        return mean(np.log10(hours.sel(network="plain") / hours.sel(network="residual")), note=note)

    return effect


def equal_start_ratio(results: xr.Dataset) -> Effect:
    """The same for the caption's own start."""
    _needs(results, "equal_converged")
    plain, residual = (float(results.equal_converged.sel(network=n)) for n in ("plain", "residual"))
    window = results.attrs["window"]
    left = float(results.error.sel(start="equal norms", network="plain").isel(time=-1))
    if np.isfinite(plain):
        note = ""
    else:
        note = f"at least: the plain network stops on a saddle with error {left:.2f}, its second mode never learnt"
    return exactly(float(np.log10(min(plain, window) / min(residual, window))), note)


def hessian_gap(results: xr.Dataset) -> Effect:
    """The largest relative distance over the random points."""
    _needs(results, "hessian_gap")
    return exactly(float(results.hessian_gap.max()))


def overlap_is_singular(results: xr.Dataset) -> Effect:
    """The mean at points with two equal b."""
    _needs(results, "overlap_nullity")
    generic, solved = (float(results.overlap_nullity.sel(point=p).mean()) for p in ("generic", "overlap, no error"))
    return mean(
        results.overlap_nullity.sel(point="overlap"),
        note=f"{generic:.1f} at generic points, {solved:.1f} where also the error is 0: the paper's block d2E/da2 is "
        "singular, but the blocks d2E/dadb contain the error",
    )


_FIGS4_CLAIMS = (
    Claim(
        "orhan2018/figS4/small-start",
        "Orhan & Pitkow 2018, figure S4a",
        "From small random weights the residual network converges faster: mean log10(plain / residual time) above 0",
        time_ratio("small"),
        unit="log10",
    ),
    Claim(
        "orhan2018/figS4/equal-norms",
        "Orhan & Pitkow 2018, figure S4b",
        "It does so even with equal starting norms, from the caption's start",
        equal_start_ratio,
        unit="log10",
    ),
    Claim(
        "orhan2018/figS4/equal-norms-random",
        "Orhan & Pitkow 2018, Note 5 (random directions are ours)",
        "It does so on average over random directions of equal norm, not only from the caption's overlapped start",
        time_ratio("random equal norms"),
        unit="log10",
    ),
    Claim(
        "orhan2018/figS4/hessian",
        "Orhan & Pitkow 2018, equations 23-28",
        "The second derivatives agree with automatic differentiation (largest relative distance)",
        hessian_gap,
        Region(high=ROUNDING),
    ),
    Claim(
        "orhan2018/figS4/overlap-singular",
        "Orhan & Pitkow 2018, Note 5",
        "Where two hidden units have equal b for all modes the Hessian is singular: mean log10 of its relative "
        "smallest eigenvalue below -9",
        overlap_is_singular,
        Region(high=-9),
        unit="log10",
    ),
)


# --- figure S5 ----------------------------------------------------------------------------------------------

NETWORKS = linear_networks.NETWORKS
PAPER_SADDLES = {"plain": (0.0, 0.0), "residual": (-1.0, -1.0), "hyper-residual": (-1.0, -2.0)}
S_VALUES = (0.5, 1.5, 3.0)
_FIGS5 = {
    "smoke": (5, {"grid": 31, "points": 301, "steps": 250}),
    "laptop": (30, {"grid": 61, "points": 801, "steps": 500}),
    "paper": (200, {"grid": 121, "points": 1601, "steps": 2000}),
}


def figs5_specs(scale: str) -> Spec:
    """Figure S5 at a scale; ``runs`` random starts."""
    runs, settings = _at_scale(_FIGS5, scale)
    return Spec(
        "orhan2018/figS5", scale, runs=runs, settings={**settings, "layers": 10, "start": 1e-2, "window": 100.0}
    )


def run_figs5(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Phase portraits of three layers, the product u(t) of ten, and the checks of Note 5."""
    settings = spec.settings
    grid = np.linspace(-4, 3, settings["grid"])
    portraits = xr.concat(
        [linear_networks.phase_portrait(n, 3.0, grid, grid) for n in NETWORKS], "network"
    ).assign_coords(network=list(NETWORKS))
    weights = settings["layers"] - 1
    times = np.concatenate([[0], np.geomspace(1e-13, settings["window"], settings["points"])])
    shape = (len(NETWORKS), len(S_VALUES), spec.runs)
    u, curvature = np.empty((*shape, times.size)), np.empty(shape)
    converged = np.empty(shape)
    workspace.progress.start("trajectories", spec.runs, "starts")
    for k in range(spec.runs):
        start = settings["start"] * np.random.default_rng(spec.seed + k).standard_normal(weights)
        for i, network in enumerate(NETWORKS):
            for j, s in enumerate(S_VALUES):
                path = linear_networks.mode_trajectory(network, s, start, times, tolerance=1e-8)
                u[i, j, k] = path.u
                converged[i, j, k] = linear_networks.time_to_converge(times, np.abs(path.u / s - 1))
                curvature[i, j, k] = path.curvature.where(path.time <= converged[i, j, k]).max()
        workspace.progress.advance()
    dims = ("network", "s", "run")
    steps = [settings["steps"] * k for k in (1, 2, 4)]
    saddles = np.stack([linear_networks.saddles(n, 3.0)[:1].reshape(-1) for n in NETWORKS])
    checks = xr.Dataset(
        {
            "saddle": (("network", "coordinate"), saddles),
            "paths": (("network", "path", "step", "coordinate"), np.stack([_paths(n) for n in NETWORKS])),
            "u": ((*dims, "time"), u, {"long_name": "product of a_l + c_l"}),
            "converged": (dims, converged, {"units": "tau", "long_name": "time to |u / s - 1| < 1 %"}),
            "curvature": (dims, curvature, {"long_name": "largest Hessian eigenvalue on the way"}),
            "hessian_gap": (("network", "run"), _mode_gaps(spec)),
            "equal_columns": (("point", "run"), _equal_columns(spec)),
            "matrix_gap": (("network", "steps"), [[_matrix_gap(n, k, spec.seed) for k in steps] for n in NETWORKS]),
        },
        coords={
            "network": list(NETWORKS),
            "coordinate": ["a", "b"],
            "s": list(S_VALUES),
            "steps": steps,
            "time": ("time", times, {"units": "tau"}),
            "point": ["a_i = a_j", "a_i = a_j and u = s"],
        },
        attrs={"window": settings["window"], "layers": settings["layers"]},
    )
    return xr.merge([portraits.drop_attrs(), checks], combine_attrs="override").assign_attrs(checks.attrs)


def _paths(network: str) -> Array:
    """Trajectories of the three-layer network from starts around the origin, ``[path, step, 2]``."""
    times = np.concatenate([[0], np.geomspace(1e-3, 30, 200)])
    angles = np.linspace(0, 2 * np.pi, 9)[:-1] + 0.2
    starts = 0.3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.stack([linear_networks.mode_trajectory(network, 3.0, a, times, tolerance=1e-6).a for a in starts])


def _mode_gaps(spec: Spec) -> Array:
    """Relative distance between equations 33-34 and automatic differentiation of 29-31 at random points."""
    gaps = np.empty((len(NETWORKS), spec.runs))
    for i, network in enumerate(NETWORKS):
        c = linear_networks.skip_strengths(network, 6)
        for k in range(spec.runs):
            a = np.random.default_rng(spec.seed + k).standard_normal(5)
            automatic = torch.func.hessian(lambda p, c=c: (3.0 - (p + torch.tensor(c)).prod()) ** 2 / 2)(
                torch.tensor(a)
            )
            ours = linear_networks.mode_hessian(a, 3.0, c)
            gaps[i, k] = np.abs(ours - automatic.numpy()).max() / np.abs(ours).max()
    return gaps


def _equal_columns(spec: Spec) -> Array:
    """Relative distance between columns i and j of the residual network's Hessian where a_i = a_j."""
    c = linear_networks.skip_strengths("residual", 5)
    out = np.empty((2, spec.runs))
    for k in range(spec.runs):
        a = np.abs(np.random.default_rng(spec.seed + k).standard_normal(4))
        a[1] = a[0]
        for i, s in enumerate((3.0, float(np.prod(a + c)))):
            H = linear_networks.mode_hessian(a, s, c)
            out[i, k] = np.linalg.norm(H[:, 0] - H[:, 1]) / np.linalg.norm(H[:, 0])
    return out


def _matrix_gap(network: str, steps: int, seed: int) -> float:
    """Largest distance between gradient descent on rectangular matrices and the decoupled modes, relative to s.

    Hyper-residual and residual networks need one basis for all layers, the plain one does not. Two modes, widths 4, 5,
    3, 4. Gradient descent is Euler's method for the flow, so the distance should fall as 1 / steps.
    """
    s = np.array([3.0, 1.5])
    strengths = 0.3 * np.random.default_rng(seed).random((3, 2)) + 0.2
    c = linear_networks.skip_strengths(network, 4)
    W, target = linear_networks.aligned_matrices(strengths, (4, 5, 3, 4), s, shared=network != "plain", seed=seed)
    duration = 2.0 if network == "plain" else 0.4
    # outside the modes the skip passes one more dimension, which no target asks for; it is compared in the modes only
    descent = linear_networks.matrix_descent(W, target, c, steps, duration / steps)
    left, _, right = np.linalg.svd(target)
    maps = np.einsum("om,toi,mi->tm", left[:, :2], descent["map"].values, right[:2])
    modes = [linear_networks.mode_trajectory(network, s[m], strengths[:, m], descent.time.values).u for m in range(2)]
    return float(np.abs(maps - np.stack(modes, axis=1)).max() / s[0])


def saddle_distance(results: xr.Dataset) -> Effect:
    """Largest distance between the saddles found and the paper's."""
    _needs(results, "saddle")
    gaps = [np.linalg.norm(results.saddle.sel(network=n) - np.array(PAPER_SADDLES[n])) for n in NETWORKS]
    return exactly(float(max(gaps)))


def faster_network(first: str, second: str, *, in_steps: bool = False) -> Any:
    """Mean log10(second's time / first's), smallest over the singular values; unfinished runs count with the window."""

    def effect(results: xr.Dataset) -> Effect:
        _needs(results, "converged", "curvature")
        hours = np.minimum(results.converged, results.attrs["window"])
        if in_steps:
            hours = hours * results.curvature / 2
        ratios = np.log10(hours.sel(network=second) / hours.sel(network=first))
        means = ratios.mean("run")
        note = "mean at s = " + ", ".join(f"{float(s):g}: {float(m):.2f}" for s, m in zip(means.s, means, strict=True))
        return mean(ratios.min("s"), note=note)

    return effect


def plain_reaches(results: xr.Dataset) -> Effect:
    """Mean over runs of the largest |u| / s that the plain network has reached, over all s."""
    _needs(results, "u")
    share = np.abs(results.u.sel(network="plain")) / results.s
    return mean(share.isel(time=-1).max("s"))


def matrix_order(results: xr.Dataset) -> Effect:
    """Order in the step size at which the distance falls, the smallest over the networks."""
    _needs(results, "matrix_gap")
    steps = np.log(results.steps.values)
    orders = [-np.polyfit(steps, np.log(results.matrix_gap.sel(network=n)), 1)[0] for n in results.network.values]
    last = float(results.matrix_gap.isel(steps=-1).max())
    return exactly(float(min(orders)), f"largest distance {last:.1e} of s at {int(results.steps[-1])} steps")


def columns_are_equal(results: xr.Dataset) -> Effect:
    """Mean relative distance of the two columns."""
    _needs(results, "equal_columns")
    solved = float(results.equal_columns.sel(point="a_i = a_j and u = s").max())
    return mean(
        results.equal_columns.sel(point="a_i = a_j"),
        note=f"the entries H_ii and H_ij differ by (u - s) u / a_i^2 there; at u = s the distance is {solved:.0e}",
    )


_FIGS5_CLAIMS = (
    Claim(
        "orhan2018/figS5/saddles",
        "Orhan & Pitkow 2018, figure S5a",
        "The saddle lies at (0, 0) in the plain, (-1, -1) in the residual and (-1, -2) in the hyper-residual network",
        saddle_distance,
        Region(high=1e-6),
    ),
    Claim(
        "orhan2018/figS5/residual-faster",
        "Orhan & Pitkow 2018, figure S5b",
        "With ten layers the residual network is faster than the plain one: mean log10 time ratio above 0 for every s",
        faster_network("residual", "plain"),
        unit="log10",
    ),
    Claim(
        "orhan2018/figS5/hyper-faster",
        "Orhan & Pitkow 2018, figure S5b",
        "With ten layers the hyper-residual network is faster than the residual one, in gradient flow's own time",
        faster_network("hyper-residual", "residual"),
        unit="log10",
    ),
    Claim(
        "orhan2018/figS5/hyper-faster-in-steps",
        "Orhan & Pitkow 2018, figure S5b (time counted in the largest stable steps is ours)",
        "It is faster also in steps of gradient descent at the largest constant stable learning rate",
        faster_network("hyper-residual", "residual", in_steps=True),
        unit="log10",
    ),
    Claim(
        "orhan2018/figS5/plain-does-not-arrive",
        "Orhan & Pitkow 2018, figure S5b",
        "The plain network's u does not reach s in the window: |u| / s at its end below 0.99",
        plain_reaches,
        Region(high=0.99),
    ),
    Claim(
        "orhan2018/figS5/hessian",
        "Orhan & Pitkow 2018, equations 33-34",
        "The second derivatives agree with automatic differentiation (largest relative distance)",
        hessian_gap,
        Region(high=ROUNDING),
    ),
    Claim(
        "orhan2018/figS5/equal-columns",
        "Orhan & Pitkow 2018, Note 5",
        "Columns i and j of the Hessian are identical when a_i = a_j (relative distance)",
        columns_are_equal,
        Region(high=ROUNDING),
    ),
    Claim(
        "orhan2018/figS5/matrices",
        "Orhan & Pitkow 2018, Note 5 (after Saxe et al. 2013)",
        "Modes of actual, rectangular weight matrices under gradient descent follow equations 29-31: the distance "
        "falls with the step size, as Euler's method does, with order at least 0.9",
        matrix_order,
        Region(low=0.9),
        unit="order in the step",
    ),
)


def _at_scale(table: dict[str, tuple[int, dict[str, Any]]], scale: str) -> tuple[int, dict[str, Any]]:
    if scale not in table:
        raise InputError(f"unknown scale {scale!r}; the scales are {', '.join(table)}")
    return table[scale]


EXPERIMENTS: Sequence[Experiment] = (
    Experiment(
        id="orhan2018/fig2",
        title="Two hidden units, and linear dependence: flow fields, plateaus",
        specs=fig2_specs,
        run=run_fig2,
        draw=plots.fig2,
        interactive=interactive.fig2,
        claims=_FIG2_CLAIMS,
    ),
    Experiment(
        id="orhan2018/figS4",
        title="Linear three-layer networks with two modes, plain against residual",
        specs=figs4_specs,
        run=run_figs4,
        draw=plots.figs4,
        interactive=interactive.figs4,
        claims=_FIGS4_CLAIMS,
    ),
    Experiment(
        id="orhan2018/figS5",
        title="Phase portraits and mode strength of deep linear networks",
        specs=figs5_specs,
        run=run_figs5,
        draw=plots.figs5,
        interactive=interactive.figs5,
        claims=_FIGS5_CLAIMS,
    ),
)
