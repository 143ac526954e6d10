"""Figure 1: singularities of the Hessian at exact constructions, and whether a skip connection removes them.

Nothing is trained. A network of three hidden layers is put exactly on a singularity by setting the incoming weights J
or the outgoing weights w of one layer: elimination (J_a = 0 or w_a = 0), overlap (J_a = J_b), linear dependence (J_c =
0.7 J_a - 1.3 J_b). There the paper predicts directions v with H v = 0, H the Hessian of the loss with respect to the
weights, and none once that layer has an identity skip. H is computed in float64, at zero error and away from it. A run
is a seed: new random weights, biases and inputs, the same for the plain network and its twin with skips. Nullity: how
many eigenvalues are zero, at zero error.
"""

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import Declared, claim, largest_value, smallest_value
from nonsingular.papers.orhan2018.parts.singular_points import difference_from_predicted_nullity, run
from nonsingular.plots.spectra import null_vectors

NULL = 1e-10  # of the Hessian's norm: products of float64 matrices of this size round to 1e-15

SINGULARITIES = {
    "elimination-relu": "a rectified unit that is always zero",
    "elimination-incoming": "zero incoming weights",
    "elimination-outgoing": "zero outgoing weights",
    "overlap": "equal incoming weights",
    "linear-dependence": "linearly dependent incoming weights",
}
ONE_BY_ONE = ("elimination-relu", "overlap", "linear-dependence")
"""Those of which Note 1 argues for one example, whatever its error. Of zero outgoing weights it says nothing, and a
unit without incoming weights is always zero, with its derivative, only where it is rectified."""
COUNTED = ("elimination-incoming", "elimination-outgoing", "overlap")
"""Those with no null vectors from elsewhere: linear and rectified networks have more, with and without skips."""


def claims(name: str) -> dict[str, Declared]:
    """The claims about one kind of singularity."""
    with_ = f"With {SINGULARITIES[name]}"
    plain, skip = ({"network": network, "singularity": name} for network in ("plain", "skip"))
    nulls = {
        f"{name}-plain-null": claim(
            f"{with_}, the predicted vectors are null vectors of the plain network's Hessian",
            largest_value("product", "largest |H v| / |H| at zero error", **plain) < NULL,
        ),
        f"{name}-skip-not-null": claim(
            f"{with_}, none of the predicted vectors is a null vector of the skip network's Hessian",
            smallest_value("least_product", "smallest |H v| / |H| at zero error", **skip) > 1e4 * NULL,
        ),
        f"{name}-plain-null-anywhere": claim(
            f"{with_}, the predicted vectors are null vectors of the plain network's Hessian at any value of the loss",
            largest_value("product_away", "largest |H v| / |H| away from zero error", **plain) < NULL,
            source="orhan2018 Note 1",
            ours=name not in ONE_BY_ONE,
        ),
    }
    counts = {
        f"{name}-plain-nullity": claim(
            f"{with_}, the plain Hessian's nullity is the number of predicted vectors, at zero error",
            difference_from_predicted_nullity(name).between(-0.5, 0.5),
        ),
        f"{name}-skip-nullity": claim(
            f"{with_}, the skip network's Hessian is not singular, at zero error",
            largest_value("nullity", "largest nullity", **skip) < 0.5,
        ),
    }
    return nulls | counts if name in COUNTED else nulls


FIGURE = Figure(
    "orhan2018/fig1",
    "Exact singularities and the null space of the Hessian, plain against skip",
    source="orhan2018 §2.1, figure 1, Note 1",
    sizes=Scales(runs=(2, 10, 50)),
    run=run,
    draw={"null-vectors": null_vectors},
    claims={id: declared for name in SINGULARITIES for id, declared in claims(name).items()},
    differs=(
        "The paper derives one example; here random networks of three hidden layers of five units are put on each "
        "singularity. Units are tanh, so that no null vectors come from elsewhere; but rectified where one is always "
        "zero, and linear for linear dependence: such networks have further null vectors, with and without skips, so "
        "that their nullity is not judged.",
        "Biases are random numbers, singular with their unit (zero with zero incoming weights, equal with equal ones), "
        "and held fixed: the Hessian is with respect to the weights alone, as in Note 1.",
        "A tanh unit without incoming weights is always zero too, but not its derivative: away from zero error its "
        "outgoing weights are no null vectors. That is a question of ours, as is the same of zero outgoing weights.",
    ),
    labels={
        "product": "largest norm of the Hessian times a predicted null vector / norm of the Hessian",
        "least_product": "smallest norm of the Hessian times a predicted null vector / norm of the Hessian",
        "product_away": "largest such norm away from zero error / norm of the Hessian",
        "nullity": "eigenvalues that are zero to rounding",
        "predicted": "predicted null vectors",
    },
)
