"""Figure S4: linear three-layer networks with two modes, and their Hessian (Note 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, Region, exactly, mean
from nonsingular.experiments.effects import ROUNDING, hessian_gap, require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive
from nonsingular.theory import linear_networks

Array = np.ndarray

SINGULAR_VALUES = (3.0, 1.5)
_SCALES = {
    "smoke": (10, {"window": 40.0, "points": 801}),
    "laptop": (100, {"window": 40.0, "points": 801}),
    "paper": (1000, {"window": 80.0, "points": 1601}),
}


def specs(scale: str) -> Spec:
    """Figure S4 at a scale; ``runs`` random starts."""
    runs, settings = at_scale(_SCALES, scale)
    return Spec("orhan2018/figS4", scale, runs=runs, settings=settings)


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
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
        require(results, "converged")
        hours = results.converged.sel(draw=draw)
        missed = int((~np.isfinite(hours)).sum())
        hours = np.minimum(hours, results.attrs["window"])
        note = f"{missed} not converged in the window, counted with its end" if missed else ""
        return mean(np.log10(hours.sel(network="plain") / hours.sel(network="residual")), note=note)

    return effect


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


CLAIMS = (
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


EXPERIMENTS = (
    Experiment(
        id="orhan2018/figS4",
        title="Linear three-layer networks with two modes, plain against residual",
        specs=specs,
        run=run,
        draw=plots.figs4,
        interactive=interactive.figs4,
        claims=CLAIMS,
        labels={
            "a": "mode's part of the incoming weights",
            "strength": "strength of the mode",
            "equal_converged": "time to 1 % error from equal norms (tau)",
            "hessian_gap": "distance of the derived from the computed Hessian / its norm",
            "overlap_nullity": "eigenvalues that are zero to rounding",
        },
    ),
)
