"""Figure S4: linear three-layer networks with two modes, and their Hessian (Note 5).

Nothing is trained by batches: gradient flow is solved. Layers are counted as in the paper, inputs and outputs among
them: there is one hidden layer. The network (B + U)^T (A + V) is linear, with two hidden units and two modes of the
data, of singular values s = 3 and 1.5. A and B have a row for each hidden unit and a column for each mode; a and b are
such columns, incoming and outgoing weights. Plain networks have no U and V, residual ones orthonormal skip vectors u,
v; time is in units of tau. Three kinds of starts are compared: small random weights, the caption's start of equal
norms, random starts with those norms. A run is a start. The claims about Hessians (equations 23 to 28) are taken at
one random point a run, with three hidden units.
"""

from __future__ import annotations

import xarray as xr

from nonsingular.experiments.effects import ROUNDING
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, largest_value, mean_value, question
from nonsingular.papers.orhan2018.parts.linear_measures import (
    CONDITIONING,
    log_smallest_eigenvalue_at_overlap,
    log_time_ratio,
    log_time_ratio_of_equal_start,
)
from nonsingular.papers.orhan2018.parts.two_modes import run
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive

EARLIER = {"overlap_nullity": "plain_conditioning", "skip_nullity": "residual_conditioning"}
"""Names that earlier versions kept -> those of today."""


def renamed(results: xr.Dataset) -> xr.Dataset:
    """Results under the names of today."""
    return results.rename({old: new for old, new in EARLIER.items() if old in results})


FIGURE = Figure(
    "orhan2018/figS4",
    "Linear three-layer networks with two modes, plain against residual",
    source="orhan2018 Note 5, figure S4",
    sizes=Scales(runs=(10, 100, 1000), window=(40.0, 40.0, 80.0), points=(801, 801, 1601)),
    run=run,
    reads=renamed,
    draw=plots.figs4,
    interactive=interactive.figs4,
    claims={
        "small-start": claim(
            "From small random weights the residual network converges faster", log_time_ratio("small") > 0, panel="a"
        ),
        "equal-norms": claim(
            "The residual network converges faster even with equal starting norms, from the caption's start",
            log_time_ratio_of_equal_start > 0,
            panel="b",
        ),
        "equal-norms-random": question(
            "The residual network converges faster on average over plain ones that start in random directions, with "
            "the same norms",
            log_time_ratio("random equal norms") > 0,
        ),
        "hessian": claim(
            "The second derivatives agree with automatic differentiation",
            largest_value("hessian_gap", "largest difference of entries over the largest entry") < ROUNDING,
            source="orhan2018 equations 23-28",
        ),
        "overlap-singular": claim(
            "Where two hidden units have equal outgoing weights, equal rows of B, the Hessian is singular",
            log_smallest_eigenvalue_at_overlap < -9,
            source="orhan2018 Note 5",
        ),
        "residual-not-singular-there": claim(
            "In the residual network equal rows of B make no singularity",
            mean_value("residual_conditioning", f"{CONDITIONING}, with equal rows of B", "log10") > -9,
            source="orhan2018 Note 5",
        ),
        "residual-only-shifts": claim(
            "The skips only shift the singularities: at a - v and b - u the residual Hessian is the plain one's",
            largest_value("shift_gap", "largest difference of entries over the largest entry") < ROUNDING,
            source="orhan2018 §2.5, Note 5",
        ),
    },
    labels={
        "a": "mode's part of the incoming weights",
        "strength": "strength of the mode",
        "equal_converged": "time to 1 % error from equal norms (tau)",
        "hessian_gap": "largest difference of derived and computed Hessian / largest entry",
        "plain_conditioning": "reciprocal condition number of the plain Hessian (log10)",
        "residual_conditioning": "reciprocal condition number of the residual Hessian (log10)",
        "shift_gap": "largest difference of shifted residual and plain Hessian / largest entry",
    },
)
