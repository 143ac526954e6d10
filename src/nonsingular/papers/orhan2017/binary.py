"""Symmetries, enumerated on binary weights, and rescaling: what a skip that breaks the symmetry does for search.

Nothing is trained by gradients. In a small network (two to three matrices of weights -1 and +1) that should reproduce
a teacher of its own kind, the loss of every assignment of weights is computed: how many tie, how many are strict local
minima under single flips, how often greedy descent and annealing end at the optimum. Networks differ in their skip:
none, identity (``residual``), random, all ones (which keeps the symmetry between units); ``biased`` has distinct
biases instead. A run is a teacher. Rescaling (W_i times c, W_j over c) is tried on real-valued networks.
"""

from nonsingular.experiments.effects import ROUNDING
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, largest_value, question, smallest_value
from nonsingular.papers.orhan2017.parts.landscapes import (
    fewer,
    kept_by_adjacent,
    minima_per_optimum,
    rescaled,
    run,
    success,
)
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive

STRENGTHS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
BREAKING = ["residual", "random-skip", "biased"]
PERMUTED = "relative change of the loss under a permutation"

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
    run=run,
    draw=plots.binary,
    interactive=interactive.binary,
    claims={
        "symmetry-kept": claim(
            "An all-ones skip keeps the permutation symmetry, as no skip does",
            largest_value("permutation_gap", f"largest {PERMUTED}", network=["plain", "all-ones"]) < ROUNDING,
        ),
        "symmetry-broken": claim(
            "Identity and random skips, and distinct biases, break the permutation symmetry",
            smallest_value("permutation_gap", f"smallest {PERMUTED}", network=BREAKING) > 1e-3,
        ),
        "fewer-ties": claim(
            "Skips simplify the landscape: fewer states share a loss", fewer("tied", "the share of tied pairs") > 0
        ),
        "fewer-minima": claim(
            "Skips simplify the landscape: fewer strict local minima",
            fewer("strict_minima", "strict minima under single flips") > 0,
        ),
        "fewer-minima-per-copy": question(
            "Skips leave fewer strict local minima even if the plain landscape counts once for its permuted copies",
            minima_per_optimum > 0,
        ),
        "greedy-identity": claim("Skips help greedy descent", success("greedy", "residual", "plain") > 0),
        "annealing-identity": claim("Skips help simulated annealing", success("annealing", "residual", "plain") > 0),
        "annealing-random": claim(
            "A random skip, which breaks the symmetry too, helps annealing",
            success("annealing", "random-skip", "plain") > 0,
        ),
        "annealing-biased": claim(
            "Breaking the symmetry without a skip helps annealing", success("annealing", "biased", "plain") > 0
        ),
        "all-ones-does-not-help": claim(
            "A skip that keeps the symmetry does not help annealing", success("annealing", "all-ones", "plain") < 5
        ),
        "breaking-is-what-helps": claim(
            "A skip helps when it breaks the symmetry", success("annealing", "residual", "all-ones") > 0
        ),
        "rescaling-plain": claim(
            "Without skips W_i -> c W_i, W_j -> W_j / c leaves the loss", rescaled("plain", "max") < ROUNDING
        ),
        "rescaling-layer-to-all": claim(
            "Layer-to-all skips break the symmetry under rescaling for every pair of matrices",
            rescaled("layer-to-all", "min") > 1e-3,
        ),
        "rescaling-adjacent": question(
            "Skips between adjacent layers leave the symmetry under rescaling for neighbouring matrices",
            kept_by_adjacent < ROUNDING,
            # the text says that layer-to-all skips also break it, not that only they do
        ),
    },
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
)
