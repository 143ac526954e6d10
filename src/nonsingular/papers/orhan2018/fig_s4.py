"""Figure S4: linear three-layer networks with two modes, and their Hessian (Note 5)."""

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

SINGULAR_VALUES = (3.0, 1.5)


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
            "skip_nullity": ("run", _skip_nullity(spec)),
            "shift_gap": ("run", [_shift_gap(spec.seed + k) for k in range(spec.runs)]),
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


SKIPS = np.eye(3)[:, :2]  # orthonormal skip vectors of three hidden units, one a mode


def _skip_nullity(spec: Spec) -> Array:
    """As ``_overlap_nullity`` of the residual network, where two hidden units have the same outgoing weights b."""
    out = np.empty(spec.runs)
    for k in range(spec.runs):
        A, B = np.random.default_rng(spec.seed + k).standard_normal((2, 3, 2))
        B[1] = B[0]
        H = linear_networks.three_layer_hessian(A, B, np.array(SINGULAR_VALUES), SKIPS, SKIPS)
        values = np.abs(np.linalg.eigvalsh(H))
        out[k] = np.log10(max(values.min() / values.max(), 1e-18))
    return out


def _shift_gap(seed: int) -> float:
    """Relative distance of the residual Hessian at (a - v, b - u) from the plain one at (a, b), equal b."""
    A, B = np.random.default_rng(seed).standard_normal((2, 3, 2))
    B[1] = B[0]
    s = np.array(SINGULAR_VALUES)
    plain = linear_networks.three_layer_hessian(A, B, s)
    residual = linear_networks.three_layer_hessian(A - SKIPS, B - SKIPS, s, SKIPS, SKIPS)
    return float(np.abs(plain - residual).max() / np.abs(plain).max())


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
