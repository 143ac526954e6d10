"""Figure 5: bias regularisation and the malicious start on 30 layers; how degenerate each network's Hessian is.

30-layer networks of 128 units are trained: ``plain``, ``residual``, and three between them. ``malicious`` is residual,
but each W starts as a Glorot matrix minus the identity, against the skip: f((W - I) x) + x. With the rectifier f that
is the larger of W x and x, so that the skip is cancelled in those units alone in which W x is larger.
``bias-regularised`` is plain, with a bias penalty added to the loss: lambda times the squared distance of the biases
from fixed random targets N(mu, sigma), one for each unit; ``bias-l2`` has the same penalty with targets 0. A network
is the more degenerate, the more eigenvalues of its Hessian lie within 0.1 of zero. A run is a seed: equal Glorot
weights in all. Figure 6 reads the same study.
"""

from nonsingular.experiments.drawings import Only
from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.quantities import SPEED
from nonsingular.experiments.verbs import Declared, claim, faster, larger, lies_between, smallest_of
from nonsingular.papers.orhan2018.parts import bias_regularisation, differences, eigenvalue_shares
from nonsingular.papers.orhan2018.parts.bias_regularisation import BIAS

NETWORKS = ("residual", "malicious", BIAS, "bias-l2", "plain")

SMALL_COST = 0.5
"""Share of the residual networks' lead over plain ones that "a small adverse effect" may take; the number is ours."""


def more_degenerate(first: str, second: str) -> dict[str, Declared]:
    """What figure 5c shows of two networks."""
    return eigenvalue_shares.by_both(
        f"{first}-more-degenerate",
        f"The Hessian of {first} networks is more degenerate than that of {second} ones",
        "degenerate",
        lambda v: larger(v, first, second) > 0,
        "orhan2018 §2.6, figure 5c",
    )


FIGURE = Figure(
    "orhan2018/fig5",
    "Bias regularisation and the malicious start on 30 layers",
    source="orhan2018 §2.6, figure 5a, b",
    sizes=bias_regularisation.SIZES,
    study=bias_regularisation.study,
    draw={
        "accuracy": Curves("train_accuracy", title="{layers}-layer networks", view=Only(*NETWORKS)),
        **eigenvalue_shares.shares("Eigenvalues of the Hessian, {layers} layers", Only(*NETWORKS)),
    },
    needs=bias_regularisation.NEEDS,
    claims={
        "residual-best": claim(
            "Residual networks train fastest, ahead of all others",
            smallest_of({f"least ahead of {name}": faster("residual", name) for name in NETWORKS[1:]}) > 0,
        ),
        "plain-worst": claim(
            "Plain networks train most slowly, behind all others",
            smallest_of({f"{name} is least ahead": faster(name, "plain") for name in NETWORKS[:-1]}) > 0,
        ),
        "residual-above-plain": claim(
            "Residual networks train faster than plain ones", faster("residual", "plain") > 0
        ),
        "bias-beats-plain": claim("Bias-regularised networks train faster than plain ones", faster(BIAS, "plain") > 0),
        "l2-no-help": claim(
            "L2 regularisation of the biases is no help: it is less than a point ahead of plain",
            faster("bias-l2", "plain") < 1,
        ),
        "malicious-costs-little": claim(
            "The malicious start costs something, but little: less than half of the residual networks' lead over plain",
            lies_between(SPEED, "malicious", {"residual": 1 - SMALL_COST, "plain": SMALL_COST}, {"residual": 1}),
            source="orhan2018 §2.5, figure 5a, b",
        ),
        "not-by-initialisation-alone": claim(
            "The benefits of skips are not explained by their start alone: with the start against them networks still "
            "train faster than without",
            faster("malicious", "plain") > 0,
            source="orhan2018 §2.5",
        ),
        **more_degenerate("plain", BIAS),
        **more_degenerate(BIAS, "residual"),
    },
    differs=(
        *bias_regularisation.DIFFERS,
        "The penalty that breaks no symmetry (mean and deviation 0) has the same strength. That plain networks are "
        "worst asks it to be ahead of them, that it is no help asks by less than a point: both hold between 0 and 1 "
        "only.",
        "What the paper calls a small adverse effect is put at less than half of the residual networks' lead.",
        "The malicious start leaves the first layer and the readout alone, which have no skip.",
        differences.both_data_sets,
        differences.EPOCHS,
        *differences.ESTIMATED,
        differences.damped,
        *differences.IMAGES,
    ),
)
