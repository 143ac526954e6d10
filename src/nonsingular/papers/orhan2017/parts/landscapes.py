"""What is measured of networks of binary weights, enumerated, and of rescaled ones: runs, and effects of claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import require, selected
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, measured
from nonsingular.theory import binary_weights, rescaling

CHANGE = "|log10 of the loss after over before rescaling|, c from 1/4 to 4"
SKIPS = ("all-ones", "residual", "random-skip")


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Enumerate every network of every teacher, and rescale matrices of real-valued ones."""
    settings, seeds = spec.settings, spec.seeds
    shapes = [binary_weights.Shape(*sizes) for sizes in settings["shapes"]]
    enumerated = len(shapes) * len(binary_weights.NETWORKS) + len(settings["strengths"]) * len(SKIPS)
    workspace.progress.start("landscapes", enumerated * spec.runs, "networks")

    def survey(shape: binary_weights.Shape, network: str, seed: int, strength: float = 1.0) -> xr.Dataset:
        found = binary_weights.survey(
            network, shape, seed, strength=strength, sweeps=settings["sweeps"], chains=settings["chains"]
        )
        workspace.progress.advance()
        return found

    def surveys(shape: binary_weights.Shape, networks: Sequence[str], strength: float = 1.0) -> xr.Dataset:
        teachers = [xr.concat([survey(shape, n, k, strength) for k in seeds], "teacher") for n in networks]
        return xr.concat(teachers, "network")

    landscapes = xr.concat([surveys(s, binary_weights.NETWORKS) for s in shapes], "shape")
    landscapes = landscapes.assign_coords(
        shape=["-".join([str(s.inputs)] + [str(s.hidden)] * s.layers) for s in shapes]
    )
    landscapes["bits"] = ("shape", [s.bits for s in shapes])
    landscapes["symmetries"] = ("shape", [s.symmetries for s in shapes])
    stronger = xr.concat([surveys(shapes[0], SKIPS, c) for c in settings["strengths"]], "strength")
    stronger = stronger[["greedy", "annealing", "strict_minima"]].rename(network="skip")
    stronger = stronger.rename({name: f"strength_{name}" for name in stronger.data_vars})
    landscapes = xr.merge([landscapes, stronger.assign_coords(strength=list(settings["strengths"]))])
    factors = np.geomspace(0.25, 4, 33)
    losses = [
        [rescaling.rescaled_losses(network, factors, seed=k).loss for k in seeds] for network in rescaling.NETWORKS
    ]
    rescaled = xr.concat([xr.concat(draws, "draw") for draws in losses], "wiring")
    return landscapes.assign(rescaled=rescaled).assign_coords(wiring=list(rescaling.NETWORKS))


def _per_teacher(results: xr.Dataset, variable: str, network: str) -> np.ndarray:
    """All teachers of all shapes."""
    return selected(results, variable, network=network).transpose("shape", "teacher").values.ravel()


def _means(results: xr.Dataset, variable: str, *networks: str) -> str:
    return ", ".join(f"{n} {_per_teacher(results, variable, n).mean():.3g}" for n in networks)


def _per_optimum(results: xr.Dataset, measure: str, network: str) -> float:
    return float((_per_teacher(results, measure, network) / _per_teacher(results, "optima", network)).mean())


def _by_strength(results: xr.Dataset, measure: str, network: str) -> str:
    if f"strength_{measure}" not in results or network not in results["skip"].values:
        return ""
    rates = results[f"strength_{measure}"].sel(skip=network).mean("teacher")
    shown = ", ".join(f"{float(r):.2g} at {float(c):g}" for c, r in zip(rates.strength, rates, strict=True))
    return f"; {network} by strength of the skip: {shown}"


def success(measure: str, first: str, second: str) -> Measure:
    """Paired difference of success rates in percentage points: first minus second."""

    def effect(results: xr.Dataset) -> Effect:
        gap = _per_teacher(results, measure, first) - _per_teacher(results, measure, second)
        note = f"{_means(results, measure, first, second)}; for each copy of the optimum: "
        note += ", ".join(f"{n} {_per_optimum(results, measure, n):.2g}" for n in (first, second))
        return mean(100 * gap, note=note + _by_strength(results, measure, first), within=(-100, 100))

    words = f"success of {measure}, mean over teachers: {first} minus {second}"
    return Measure(effect, words, "percentage points")


def fewer(variable: str, what: str) -> Measure:
    """Mean over teachers of log10 of the ratio of counts, plain over residual; counts of 0 are taken as one half."""

    def effect(results: xr.Dataset) -> Effect:
        a, b = (np.maximum(_per_teacher(results, variable, n), 0.5) for n in ("plain", "residual"))
        return mean(np.log10(a / b), note=_means(results, variable, "plain", "residual"))

    return Measure(effect, f"log10 of {what}, plain over residual, mean over teachers", "log10")


@measured("log10 of strict minima a copy, plain over residual", "log10")
def minima_per_optimum(results: xr.Dataset) -> Effect:
    """Mean log10 of (strict minima for each copy of the landscape), plain over residual."""
    require(results, "symmetries")
    copies = np.repeat(results.symmetries.values, results.sizes["teacher"])
    plain = np.maximum(_per_teacher(results, "strict_minima", "plain"), 0.5) / copies
    residual = np.maximum(_per_teacher(results, "strict_minima", "residual"), 0.5)
    return mean(np.log10(plain / residual), note="plain counted once for each of its permuted copies")


def _change(results: xr.Dataset, wiring: str) -> xr.DataArray:
    """|log10 of the relative loss|, its largest value along c, for every pair of matrices and draw."""
    return abs(xr.apply_ufunc(np.log10, selected(results, "rescaled", wiring=wiring))).max("factor")


def rescaled(wiring: str, how: str) -> Measure:
    """The ``max`` or ``min`` of ``_change``."""
    words = {"max": "largest", "min": "smallest"}[how]
    return Measure(
        lambda results: exactly(float(getattr(_change(results, wiring), how)())), f"{words} {CHANGE}", "log10"
    )


@measured(f"largest {CHANGE}", "log10")
def kept_by_adjacent(results: xr.Dataset) -> Effect:
    """Largest change over neighbouring matrices with adjacent skips."""
    change = _change(results, "residual")
    pairs = [str(p) for p in results.pair.values]
    neighbours = [p for p in pairs if int(p.split("-")[1]) == int(p.split("-")[0]) + 1]
    last = max(int(p.split("-")[1]) for p in pairs)
    return exactly(
        float(change.sel(pair=neighbours).max()),
        f"only the pair of first and last matrix keeps it ({float(change.sel(pair=f'1-{last}').max()):.0e})",
    )
