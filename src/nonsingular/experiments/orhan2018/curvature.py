"""Figures 1, S1, S2 and S3: singularities of the Hessian, and whether its spectrum can be estimated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.experiments import protocol
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region, difference, mean
from nonsingular.experiments.effects import faster, larger, per_run
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.orhan2018.fig4 import best_and_worst
from nonsingular.experiments.singular_points import singular_points
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.spectra import PARTS
from nonsingular.experiments.study import run_study
from nonsingular.experiments.workspace import Workspace
from nonsingular.networks import named
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.plots.spectra import estimates, null_vectors
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PCA = 128  # Note 4: inputs reduced to as many components as the larger networks have units

# --- figure 1 -----------------------------------------------------------------------------------------------


def fig1_specs(scale: str) -> Spec:
    """Random networks at each kind of singularity."""
    return Spec("orhan2018/fig1", scale, runs={"smoke": 2, "laptop": 10, "paper": 50}[scale])


def run_fig1(spec: Spec, workspace: Workspace) -> xr.Dataset:
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


def _fig1(name: str, singularity: str, statement: str, effect: Callable[..., Effect], region: Region) -> Claim:
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


def _fig1_claims(singularity: str, words: str) -> tuple[Claim, ...]:
    claims = [
        _fig1(
            "plain-null",
            singularity,
            f"With {words}, the predicted vectors are null vectors of the plain network's Hessian "
            "(largest |H v| / |H|, zero residual).",
            partial(_extreme, variable="product", network="plain"),
            Region(high=NULL),
        ),
        _fig1(
            "skip-not-null",
            singularity,
            f"With {words}, none of them is one of the skip network's Hessian (smallest |H v| / |H|, zero residual).",
            partial(_extreme, variable="least_product", network="skip", largest=False),
            Region(low=1e4 * NULL),
        ),
        _fig1(
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
            _fig1(
                "plain-nullity",
                singularity,
                f"With {words}, the plain Hessian's nullity is the number of predicted vectors (difference).",
                _difference_in_nullity,
                Region(-0.5, 0.5),
            ),
            _fig1(
                "skip-nullity",
                singularity,
                f"With {words}, the skip network's Hessian is not singular (largest nullity).",
                partial(_extreme, variable="nullity", network="skip"),
                Region(high=0.5),
            ),
        ]
    return tuple(claims)


FIG1_CLAIMS = tuple(claim for name, words in SINGULARITIES.items() for claim in _fig1_claims(name, words))

# --- figures S1 and S2 --------------------------------------------------------------------------------------


def _small(figure: str, scale: str, data: str | None, names: tuple[str, ...], width: int, sizes: object) -> Spec:
    images = protocol.images(data, scale, pca=PCA)
    if images.name == "digits":  # 64 pixels have no 128 components
        images = protocol.images(images.name, scale)
    runs, epochs, exact, others = sizes[scale]  # type: ignore[index]
    return Spec(
        f"orhan2018/{figure}",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(name, named(name, depth=10, width=width)) for name in names),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None, "test_accuracy": None, "mean_overlap": None, "weight_norm": None}
        | dict.fromkeys(("hessian_exact", *others), exact),
    )


_S1 = {
    "smoke": (2, 2, (0, 2), ()),
    "laptop": (4, 15, (0, 1, 2, 5, 10, 15), ()),
    "paper": (4, 300, tuple(range(0, 301, 10)), ()),
}
_S2 = {
    "smoke": (6, 2, (0, 2), ()),
    "laptop": (30, 10, (2, 10), ()),
    "paper": (400, 300, tuple(range(0, 301, 20)), ()),
}


def figs1_specs(scale: str, data: str | None = None) -> Spec:
    """Plain and residual networks of 10 layers and 16 units."""
    return _small("figS1", scale, data, ("plain", "residual"), 16, _S1)


def figs2_specs(scale: str, data: str | None = None) -> Spec:
    """Equal plain networks of 10 layers and 16 units."""
    return _small("figS2", scale, data, ("plain",), 16, _S2)


def _measured_epochs(results: xr.Dataset) -> xr.Dataset:
    return results.dropna("epoch", how="all", subset=["degenerate_exact"])


def _panels(*names: str) -> list[Panel]:
    return [Panel(n, LABELS[n], percent=LABELS[n].endswith("(%)")) for n in names]


def draw_figs1(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracy, and exact fractions of eigenvalues."""
    spectra = _panels("negative_exact", "degenerate_exact")
    return {
        "accuracy": over_epochs(results, _panels("train_accuracy", "test_accuracy"), "10 layers of 16 units"),
        "spectra": over_epochs(_measured_epochs(results), spectra, "Exact Hessian spectra, window ±0.1"),
    }


