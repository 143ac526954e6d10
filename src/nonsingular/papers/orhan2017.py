"""Orhan & Pitkow 2017 (the abstract of version 3): symmetries, enumerated on binary weights, and rescaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, NotMeasured, Region, exactly, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive
from nonsingular.theory import binary_weights, rescaling

ABSTRACT = "Orhan & Pitkow 2017, abstract"

STRENGTHS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
SKIPS = ("all-ones", "residual", "random-skip")

_SCALES: dict[str, tuple[int, dict[str, Any]]] = {
    # shapes: [inputs, units of a layer, layers of weights]
    "smoke": (8, {"shapes": [[3, 3, 2]], "sweeps": 20, "chains": 128, "strengths": [0.25, 1.0, 4.0]}),
    "laptop": (10, {"shapes": [[3, 3, 2], [4, 3, 2]], "sweeps": 20, "chains": 256, "strengths": STRENGTHS}),
    "paper": (
        100,
        {
            "shapes": [[3, 3, 2], [4, 3, 2], [2, 4, 2], [2, 3, 3]],
            "sweeps": 20,
            "chains": 1024,
            "strengths": STRENGTHS,
        },
    ),
}


def specs(scale: str) -> Spec:
    """The toy at a scale; ``runs`` teachers for each shape."""
    runs, settings = at_scale(_SCALES, scale)
    return Spec("orhan2017/binary", scale, runs=runs, settings=settings)


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Enumerate every network of every teacher, and rescale matrices of real-valued ones."""
    settings, seeds = spec.settings, range(spec.seed, spec.seed + spec.runs)
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


# --- effects ------------------------------------------------------------------------------------------------


def _per_teacher(results: xr.Dataset, variable: str, network: str) -> np.ndarray:
    """All teachers of all shapes."""
    if variable not in results or network not in results.network.values:
        raise NotMeasured(f"{variable} of {network} is not among the results")
    return results[variable].sel(network=network).transpose("shape", "teacher").values.ravel()


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


def success(measure: str, first: str, second: str) -> Any:
    """Paired difference of success rates in percentage points: first minus second."""

    def effect(results: xr.Dataset) -> Effect:
        gap = _per_teacher(results, measure, first) - _per_teacher(results, measure, second)
        note = f"{_means(results, measure, first, second)}; for each copy of the optimum: "
        note += ", ".join(f"{n} {_per_optimum(results, measure, n):.2g}" for n in (first, second))
        return mean(100 * gap, note=note + _by_strength(results, measure, first))

    return effect


def log_ratio(variable: str, first: str, second: str) -> Any:
    """Mean over teachers of log10 of the ratio of counts, first over second; counts of 0 are taken as one half."""

    def effect(results: xr.Dataset) -> Effect:
        a, b = (np.maximum(_per_teacher(results, variable, n), 0.5) for n in (first, second))
        return mean(np.log10(a / b), note=_means(results, variable, first, second))

    return effect


def minima_per_optimum(results: xr.Dataset) -> Effect:
    """Mean log10 of (strict minima for each copy of the landscape), plain over residual."""
    if "symmetries" not in results:
        raise NotMeasured("symmetries is not among the results")
    copies = np.repeat(results.symmetries.values, results.sizes["teacher"])
    plain = np.maximum(_per_teacher(results, "strict_minima", "plain"), 0.5) / copies
    residual = np.maximum(_per_teacher(results, "strict_minima", "residual"), 0.5)
    return mean(np.log10(plain / residual), note="plain counted once for each of its permuted copies")


def symmetry_kept(results: xr.Dataset) -> Effect:
    """The largest relative change of loss under a permutation, in the plain and the all-ones network."""
    return exactly(max(float(_per_teacher(results, "permutation_gap", n).max()) for n in ("plain", "all-ones")))


def symmetry_broken(results: xr.Dataset) -> Effect:
    """The smallest relative change of loss under a permutation, in the networks that break the symmetry."""
    networks = ("residual", "random-skip", "biased")
    return exactly(min(float(_per_teacher(results, "permutation_gap", n).min()) for n in networks))


def _rescaling_change(results: xr.Dataset, wiring: str) -> xr.DataArray:
    """|log10 of the relative loss|, its largest value along c, for every pair and draw."""
    if "rescaled" not in results or wiring not in results.wiring.values:
        raise NotMeasured(f"rescaled losses of {wiring} are not among the results")
    return np.abs(np.log10(results.rescaled.sel(wiring=wiring))).max("factor")


def rescaling_kept(results: xr.Dataset) -> Effect:
    """Largest change in the plain network."""
    return exactly(float(_rescaling_change(results, "plain").max()))


def rescaling_broken(results: xr.Dataset) -> Effect:
    """Smallest change over pairs of matrices and networks with layer-to-all skips."""
    return exactly(float(_rescaling_change(results, "layer-to-all").min()))


