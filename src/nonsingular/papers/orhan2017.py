"""Orhan & Pitkow 2017 (the abstract of version 3): symmetries, enumerated on binary weights, and rescaling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, exactly, mean
from nonsingular.experiments.effects import ROUNDING
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, claim, measured
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive
from nonsingular.theory import binary_weights, rescaling

STRENGTHS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
SKIPS = ("all-ones", "residual", "random-skip")


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


def success(measure: str, first: str, second: str) -> Measure:
    """Paired difference of success rates in percentage points: first minus second."""

    def effect(results: xr.Dataset) -> Effect:
        gap = _per_teacher(results, measure, first) - _per_teacher(results, measure, second)
        note = f"{_means(results, measure, first, second)}; for each copy of the optimum: "
        note += ", ".join(f"{n} {_per_optimum(results, measure, n):.2g}" for n in (first, second))
        return mean(100 * gap, note=note + _by_strength(results, measure, first), within=(-100, 100))

    words = f"success of {measure}, mean over teachers: {first} minus {second}"
    return measured(effect, words, "percentage points")


def fewer(variable: str, what: str) -> Measure:
    """Mean over teachers of log10 of the ratio of counts, plain over residual; counts of 0 are taken as one half."""

    def effect(results: xr.Dataset) -> Effect:
        a, b = (np.maximum(_per_teacher(results, variable, n), 0.5) for n in ("plain", "residual"))
        return mean(np.log10(a / b), note=_means(results, variable, "plain", "residual"))

    return measured(effect, f"log10 of {what}, plain over residual, mean over teachers", "log10")


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


FIGURE = Figure(
    "orhan2017/binary",
    "Binary weights enumerated: ties, local minima and search success, plain against skip",
    source="orhan2017 abstract",
    sizes=Scales(
        runs=(8, 10, 100),  # teachers of each shape
        # inputs, units of a layer, layers of weights
        shapes=([[3, 3, 2]], [[3, 3, 2], [4, 3, 2]], [[3, 3, 2], [4, 3, 2], [2, 4, 2], [2, 3, 3]]),
        sweeps=20,
        chains=(128, 256, 1024),
        strengths=([0.25, 1.0, 4.0], STRENGTHS, STRENGTHS),
    ),
    run=run, draw=plots.binary, interactive=interactive.binary,
    claims=(
        claim(
            "symmetry-kept", "An all-ones skip keeps the permutation symmetry, as no skip does",
            measured(symmetry_kept, "largest relative change of the loss under a permutation") < ROUNDING,
        ),
        claim(
            "symmetry-broken", "Identity and random skips, and distinct biases, break it",
            measured(symmetry_broken, "smallest relative change of the loss under a permutation") > 1e-3,
        ),
        claim(
            "fewer-ties", "Skips simplify the landscape: fewer states share a loss",
            fewer("tied", "the share of tied pairs") > 0,
        ),
        claim(
            "fewer-minima", "Skips simplify the landscape: fewer strict local minima",
            fewer("strict_minima", "strict minima under single flips") > 0,
        ),
        claim(
            "fewer-minima-per-copy", "The same, with the plain landscape counted once for its permuted copies",
            measured(minima_per_optimum, "log10 of strict minima a copy, plain over residual", "log10") > 0, ours=True,
        ),
        claim("greedy-identity", "Skips help greedy descent", success("greedy", "residual", "plain") > 0),
        claim("annealing-identity", "Skips help simulated annealing", success("annealing", "residual", "plain") > 0),
        claim(
            "annealing-random", "A random skip, which breaks the symmetry too, helps annealing",
            success("annealing", "random-skip", "plain") > 0,
        ),
        claim(
            "annealing-biased", "Breaking the symmetry without a skip helps annealing",
            success("annealing", "biased", "plain") > 0,
        ),
        claim(
            "all-ones-does-not-help", "A skip that keeps the symmetry does not help annealing",
            success("annealing", "all-ones", "plain") < 5,
        ),
        claim(
            "breaking-is-what-helps", "A skip helps when it breaks the symmetry",
            success("annealing", "residual", "all-ones") > 0,
        ),
        claim(
            "rescaling-plain", "Without skips W_i -> c W_i, W_j -> W_j / c leaves the loss",
            measured(rescaling_kept, "largest |log10 change|, c from 1/4 to 4", "log10") < ROUNDING,
        ),
        claim(
            "rescaling-layer-to-all", "Layer-to-all skips break it for every pair of matrices",
            measured(rescaling_broken, "smallest |log10 change|, c from 1/4 to 4", "log10") > 1e-3,
        ),
        claim(
            "rescaling-adjacent", "Skips between adjacent layers leave it for neighbouring matrices",
            measured(rescaling_kept_by_adjacent, "largest |log10 change|, c from 1/4 to 4", "log10") < ROUNDING,
            ours=True,  # the text says that layer-to-all skips also break it, not that only they do
        ),
    ),
    differs=(
        "Nothing but the abstract of this version is known: the toy, its sizes and searches are ours.",
        "What the abstract says of trained fully-connected networks is judged in orhan2018/fig7 (a skip that keeps the "
        "symmetry: kept-symmetry-no-help), orhan2018/fig5 (another way of breaking it: bias-beats-plain) and "
        "orhan2018/fig6 (gradients that do not vanish).",
    ),
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
)  # fmt: skip

EXPERIMENTS = (FIGURE,)