def draw_figs2(results: xr.Dataset) -> Mapping[str, Figure]:
    """The best and the worst runs."""
    groups = best_and_worst(results)
    title = f"Best and worst of {results.sizes['run']} plain networks, 10 layers of 16 units"
    return {
        "units": over_epochs(groups, _panels("train_accuracy", "weight_norm", "mean_overlap"), title),
        "spectra": over_epochs(_measured_epochs(groups), _panels("negative_exact", "degenerate_exact"), title),
    }


def _difference(results: xr.Dataset, variable: str, first: str, second: str) -> Effect:
    """First minus second network, averaged over the measured epochs after the start, in percentage points."""
    a, b = (100 * per_run(results, variable, name).isel(epoch=slice(1, None)).mean("epoch") for name in (first, second))
    return difference(a, b)


S1_CLAIMS = (
    Claim(
        "orhan2018/figS1/accuracy",
        "orhan2018 Note 4, figure S1a",
        "Small residual networks train faster than plain ones (mean training accuracy: residual minus plain).",
        lambda r: faster(r, "residual", "plain"),
        POSITIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS1/degenerate",
        "orhan2018 Note 4, figure S1d",
        "They are less degenerate (exact fraction of eigenvalues within 0.1 of zero: residual minus plain).",
        lambda r: _difference(r, "degenerate_exact", "residual", "plain"),
        NEGATIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS1/negative",
        "orhan2018 Note 4, figure S1c",
        "They have more negative eigenvalues (exact fraction below -0.1: residual minus plain).",
        lambda r: _difference(r, "negative_exact", "residual", "plain"),
        POSITIVE,
        "percentage points",
    ),
)

S2_CLAIMS = (
    Claim(
        "orhan2018/figS2/degenerate",
        "orhan2018 Note 4, figure S2d",
        "The best plain networks are less degenerate than the worst (exact fraction: best minus worst tenth).",
        lambda r: _difference(best_and_worst(r), "degenerate_exact", "best", "worst"),
        NEGATIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS2/negative",
        "orhan2018 Note 4, figure S2c",
        "They have more negative eigenvalues (exact fraction: best minus worst tenth).",
        lambda r: _difference(best_and_worst(r), "negative_exact", "best", "worst"),
        POSITIVE,
        "percentage points",
    ),
    Claim(
        "orhan2018/figS2/overlap",
        "orhan2018 Note 4, figure S2f",
        "They have less overlap (mean over layers and epochs: best minus worst tenth).",
        lambda r: larger(best_and_worst(r), "mean_overlap", "best", "worst"),
        NEGATIVE,
        "correlation",
    ),
)

# --- figure S3 ----------------------------------------------------------------------------------------------

DEGENERATE_ENOUGH = 0.998  # Note 4 restricts the comparison to networks at least so degenerate
FEWEST = 8  # points: fewer say nothing about a linear relation

_ESTIMATES = ("hessian_moments", "hessian_lanczos")
_S3 = {
    "smoke": (3, 2, (0, 1, 2), _ESTIMATES),
    "laptop": (6, 4, (0, 1, 2, 3, 4), _ESTIMATES),
    "paper": (50, 100, tuple(range(0, 101, 10)), _ESTIMATES),
}


def figs3_specs(scale: str, data: str | None = None) -> Spec:
    """Plain networks of 10 layers and 32 units, 14 292 parameters; of 16 units below the paper's scale."""
    return _small("figS3", scale, data, ("plain",), 32 if scale == "paper" else 16, _S3)


def points(results: xr.Dataset, at_least: float = 0.0) -> xr.Dataset:
    """One point a network and epoch, with the three methods' fractions; only those exactly ``at_least`` degenerate."""
    names = [f"{part}_{method}" for part in PARTS for method in ("exact", "moments", "lanczos")]
    ends = [f"{part}_lanczos_{end}" for part in PARTS for end in ("low", "high")]
    flat = results[[*names, *ends]].stack(point=("network", "run", "epoch")).reset_index("point")
    flat = flat.dropna("point", subset=["degenerate_exact"])
    return flat.isel(point=np.flatnonzero(flat.degenerate_exact.values >= at_least))


def draw_figs3(results: xr.Dataset) -> Mapping[str, Figure]:
    """Estimates against exact fractions."""
    return {"estimates": estimates(points(results), DEGENERATE_ENOUGH)}


