"""Figure S5: deep linear networks, their phase portraits and their speed (Note 5).

Nothing is trained by batches: gradient flow is solved. A linear network of L layers of units, inputs and outputs among
them, has L - 1 weight matrices. For one mode of the data, of singular value s, each matrix is a single number a_l, and
the loss is (s - u)^2 / 2 with u = prod_l (a_l + c_l). The skips c_l are 0 (plain), 1 (residual) or l (hyper-residual:
from all earlier layers); time is in units of tau. Figure a: the flow of three layers' a_1, a_2 (axes a, b). Figure b:
u over time with ten layers, for s = 0.5, 1.5 and 3. A run is a random start of a, the same for all three networks.
"""

from nonsingular.experiments.effects import ROUNDING
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, largest_value, question
from nonsingular.papers.orhan2018.parts.deep_linear import run
from nonsingular.papers.orhan2018.parts.linear_measures import (
    distance_of_columns,
    distance_of_saddles,
    log_speed_up,
    log_speed_up_by_depth,
    order_of_matrix_descent,
    share_that_plain_reaches,
)
from nonsingular.plots import theory as plots
from nonsingular.plots import theory_interactive as interactive

FIGURE = Figure(
    "orhan2018/figS5",
    "Phase portraits and mode strength of deep linear networks",
    source="orhan2018 Note 5, figure S5",
    sizes=Scales(
        runs=(5, 30, 200),
        grid=(31, 61, 121),
        points=(301, 801, 1601),
        steps=(250, 500, 2000),
        layers=10,
        start=1e-2,
        window=100.0,
    ),
    run=run,
    draw=plots.figs5,
    interactive=interactive.figs5,
    claims={
        "saddles": claim(
            "The saddle is at (0, 0) in plain, (-1, -1) in residual, (-1, -2) in hyper-residual networks",
            distance_of_saddles < 1e-6,
            panel="a",
        ),
        "residual-faster": claim(
            "With ten layers the residual network is faster than the plain one, for every s",
            log_speed_up("residual", "plain") > 0,
            panel="b",
        ),
        "hyper-faster": claim(
            "With ten layers the hyper-residual network is faster than the residual one",
            log_speed_up("hyper-residual", "residual") > 0,
            panel="b",
        ),
        "hyper-faster-in-steps": question(
            "With ten layers the hyper-residual network is faster than the residual one also in steps of gradient "
            "descent",
            log_speed_up("hyper-residual", "residual", in_steps=True) > 0,
        ),
        **{
            f"deeper-{first}": claim(
                f"What {first} networks gain over {second} ones is more pronounced with depth",
                log_speed_up_by_depth(first, second) > 0,
                source="orhan2018 Note 5",
            )
            for first, second in (("residual", "plain"), ("hyper-residual", "residual"))
        },
        "plain-does-not-arrive": claim(
            "The plain network's u does not reach s in the window", share_that_plain_reaches < 0.99, panel="b"
        ),
        "hessian": claim(
            "The second derivatives agree with automatic differentiation",
            largest_value("hessian_gap", "largest difference of entries over the largest entry") < ROUNDING,
            source="orhan2018 equations 33-34",
        ),
        "equal-columns": claim(
            "Columns i and j of the residual network's Hessian are identical when a_i = a_j",
            distance_of_columns < ROUNDING,
            source="orhan2018 Note 5",
        ),
        "matrices": claim(
            "Modes of actual, rectangular weight matrices under gradient descent follow equations 29-31",
            order_of_matrix_descent > 0.9,
            source="orhan2018 Note 5 (after Saxe et al. 2013)",
        ),
    },
    differs=("The paper gives neither the start nor the window of figure S5b; here weights of size 0.01 and 100 tau.",),
    labels={
        "da": "velocity of a (1/tau)",
        "db": "velocity of b (1/tau)",
        "speed": "speed (1/tau)",
        "saddle": "coordinate of the saddle",
        "paths": "coordinate of the path",
        "hessian_gap": "largest difference of derived and computed Hessian / largest entry",
        "equal_columns": "distance of the Hessian's columns of equal weights / norm of one",
        "matrix_gap": "distance of the matrices' descent from the modes' flow",
    },
)
