"""Figure 8: skip matrices with the eigenvalues of an orthogonal one, and ever more correlated skip vectors.

30-layer networks of 128 units are trained, x' = f(W x + b) + Sigma x, whose fixed skip matrices Sigma all have their
eigenvalues on the unit circle, as orthogonal ones have, and are the less orthogonal the larger tau. Eigenvalues
proportional to exp(-tau (i-1)) are given by the paper to two things, and both are run: in ``equalised`` matrices, of
its Note 6, the correlations of Sigma's *eigenvectors* have them before they are normalised; in ``covariance`` ones, of
its text, the covariances of the *skip vectors*, Sigma's rows. Of every network the matrices of four layers are
measured. A run is a seed.
"""

from __future__ import annotations

from dataclasses import replace
from math import log10

import xarray as xr

from nonsingular.experiments.drawings import Drawing, Only, Picture, titled
from nonsingular.experiments.figure import Curves, Figure, OverLayers, OverNumbers
from nonsingular.experiments.quantities import SPEED, START, first_over_last, of
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, across, claim, faster, larger, question, slope
from nonsingular.networks import NetworkSpec
from nonsingular.papers.orhan2018.parts import differences, protocol
from nonsingular.papers.orhan2018.parts.skip_matrices import LAST_OVER_FIRST, OFF_CIRCLE, falls_as_tau
from nonsingular.plots.skips import skip_matrices
from nonsingular.training import Member

VALUES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025)
OVERNIGHT = (0.0, 0.01, 0.025)
"""Those trained overnight."""
TAUS = {f"tau={tau:g}": tau for tau in VALUES}
"""Network -> how fast the eigenvalues of its eigenvectors' correlations fall (Note 6); 0 is dense orthogonal."""
COVARIANCE = {f"covariance-{name}": tau for name, tau in TAUS.items()}
"""Network -> how fast the eigenvalues of its skip vectors' covariances fall (§2.7); 0 is dense orthogonal."""
KINDS = {"equalised": TAUS, "covariance": COVARIANCE}
"""Skip, as ``NetworkSpec`` takes it -> its networks."""
WORDS = {"equalised": "correlated eigenvectors", "covariance": "correlated skip vectors"}

MAGNIFIED_ROUNDING = 1e-5
"""Of a matrix in float32, magnified by the conditioning of its eigenvectors (at most 5 for these tau)."""


def study(size: Size) -> Spec:
    """Networks of 128 units with skip matrices of both kinds, at every tau of the scale."""
    return protocol.study(
        size,
        [
            Member(name, NetworkSpec(size.depth, skip=f"{kind}:{tau:g}"))
            for kind, taus in KINDS.items()
            for name, tau in taus.items()
            if tau in size.taus
        ],
        {"train_accuracy": None}
        | dict.fromkeys(("gradient_norm", "activation_norm", "below_epsilon", "skip_matrix"), (START,)),
    )


