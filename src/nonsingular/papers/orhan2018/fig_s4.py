"""Figure S4: linear three-layer networks with two modes, and their Hessian (Note 5)."""

from __future__ import annotations

from nonsingular.experiments.effects import ROUNDING
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, largest_value, mean_value, question
from nonsingular.papers.orhan2018.parts.linear_measures import (
    SMALLEST,
    log_smallest_eigenvalue_at_overlap,
    log_time_ratio,
    log_time_ratio_of_equal_start,
)
from nonsingular.papers.orhan2018.parts.two_modes import run
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive

FIGURE = Figure(
    "orhan2018/figS4",
    "Linear three-layer networks with two modes, plain against residual",
    source="orhan2018 Note 5, figure S4",
    sizes=Scales(runs=(10, 100, 1000), window=(40.0, 40.0, 80.0), points=(801, 801, 1601)),
    run=run,
    draw=plots.figs4,
    interactive=interactive.figs4,
    claims={
        "small-start": claim(
            "From small random weights the residual network converges faster", log_time_ratio("small") > 0, panel="a"
        ),
        "equal-norms": claim(
            "It does so even with equal starting norms, from the caption's start",
            log_time_ratio_of_equal_start > 0,
            panel="b",
        ),
        "equal-norms-random": question(
            "It does so on average over random directions of equal norm", log_time_ratio("random equal norms") > 0
        ),
        "hessian": claim(
            "The second derivatives agree with automatic differentiation",
            largest_value("hessian_gap", "largest relative distance") < ROUNDING,
            source="orhan2018 equations 23-28",
        ),
        "overlap-singular": claim(
            "Where two hidden units have equal b for all modes the Hessian is singular",
            log_smallest_eigenvalue_at_overlap < -9,
            source="orhan2018 Note 5",
        ),
        "residual-not-singular-there": claim(
            "In the residual network equal b make no singularity",
            mean_value("skip_nullity", f"{SMALLEST} with equal b", "log10") > -9,
            source="orhan2018 Note 5",
        ),
        "residual-only-shifts": claim(
            "But the skips only shift the singularities: at a - v and b - u the residual Hessian is the plain one's",
            largest_value("shift_gap", "largest relative distance") < ROUNDING,
            source="orhan2018 §2.5, Note 5",
        ),
    },
    labels={
        "a": "mode's part of the incoming weights",
        "strength": "strength of the mode",
        "equal_converged": "time to 1 % error from equal norms (tau)",
        "hessian_gap": "distance of the derived from the computed Hessian / its norm",
        "overlap_nullity": "eigenvalues of the plain Hessian, smallest over largest (log10)",
        "skip_nullity": "eigenvalues of the residual Hessian, smallest over largest (log10)",
        "shift_gap": "distance of the shifted residual from the plain Hessian / its norm",
    },
)
