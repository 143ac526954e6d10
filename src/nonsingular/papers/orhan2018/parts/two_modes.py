"""What figure S4 shows: linear three-layer networks with two modes, solved, and their Hessian (Note 5)."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.theory import linear_networks

SINGULAR_VALUES = (3.0, 1.5)


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Three-layer linear networks with two modes from small, from equal and from random equal-norm starts."""
    times = np.linspace(0, spec.settings["window"], spec.settings["points"])
    skips = linear_networks.hadamard_skips()
    zero = np.zeros((2, 2))

    def learn(network: str, A: np.ndarray, B: np.ndarray) -> xr.Dataset:
        skip = skips if network == "residual" else zero
        return linear_networks.three_layer_trajectory(SINGULAR_VALUES, A, B, times, U=skip, V=skip)

    def converged(path: xr.Dataset) -> float:
        return linear_networks.time_to_converge(path.time, path.error)

    # the caption's start of b; the residual network's zeros give vectors of the same norm, 1
    overlapped = np.ones((2, 2)) / np.sqrt(2), np.array([[1.0, 1.0], [-1.0, -1.0]]) / np.sqrt(2)
    equal = {"plain": learn("plain", *overlapped), "residual": learn("residual", zero, zero)}
    shown: dict[str, xr.Dataset] = {}
    convergence = np.empty((2, 2, spec.runs))
    for k, seed in enumerate(workspace.each("trajectories", spec.seeds, "starts")):
        rng = np.random.default_rng(seed)
        small, unit = 1e-4 * rng.standard_normal((2, 2, 2)), rng.standard_normal((2, 2, 2))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        paths = {network: learn(network, *small) for network in ("plain", "residual")}
        shown = shown or paths
        convergence[0, :, k] = [converged(paths[n]) for n in ("plain", "residual")]
        convergence[1, :, k] = [converged(learn("plain", *unit)), converged(equal["residual"])]
    networks, drawn = ["plain", "residual"], (shown, equal)
    return xr.Dataset(
        {
            **{
                name: (("start", "network", "time", *dims), [[paths[n][name] for n in networks] for paths in drawn])
                for name, dims in (("a", ("hidden", "mode")), ("error", ()), ("strength", ("mode",)))
            },
            "converged": (("draw", "network", "run"), convergence, {"units": "tau", "long_name": "time to 1 % error"}),
            "equal_converged": ("network", [converged(equal[n]) for n in networks], {"units": "tau"}),
            "hessian_gap": ("run", [_three_layer_gap(seed) for seed in spec.seeds]),
            "plain_conditioning": (("point", "run"), _conditioning_at_overlap(spec)),
            "residual_conditioning": ("run", _residual_conditioning(spec)),
            "shift_gap": ("run", [_shift_gap(seed) for seed in spec.seeds]),
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


def _conditioning_at_overlap(spec: Spec) -> np.ndarray:
    """Log10 of the reciprocal condition number (smallest over largest |eigenvalue|) of the plain network's Hessian.

    It is by all weights, at three places: at a random one, at one where two hidden units have the same outgoing weights
    b, and at such a one where besides the error R is 0 (three hidden units and two modes, so that it can be).
    """
    s = np.array(SINGULAR_VALUES)
    out = np.empty((3, spec.runs))
    for k, seed in enumerate(spec.seeds):
        A, B = np.random.default_rng(seed).standard_normal((2, 3, 2))
        merged = B.copy()
        merged[1] = merged[0]
        solved = A + np.linalg.pinv(merged.T) @ (np.diag(s) - merged.T @ A)
        for i, (a, b) in enumerate([(A, B), (A, merged), (solved, merged)]):
            out[i, k] = _log_conditioning(linear_networks.three_layer_hessian(a, b, s))
    return out


def _log_conditioning(H: np.ndarray) -> float:
    values = np.abs(np.linalg.eigvalsh(H))
    return float(np.log10(max(values.min() / values.max(), 1e-18)))


SKIPS = np.eye(3)[:, :2]  # orthonormal skip vectors of three hidden units, one a mode


def _residual_conditioning(spec: Spec) -> np.ndarray:
    """As ``_conditioning_at_overlap`` of the residual network, where two hidden units have equal outgoing weights b."""
    out = np.empty(spec.runs)
    for k, seed in enumerate(spec.seeds):
        A, B = np.random.default_rng(seed).standard_normal((2, 3, 2))
        B[1] = B[0]
        H = linear_networks.three_layer_hessian(A, B, np.array(SINGULAR_VALUES), SKIPS, SKIPS)
        out[k] = _log_conditioning(H)
    return out


def _shift_gap(seed: int) -> float:
    """Relative distance of the residual Hessian at (a - v, b - u) from the plain one at (a, b), equal b."""
    A, B = np.random.default_rng(seed).standard_normal((2, 3, 2))
    B[1] = B[0]
    s = np.array(SINGULAR_VALUES)
    plain = linear_networks.three_layer_hessian(A, B, s)
    residual = linear_networks.three_layer_hessian(A - SKIPS, B - SKIPS, s, SKIPS, SKIPS)
    return float(np.abs(plain - residual).max() / np.abs(plain).max())
