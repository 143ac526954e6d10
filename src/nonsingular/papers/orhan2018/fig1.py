"""Figure 1: singularities of the Hessian at exact constructions, and that a skip connection removes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Claim, Effect, Region
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.papers.orhan2018.singular_points import singular_points
from nonsingular.plots.spectra import null_vectors


def specs(scale: str) -> Spec:
    """Random networks at each kind of singularity."""
    return Spec("orhan2018/fig1", scale, runs=at_scale({"smoke": 2, "laptop": 10, "paper": 50}, scale))


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Null vectors and nullities of the exact Hessian in float64, plain against skip."""
    workspace.progress.start("singular points", spec.runs)
    found = []
    for seed in range(spec.seed, spec.seed + spec.runs):
        found.append(singular_points(seed))
        workspace.progress.advance()
    return xr.concat(found, xr.Variable("run", np.arange(spec.seed, spec.seed + spec.runs)))


NULL = 1e-10  # of the Hessian's norm: products of float64 matrices of this size round to 1e-15


def _extreme(results: xr.Dataset, variable: str, network: str, singularity: str, largest: bool = True) -> Effect:
    values = results[variable].sel(network=network, singularity=singularity)
    value = float(values.max() if largest else values.min())
    return Effect(value, value, value, values.sizes["run"], "the extreme of the random networks")


def _difference_in_nullity(results: xr.Dataset, singularity: str) -> Effect:
    plain = results.sel(network="plain", singularity=singularity)
    value = float(np.abs(plain.nullity - plain.predicted).max())
    return Effect(value, value, value, plain.sizes["run"], "the largest of the random networks")


def _claim(name: str, singularity: str, statement: str, effect: Callable[..., Effect], region: Region) -> Claim:
    return Claim(
        f"orhan2018/fig1/{singularity}-{name}",
        "orhan2018 §2.1, figure 1, Note 1",
        statement,
        partial(effect, singularity=singularity),
        region,
        expected=str(region),
    )


SINGULARITIES = {
    "elimination-incoming": "zero incoming weights",
    "elimination-outgoing": "zero outgoing weights",
    "overlap": "equal incoming weights",
    "linear-dependence": "linearly dependent incoming weights",
}


def _claims(singularity: str, words: str) -> tuple[Claim, ...]:
    claims = [
        _claim(
            "plain-null",
            singularity,
            f"With {words}, the predicted vectors are null vectors of the plain network's Hessian "
            "(largest |H v| / |H|, zero residual).",
            partial(_extreme, variable="product", network="plain"),
            Region(high=NULL),
        ),
        _claim(
            "skip-not-null",
            singularity,
            f"With {words}, none of them is one of the skip network's Hessian (smallest |H v| / |H|, zero residual).",
            partial(_extreme, variable="least_product", network="skip", largest=False),
            Region(low=1e4 * NULL),
        ),
        _claim(
            "plain-null-anywhere",
            singularity,
            f"With {words}, they are null vectors at any value of the loss, as Note 1 argues for one example "
            "(largest |H v| / |H| away from zero residual).",
            partial(_extreme, variable="product_away", network="plain"),
            Region(high=NULL),
        ),
    ]
    if singularity != "linear-dependence":  # linear networks have further null vectors with and without skips
        claims += [
            _claim(
                "plain-nullity",
                singularity,
                f"With {words}, the plain Hessian's nullity is the number of predicted vectors (difference).",
                _difference_in_nullity,
                Region(-0.5, 0.5),
            ),
            _claim(
                "skip-nullity",
                singularity,
                f"With {words}, the skip network's Hessian is not singular (largest nullity).",
                partial(_extreme, variable="nullity", network="skip"),
                Region(high=0.5),
            ),
        ]
    return tuple(claims)


CLAIMS = tuple(claim for name, words in SINGULARITIES.items() for claim in _claims(name, words))

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig1",
        "Exact singularities and the null space of the Hessian, plain against skip",
        specs,
        run,
        lambda results: {"null-vectors": null_vectors(results)},
        CLAIMS,
        differs=(
            "The paper derives one example; here random networks of three hidden layers of five units are put on each "
            "singularity, with smooth activations and fixed random biases, so that no null vectors "
            "come from elsewhere.",
        ),
        labels={
            "product": "largest norm of the Hessian times a predicted null vector / norm of the Hessian",
            "least_product": "smallest norm of the Hessian times a predicted null vector / norm of the Hessian",
            "product_away": "largest such norm away from zero error / norm of the Hessian",
            "nullity": "eigenvalues that are zero to rounding",
            "predicted": "predicted null vectors",
        },
    ),
)
