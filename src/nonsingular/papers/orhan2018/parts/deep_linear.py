"""What figure S5 shows: deep linear networks, their phase portraits and their speed, solved (Note 5)."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.theory import linear_networks

NETWORKS = linear_networks.NETWORKS


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
    for k, seed in enumerate(workspace.each("trajectories", spec.seeds, "starts")):
        start = settings["start"] * np.random.default_rng(seed).standard_normal(weights)
        for i, network in enumerate(NETWORKS):
            for j, s in enumerate(S_VALUES):
                path = linear_networks.mode_trajectory(network, s, start, times, tolerance=1e-8)
                u[i, j, k] = path.u
                converged[i, j, k] = linear_networks.time_to_converge(times, np.abs(path.u / s - 1))
                few = linear_networks.mode_trajectory(network, s, start[: SHALLOW - 1], times, tolerance=1e-8)
                shallow[i, j, k] = linear_networks.time_to_converge(times, np.abs(few.u / s - 1))
                curvature[i, j, k] = path.curvature.where(path.time <= converged[i, j, k]).max()
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


def _paths(network: str) -> np.ndarray:
    """Trajectories of the three-layer network from starts around the origin, ``[path, step, 2]``."""
    times = np.concatenate([[0], np.geomspace(1e-3, 30, 200)])
    angles = np.linspace(0, 2 * np.pi, 9)[:-1] + 0.2
    starts = 0.3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.stack([linear_networks.mode_trajectory(network, 3.0, a, times, tolerance=1e-6).a for a in starts])


def _mode_gaps(spec: Spec) -> np.ndarray:
    """Relative distance between equations 33-34 and automatic differentiation of 29-31 at random points."""
    gaps = np.empty((len(NETWORKS), spec.runs))
    for i, network in enumerate(NETWORKS):
        c = linear_networks.skip_strengths(network, 6)
        for k, seed in enumerate(spec.seeds):
            a = np.random.default_rng(seed).standard_normal(5)
            automatic = torch.func.hessian(lambda p, c=c: (3.0 - (p + torch.tensor(c)).prod()) ** 2 / 2)(
                torch.tensor(a)
            )
            ours = linear_networks.mode_hessian(a, 3.0, c)
            gaps[i, k] = np.abs(ours - automatic.numpy()).max() / np.abs(ours).max()
    return gaps


def _equal_columns(spec: Spec) -> np.ndarray:
    """Relative distance between columns i and j of the residual network's Hessian where a_i = a_j."""
    c = linear_networks.skip_strengths("residual", 5)
    out = np.empty((2, spec.runs))
    for k, seed in enumerate(spec.seeds):
        a = np.abs(np.random.default_rng(seed).standard_normal(4))
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
