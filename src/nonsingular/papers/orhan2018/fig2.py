"""Figure 2: two hidden units (b, c) and linear dependence (d, e), solved.

Nothing is trained by batches: gradient flows of small students that learn from a teacher network are solved.

- Two hidden units, f = w1 phi(J1 x) + w2 phi(J2 x). In this figure w is the sum w1 + w2, z = (w1 - w2) / w, and h =
  |J1 - J2|. h = 0 is the overlap singularity; z = 1 and -1, where an outgoing weight is zero, are eliminations. Near h
  = 0 the flow is reduced to two numbers, z and eta = h / w, and compared with the flow of the full network, from
  starts inside and outside of the basin of the segment of h = 0 that attracts.
- Three hidden units a, b, c: m = |Ja + Jb - Jc| is 0 where their incoming weights are linearly dependent. The flow in
  the plane of m and |Jc| is solved with all else ``optimised``, with all else at the ``teacher``'s values, and when
  the ``weights`` themselves follow their gradient.

The claims degenerate-lines, stable-segment, plateau and reduction are about fixed teachers, whose two units nearly
overlap. For the others a run is a random teacher: of the three units, and of the two whose stable segments are counted
(the coordinate ``teacher`` of the results has its seed).
"""

import numpy as np

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, question
from nonsingular.papers.orhan2018.parts.two_hidden_measures import (
    log_degeneracy_of_singular_lines,
    log_slow_down,
    log_speed_of_m,
    order_of_reduction,
    share_with_one_stable_segment,
    stability_margin,
)
from nonsingular.papers.orhan2018.parts.two_hidden_units import run
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive

FIGURE = Figure(
    "orhan2018/fig2",
    "Two hidden units, and linear dependence: flow fields, plateaus",
    source="orhan2018 §2.2, figure 2",
    sizes=Scales(
        runs=(6, 20, 100),  # teachers
        grid=(41, 81, 161),  # points an axis of the flow of z and eta
        plane=(7, 15, 31),  # of that of m and |Jc| which is drawn
        teachers_plane=(3, 5, 13),  # of that of every teacher
        # of the reduction's teachers: how near its two units are, and so how large h
        scales=([1.0, 0.5, 0.25], [2.0, 1.0, 0.5, 0.25, 0.125], [4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625]),
    ),
    run=run,
    draw=plots.fig2,
    interactive=interactive.fig2,
    claims={
        "degenerate-lines": claim("h = 0 and z = ±1 are degenerate", log_degeneracy_of_singular_lines < -6, panel="b"),
        "stable-segment": claim(
            "The elimination lines divide h = 0 into a stable and an unstable segment",
            stability_margin > 0,
            panel="b",
        ),
        "stable-segment-one-input": question(
            "With one input most random teachers give exactly one stable segment of h = 0",
            share_with_one_stable_segment(1) > 0.5,
        ),
        "stable-segment-three-inputs": question(
            "With three inputs most random teachers give exactly one stable segment of h = 0",
            share_with_one_stable_segment(3) > 0.5,
        ),
        "plateau": claim(
            "A trajectory from outside the stable segment's basin still passes a plateau: learning slows more than "
            "tenfold before it speeds up again",
            log_slow_down > 1,
            panel="c",
        ),
        "reduction": claim(
            "Near the overlap line the flow of the full network reduces to one of two numbers, z and eta = h / w",
            order_of_reduction > 0.8,
            source="orhan2018 figure 2a, b (after Wei et al. 2008)",
        ),
        "slow-along-m": claim(
            "Learning along m is slower than along |Jc|",
            log_speed_of_m("optimised", "all else at its optimum") < 0,
            source="orhan2018 figure 2e, Note 2",
        ),
        "much-slower-along-m": claim(
            "Learning along m is much slower than along |Jc|, more than three times",
            log_speed_of_m("optimised", "all else at its optimum") < -float(np.log10(3)),
        ),
        "slow-along-m-at-teacher": question(
            "Learning along m is slower than along |Jc| with all else as the teacher has it",
            log_speed_of_m("teacher", "all else at the teacher's values") < 0,
        ),
        "slow-along-m-in-weights": question(
            "m is slower than |Jc| when the weights themselves follow their gradient, whatever the coordinates",
            log_speed_of_m("weights", "flow of the weights") < 0,
        ),
    },
    differs=(
        "Units are erf, whose averages over Gaussian inputs are exact. The flow in (h, z) is a reduction of our own "
        "(theory/two_units.py), checked against the full network, not equations 3.7 and 3.9 of Wei et al. (2008).",
        "The paper speaks of on-singularity plateaus too, a random walk of gradient descent's noise along the stable "
        "segment. They are not judged: these flows have no noise, and how long a walk takes is decided by a learning "
        "rate that the paper does not give.",
    ),
    labels={
        "basin": "whether the flow ends on the stable segment",
        "edge_eta": "h / w of the basin's edge",
        "path_z": "z of the full network",
        "path_eta": "h / w of the full network",
        "path_loss": "loss of the full network / that of the best single unit",
        "path_rate": "squared gradient norm of the full network",
        "reduced_z": "z of the reduced flow",
        "reduced_eta": "h / w of the reduced flow",
        "fisher": "smallest / largest eigenvalue of the Fisher information",
        "teacher": "seed of the teacher",
    },
)
