"""Figure 1: singularities of the Hessian at exact constructions, and that a skip connection removes them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, Measure, claim, measured
from nonsingular.papers.orhan2018.singular_points import singular_points
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


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Null vectors and nullities of the exact Hessian in float64, plain against skip."""
    workspace.progress.start("singular points", spec.runs)
    found = []
    for seed in range(spec.seed, spec.seed + spec.runs):
        found.append(singular_points(seed))
        workspace.progress.advance()
    return xr.concat(found, xr.Variable("run", np.arange(spec.seed, spec.seed + spec.runs)))


def extreme(variable: str, network: str, singularity: str, words: str, how: str = "max") -> Measure:
    """The largest or smallest of a variable over the random networks."""

    def effect(results: xr.Dataset) -> Effect:
        values = _at(results, singularity, network)[variable]
        value = float(getattr(values, how)())
        return Effect(value, value, value, values.sizes["run"], "the extreme of the random networks")

    return measured(effect, words)


def excess(singularity: str) -> Measure:
    """How far the plain Hessian's nullity is from the number of predicted null vectors."""

    def effect(results: xr.Dataset) -> Effect:
        plain = _at(results, singularity, "plain")
        value = float(np.abs(plain.nullity - plain.predicted).max())
        return Effect(value, value, value, plain.sizes["run"], "the largest of the random networks")

    return measured(effect, "largest difference")


def _at(results: xr.Dataset, singularity: str, network: str) -> xr.Dataset:
    if "singularity" not in results.coords or singularity not in results.singularity.values:
        raise NotMeasured(f"{singularity} is not among the results")
    return results.sel(network=network, singularity=singularity)


def claims(name: str) -> list[Declared]:
    """The claims about one kind of singularity."""
    with_ = f"With {SINGULARITIES[name]}"
    declared = [
        claim(
            f"{name}-plain-null", f"{with_}, the predicted vectors are null vectors of the plain network's Hessian",
            extreme("product", "plain", name, "largest |H v| / |H|, zero residual") < NULL,
        ),
        claim(
            f"{name}-skip-not-null", f"{with_}, none of them is one of the skip network's Hessian",
            extreme("least_product", "skip", name, "smallest |H v| / |H|, zero residual", "min") > 1e4 * NULL,
        ),
        claim(
            f"{name}-plain-null-anywhere", f"{with_}, they are null vectors at any value of the loss",
            extreme("product_away", "plain", name, "largest |H v| / |H| away from zero residual") < NULL,
            source="orhan2018 Note 1", ours=name not in ONE_BY_ONE,
        ),
    ]  # fmt: skip
    if name in COUNTED:
        declared += [
            claim(
                f"{name}-plain-nullity", f"{with_}, the plain Hessian's nullity is the number of predicted vectors",
                excess(name).between(-0.5, 0.5),
            ),
            claim(
                f"{name}-skip-nullity", f"{with_}, the skip network's Hessian is not singular",
                extreme("nullity", "skip", name, "largest nullity") < 0.5,
            ),
        ]  # fmt: skip
    return declared


FIGURE = Figure(
    "orhan2018/fig1",
    "Exact singularities and the null space of the Hessian, plain against skip",
    source="orhan2018 §2.1, figure 1, Note 1",
    sizes=Scales(runs=(2, 10, 50)),
    run=run,
    draw={"null-vectors": null_vectors},
    claims=[declared for name in SINGULARITIES for declared in claims(name)],
    differs=(
        "The paper derives one example; here random networks of three hidden layers of five units are put on each "
        "singularity, with fixed random biases and smooth activations, so that no null vectors come from elsewhere, "
        "but for the rectified unit.",
        "A tanh unit without incoming weights is always zero too, but not its derivative: away from zero residual its "
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

EXPERIMENTS = (FIGURE,)