def _selected(results: xr.Dataset, at_least: float, *variables: str) -> list[np.ndarray]:
    chosen = points(results, at_least)
    values = [chosen[v].values for v in variables]
    keep = np.all(np.isfinite(values), axis=0)
    if keep.sum() < FEWEST:
        raise NotMeasured(f"{int(keep.sum())} networks at least {100 * at_least:g} % degenerate; {FEWEST} are needed")
    return [v[keep] for v in values]


def _bias(results: xr.Dataset, part: str) -> Effect:
    estimate, truth = _selected(results, DEGENERATE_ENOUGH, f"{part}_moments", f"{part}_exact")
    return mean(100 * (estimate - truth))


def _correlation(results: xr.Dataset, part: str) -> Effect:
    estimate, truth = _selected(results, DEGENERATE_ENOUGH, f"{part}_moments", f"{part}_exact")
    if np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        raise NotMeasured("all networks have the same fraction")
    found = stats.pearsonr(truth, estimate)
    interval = found.confidence_interval()
    return Effect(found.statistic, interval.low, interval.high, len(truth))


def _coverage(results: xr.Dataset) -> Effect:
    low, high, truth = _selected(results, 0.0, "degenerate_lanczos_low", "degenerate_lanczos_high", "degenerate_exact")
    covered = int(((low <= truth) & (truth <= high)).sum())
    interval = stats.binomtest(covered, len(truth)).proportion_ci(0.95)
    return Effect(100 * covered / len(truth), 100 * interval.low, 100 * interval.high, len(truth))


def _nearer(results: xr.Dataset) -> Effect:
    ours, theirs, truth = _selected(results, 0.0, "degenerate_lanczos", "degenerate_moments", "degenerate_exact")
    return mean(100 * (np.abs(ours - truth) - np.abs(theirs - truth)))


def _s3(name: str, statement: str, effect: Callable[[xr.Dataset], Effect], region: Region, unit: str) -> Claim:
    return Claim(f"orhan2018/figS3/{name}", "orhan2018 Notes 3 and 4, figure S3", statement, effect, region, unit)


S3_CLAIMS = (
    _s3(
        "degenerate-under",
        "The mixture underestimates the degenerate fraction (estimate minus exact, at least 99.8 % degenerate).",
        partial(_bias, part="degenerate"),
        NEGATIVE,
        "percentage points",
    ),
    _s3(
        "negative-over",
        "The mixture overestimates the negative fraction (estimate minus exact, at least 99.8 % degenerate).",
        partial(_bias, part="negative"),
        POSITIVE,
        "percentage points",
    ),
    _s3(
        "degenerate-linear",
        "Estimated and exact degenerate fractions are linearly related (Pearson correlation).",
        partial(_correlation, part="degenerate"),
        POSITIVE,
        "correlation",
    ),
    _s3(
        "negative-linear",
        "Estimated and exact negative fractions are linearly related (Pearson correlation).",
        partial(_correlation, part="negative"),
        POSITIVE,
        "correlation",
    ),
    _s3(
        "lanczos-nearer",
        "Ours, not the paper's: Lanczos is nearer to the exact degenerate fraction than the mixture "
        "(difference of absolute errors, all networks).",
        _nearer,
        NEGATIVE,
        "percentage points",
    ),
    _s3(
        "lanczos-covers",
        "Ours, not the paper's: the Lanczos intervals cover the exact degenerate fraction "
        "(share of networks; 95 % are promised).",
        _coverage,
        Region(low=85.0),
        "%",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig1",
        "Exact singularities and the null space of the Hessian, plain against skip",
        fig1_specs,
        run_fig1,
        lambda results: {"null-vectors": null_vectors(results)},
        FIG1_CLAIMS,
    ),
    Experiment(
        "orhan2018/figS1",
        "Exact Hessian spectra of 10-layer, 16-wide networks, plain against residual",
        figs1_specs,
        run_study,
        draw_figs1,
        S1_CLAIMS,
    ),
    Experiment(
        "orhan2018/figS2",
        "Best and worst of 400 small plain networks, exact spectra",
        figs2_specs,
        run_study,
        draw_figs2,
        S2_CLAIMS,
    ),
    Experiment(
        "orhan2018/figS3",
        "Moment and Lanczos estimates of the fractions against exact counts",
        figs3_specs,
        run_study,
        draw_figs3,
        S3_CLAIMS,
    ),
)