def claims(kind: str) -> dict[str, Declared]:
    """The claims about one kind of matrices; the ids of ``covariance`` end in its name."""
    taus = KINDS[kind]
    (orthogonal, *_, most_correlated) = taus
    eigenvectors = {  # of quarter turns they are not unique
        "eigenvector-correlations": claim(
            "The eigenvalues of the correlations of the skip matrices' eigenvectors fall as exp(-tau (i-1)), on "
            "average over tau",
            falls_as_tau("eigenvector_correlation", taus),
        )
    }
    declared = {
        "unit-circle": claim(
            "The skip matrices' eigenvalues lie on the unit circle",
            across(OFF_CIRCLE, list(taus), "max") < MAGNIFIED_ROUNDING,
        ),
        **(eigenvectors if kind == "equalised" else {}),
        "skip-vector-correlations": claim(
            "The eigenvalues of the correlations of the skip vectors, the skip matrices' rows, fall as exp(-tau "
            "(i-1)), on average over tau",
            falls_as_tau("skip_correlation", taus),
        ),
        "accuracy-falls": claim(
            "Training accuracy falls with tau",
            slope(SPEED, {name: 100 * tau for name, tau in taus.items()}, "per 0.01") < 0,
        ),
        "most-correlated-behind": claim(
            "The least orthogonal matrices train worse than orthogonal ones", faster(most_correlated, orthogonal) < 0
        ),
        "gradients-do-not-vanish": claim(
            "Gradients do not vanish with any of the skip matrices",
            across(first_over_last(), list(taus), "min") > log10(1 / 2),
        ),
        "gradients-larger": claim(
            "Gradients are larger with less orthogonal matrices",
            larger(of("gradient_norm", epoch=START, log=True), most_correlated, orthogonal) > 0,
        ),
        "activations-larger": question(
            "Activations too grow more through the layers of less orthogonal matrices: equal eigenvalues do not mean "
            "equal norms",
            larger(LAST_OVER_FIRST, most_correlated, orthogonal) > 0,
        ),
    }
    if kind == "equalised":
        return declared
    of_kind = "Of matrices built by their skip vectors, "
    return {
        f"{name}-{kind}": replace(c, statement=of_kind + c.statement[0].lower() + c.statement[1:])
        for name, c in declared.items()
    }


def draw(kind: str) -> dict[str, Drawing]:
    """Panels a (with the matrices' own eigenvalues), b, and c or d, of one kind."""
    taus, end = KINDS[kind], "" if kind == "equalised" else f"-{kind}"
    title = f"Spectrum-equalised skip matrices, {{layers}} layers, {WORDS[kind]}"

    def matrices(results: xr.Dataset) -> Picture | None:
        shown = {name: tau for name, tau in taus.items() if name in results.network}
        return skip_matrices(results, shown, titled(f"{title}: four layers, all runs", results)) if shown else None

    return {
        f"matrices{end}": matrices,
        f"accuracy{end}": Curves("train_accuracy", title=title, view=Only(*taus)),
        **{
            variable.replace("_", "-") + end: OverLayers(variable, title=title, view=Only(*taus))
            for variable in ("gradient_norm", "activation_norm")
        },
    }


FIGURE = Figure(
    "orhan2018/fig8",
    "Spectrum-equalised skip matrices of decreasing orthogonality",
    source="orhan2018 §2.7, figure 8, Note 6",
    sizes=Scales(
        depth=(10, 30, 30, 30), runs=(2, 3, 10, 10), epochs=(2, 8, 20, 100), taus=(VALUES, VALUES, OVERNIGHT, VALUES)
    ),
    study=study,
    draw=draw("equalised")
    | draw("covariance")
    | {
        "tau": OverNumbers(
            SPEED, series=KINDS, label="tau", title="Spectrum-equalised skip matrices, {layers} layers", base=0
        )
    },
    needs=protocol.STARTED,
    claims=claims("equalised") | claims("covariance"),
    differs=(
        differences.OWN_SKIPS,
        "Its Note 6 gives the correlations of the eigenvectors the eigenvalues exp(-tau (i-1)), its text and "
        "figure 8a the covariances of the skip vectors; a matrix built as the Note says does not do what the text "
        "says (claim skip-vector-correlations). So two kinds are run: tau=T as in the Note, and covariance-tau=T "
        "with P diag([[0, s_i], [-1/s_i, 0]]) P^T, whose eigenvalues are i and -i and whose skip vectors' "
        "covariances have eigenvalues proportional to exp(-tau (i-1)). Equal to these they cannot be with "
        "eigenvalues on the unit circle. At tau 0 it is an orthogonal matrix too, but one of quarter turns only.",
        "Correlations are covariances of vectors made equally long, so their eigenvalues fall not quite as those of "
        "the covariances: within a tenth of tau counts. Matrices are measured in four layers of every network.",
        "The paper does not say how many runs it made here: 10, as in its figure 7.",
        differences.both_data_sets,
        differences.EPOCHS,
        differences.UNDAMPED,
        *differences.IMAGES,
    ),
)
