"""Figure S5: deep linear networks, their phase portraits and their speed (Note 5)."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import ROUNDING, hessian_gap, require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, claim, measured
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive
from nonsingular.theory import linear_networks

Array = np.ndarray

NETWORKS = linear_networks.NETWORKS
PAPER_SADDLES = {"plain": (0.0, 0.0), "residual": (-1.0, -1.0), "hyper-residual": (-1.0, -2.0)}
S_VALUES = (0.5, 1.5, 3.0)
SHALLOW = 3  # layers, as figure S5a has


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
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
    converged, shallow = np.empty(shape), np.empty(shape)
    workspace.progress.start("trajectories", spec.runs, "starts")
    for k in range(spec.runs):
        start = settings["start"] * np.random.default_rng(spec.seed + k).standard_normal(weights)
        for i, network in enumerate(NETWORKS):
            for j, s in enumerate(S_VALUES):
                path = linear_networks.mode_trajectory(network, s, start, times, tolerance=1e-8)
                u[i, j, k] = path.u
                converged[i, j, k] = linear_networks.time_to_converge(times, np.abs(path.u / s - 1))
                few = linear_networks.mode_trajectory(network, s, start[: SHALLOW - 1], times, tolerance=1e-8)
                shallow[i, j, k] = linear_networks.time_to_converge(times, np.abs(few.u / s - 1))
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
            "converged_shallow": (dims, shallow, {"units": "tau", "long_name": "the same with three layers"}),
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