def rescaling_kept_by_adjacent(results: xr.Dataset) -> Effect:
    """Largest change over neighbouring matrices with adjacent skips."""
    change = _rescaling_change(results, "residual")
    pairs = [str(p) for p in results.pair.values]
    neighbours = [p for p in pairs if int(p.split("-")[1]) == int(p.split("-")[0]) + 1]
    last = max(int(p.split("-")[1]) for p in pairs)
    return exactly(
        float(change.sel(pair=neighbours).max()),
        f"only the pair of first and last matrix keeps it ({float(change.sel(pair=f'1-{last}').max()):.0e})",
    )


def _claim(
    name: str, statement: str, effect: Any, region: Region, unit: str = "", source: str = ABSTRACT, ours: bool = False
) -> Claim:
    return Claim(f"orhan2017/binary/{name}", source, statement, effect, region, unit, ours=ours)


_POINTS = "percentage points"
_CLAIMS = (
    _claim(
        "symmetry-kept",
        "An all-ones skip keeps the permutation symmetry, as no skip does: largest relative change of the loss",
        symmetry_kept,
        Region(high=1e-9),
    ),
    _claim(
        "symmetry-broken",
        "Identity and random skips, and distinct biases, break it: smallest relative change of the loss",
        symmetry_broken,
        Region(low=1e-3),
    ),
    _claim(
        "fewer-ties",
        "Skips simplify the landscape: fewer states share a loss (mean log10 plain / residual)",
        log_ratio("tied", "plain", "residual"),
        Region(low=0),
        "log10",
    ),
    _claim(
        "fewer-minima",
        "Skips simplify the landscape: fewer strict local minima (mean log10 plain / residual)",
        log_ratio("strict_minima", "plain", "residual"),
        Region(low=0),
        "log10",
    ),
    _claim(
        "fewer-minima-per-copy",
        "The same, with the plain landscape counted once for its permuted copies",
        minima_per_optimum,
        Region(low=0),
        "log10",
        source=f"{ABSTRACT} (the count by copies is ours)",
    ),
    _claim(
        "greedy-identity",
        "Skips help greedy descent: residual minus plain success",
        success("greedy", "residual", "plain"),
        Region(low=0),
        _POINTS,
    ),
    _claim(
        "annealing-identity",
        "Skips help simulated annealing: residual minus plain success",
        success("annealing", "residual", "plain"),
        Region(low=0),
        _POINTS,
    ),
    _claim(
        "annealing-random",
        "A random skip, which breaks the symmetry too, helps annealing: random minus plain success",
        success("annealing", "random-skip", "plain"),
        Region(low=0),
        _POINTS,
    ),
    _claim(
        "annealing-biased",
        "Breaking the symmetry without a skip helps annealing: biased minus plain success",
        success("annealing", "biased", "plain"),
        Region(low=0),
        _POINTS,
    ),
    _claim(
        "all-ones-does-not-help",
        "A skip that keeps the symmetry does not help annealing: all-ones minus plain success below 5",
        success("annealing", "all-ones", "plain"),
        Region(high=5),
        _POINTS,
    ),
    _claim(
        "breaking-is-what-helps",
        "A skip helps when it breaks the symmetry: residual minus all-ones annealing success",
        success("annealing", "residual", "all-ones"),
        Region(low=0),
        _POINTS,
    ),
    _claim(
        "rescaling-plain",
        "Without skips W_i -> c W_i, W_j -> W_j / c leaves the loss: largest |log10 change|, c from 1/4 to 4",
        rescaling_kept,
        Region(high=1e-9),
        "log10",
    ),
    _claim(
        "rescaling-layer-to-all",
        "Layer-to-all skips break it for every pair of matrices: smallest |log10 change|",
        rescaling_broken,
        Region(low=1e-3),
        "log10",
    ),
    _claim(
        "rescaling-adjacent",
        "Skips between adjacent layers leave the rescaling symmetry of neighbouring matrices (it takes layer-to-all "
        "skips to break it): largest |log10 change|",
        rescaling_kept_by_adjacent,
        Region(high=1e-9),
        "log10",
        ours=True,  # the text says that layer-to-all skips also break it, not that only they do
    ),
)

EXPERIMENTS: Sequence[Experiment] = (
    Experiment(
        id="orhan2017/binary",
        title="Binary weights enumerated: ties, local minima and search success, plain against skip",
        specs=specs,
        run=run,
        draw=plots.binary,
        interactive=interactive.binary,
        claims=_CLAIMS,
        labels={
            "optima": "optimal networks",
            "tied": "share of pairs of networks with tied losses",
            "distinct": "distinct losses / networks",
            "strict_minima": "strict local minima under single flips",
            "minima": "local minima under single flips",
            "greedy": "success of greedy descent",
            "annealing": "success of annealing",
            "permutation_gap": "largest change of the loss under a permutation of units (nats)",
            "bits": "weights of the network (bits)",
            "symmetries": "permutations of its units",
            "strength_greedy": "success of greedy descent by the strength of the skip",
            "strength_annealing": "success of annealing by the strength of the skip",
            "strength_strict_minima": "strict local minima by the strength of the skip",
            "rescaled": "loss / loss before rescaling",
            "teacher": "seed of the teacher",
            "factor": "factor of the rescaling",
            "strength": "strength of the skip",
        },
    ),
)
