"""Figure 8: skip matrices with the eigenvalues of an orthogonal one, and ever more correlated skip vectors.

The paper says what is correlated in two ways: its text the skip vectors (the matrix's rows or columns), its Note 6 the
eigenvectors. Both are run: ``equalised`` matrices are built as Note 6 says, ``covariance`` ones as the text does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.effects import (
    HALF,
    NO_DECAY,
    gradient_decay,
    log_gradient,
    per_run,
    speed,
)
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import NetworkSpec
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import faster, slope
from nonsingular.papers.orhan2018.differs import EVALUATED_ON, UNDAMPED, both_data_sets
from nonsingular.plots.curves import Panel, over_epochs, over_layers
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.plots.skips import skip_matrices
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALUES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025)
TAUS = {f"tau={tau:g}": tau for tau in VALUES}
"""Network -> how fast the eigenvalues of its eigenvectors' correlations fall (Note 6); 0 is dense orthogonal."""

COVARIANCE = {f"covariance-{name}": tau for name, tau in TAUS.items()}
"""Network -> how fast the eigenvalues of its skip vectors' covariances fall (§2.7); 0 is dense orthogonal."""

KINDS = {"equalised": TAUS, "covariance": COVARIANCE}
"""Skip, as ``NetworkSpec`` takes it -> its networks."""

SIZES = {"smoke": (10, 2, 2), "laptop": (30, 3, 8), "overnight": (30, 10, 20), "paper": (30, 10, 100)}
"""Scale -> layers, runs and epochs."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Networks of 128 units; 30 layers on CIFAR-100 and CIFAR-10 in the paper."""
    images = protocol.images(data, scale)
    depth, runs, epochs = at_scale(SIZES, scale)
    return Spec(
        "orhan2018/fig8",
        scale,
        runs=runs,
        data=images,
        networks=tuple(
            Member(name, NetworkSpec(depth, skip=f"{kind}:{tau:g}"))
            for kind, taus in KINDS.items()
            for name, tau in taus.items()
        ),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None}
        | dict.fromkeys(("gradient_norm", "activation_norm", "below_epsilon", "skip_matrix"), (0,)),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a (with the matrices' own eigenvalues), b, and c or d, of each kind; the speed against tau of both."""
    signals = [Panel(name, LABELS[name], log=True) for name in ("gradient_norm", "activation_norm")]
    figures: dict[str, Figure] = {}
    speeds = []
    for kind, all_taus in KINDS.items():
        taus = {name: tau for name, tau in all_taus.items() if name in results.network}
        if not taus:
            continue
        title, end = TITLES[kind], "" if kind == "equalised" else f"-{kind}"
        of = results.sel(network=list(taus))
        figures[f"matrices{end}"] = skip_matrices(of, taus, f"{title}: four layers, all runs")
        accuracy = Panel("train_accuracy", LABELS["train_accuracy"], percent=True)
        figures[f"accuracy{end}"] = over_epochs(of, [accuracy], title)
        for panel in signals:
            figures[panel.variable.replace("_", "-") + end] = over_layers(of, panel, [0], title)
        series = xr.concat([speed(results, name).drop_vars("network") for name in taus], "tau")
        speeds.append(series.assign_coords(tau=list(taus.values())).expand_dims(network=[kind]))
    if speeds:
        scan = Scan(xr.concat(speeds, "network", join="outer"), "mean training accuracy (%)")
        title = "Spectrum-equalised skip matrices"
        figures["tau"] = over_numbers([scan], "tau", "tau", title, base=0, attributes=results.attrs)
    return figures


TITLES = {
    "equalised": "Spectrum-equalised skip matrices, correlated eigenvectors",
    "covariance": "Spectrum-equalised skip matrices, correlated skip vectors",
}


Taus = Mapping[str, float]


def _off_circle(results: xr.Dataset, taus: Taus) -> Effect:
    """Of each run, the largest distance of an eigenvalue's modulus from 1 over all matrices, averaged over runs."""
    moduli = xr.concat([_matrices(results, "skip_modulus", name) for name in taus], "network")
    return mean(abs(moduli - 1).max(["network", "layer", "mode"]), within=(0, np.inf))


def _matrices(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    return per_run(results, variable, network).isel(epoch=0, drop=True).drop_vars("network")


def decay_rate(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """Rate at which the eigenvalues fall, ``-d log(eigenvalue) / d index`` by least squares, of each run's matrices."""
    log = xr.apply_ufunc(np.log, _matrices(results, variable, network))
    index = log.mode - log.mode.mean()
    return -((log * index).sum("mode", skipna=False) / (index**2).sum()).mean("layer")


def _relative_rate(results: xr.Dataset, taus: Taus, variable: str) -> Effect:
    """Rate over tau, averaged over every tau but 0."""
    rates = [decay_rate(results, variable, name) / tau for name, tau in taus.items() if tau]
    return mean(xr.concat(rates, "network").mean("network"))


def _least_decay(results: xr.Dataset, taus: Taus) -> Effect:
    """Of each run, the gradient decay of the network in which it decays most."""
    return mean(
        xr.concat([gradient_decay(results, name).drop_vars("network") for name in taus], "network").min("network")
    )


def _ends(taus: Taus) -> tuple[str, str]:
    """The networks of the largest and of the smallest tau."""
    return list(taus)[-1], next(iter(taus))


def _larger_gradients(results: xr.Dataset, taus: Taus) -> Effect:
    return difference(*(log_gradient(results, name).mean("layer") for name in _ends(taus)))


def _larger_activations(results: xr.Dataset, taus: Taus) -> Effect:
    """log10 of the last layer's activation norm over the first one's."""
    grown = []
    for name in _ends(taus):
        norms = per_run(results, "activation_norm", name).isel(epoch=0).dropna("layer", how="all")
        grown.append(xr.apply_ufunc(np.log10, norms.isel(layer=-1, drop=True) / norms.isel(layer=0, drop=True)))
    return difference(*grown)


NEAR = Region(0.9, 1.1)
ROUNDING = 1e-5
"""Of a matrix in float32, magnified by the conditioning of its eigenvectors (at most 5 for these tau)."""


def _claims(kind: str, taus: Taus) -> tuple[Claim, ...]:
    """The claims about one kind of matrices; the ids of ``covariance`` end in its name."""
    end = "" if kind == "equalised" else f"-{kind}"
    of = "" if kind == "equalised" else "Of matrices built by their skip vectors: "

    def claim(name: str, statement: str, effect: object, region: Region, unit: str = "", source: str = SOURCE) -> Claim:
        return Claim(f"orhan2018/fig8/{name}{end}", source, f"{of}{statement}", effect, region, unit)  # type: ignore[arg-type]

    most, least = _ends(taus)
    eigenvectors = (
        claim(
            "eigenvector-correlations",
            "The eigenvalues of the correlations of their eigenvectors fall as exp(-tau (i-1)) (rate over tau).",
            lambda r: _relative_rate(r, taus, "eigenvector_correlation"),
            NEAR,
        ),
    )
    return (
        claim(
            "unit-circle",
            "The skip matrices' eigenvalues lie on the unit circle (largest | |eigenvalue| - 1 | of all matrices).",
            lambda r: _off_circle(r, taus),
            Region(high=ROUNDING),
        ),
        *(eigenvectors if kind == "equalised" else ()),  # of quarter turns eigenvectors are not unique
        claim(
            "skip-vector-correlations",
            "The eigenvalues of the correlations of the skip vectors, the matrices' rows, fall as exp(-tau (i-1)) "
            "(rate over tau).",
            lambda r: _relative_rate(r, taus, "skip_correlation"),
            NEAR,
        ),
        claim(
            "accuracy-falls",
            "Training accuracy falls with tau (mean over the epochs: slope over all six).",
            lambda r: slope(r, {name: 100 * tau for name, tau in taus.items()}),
            NEGATIVE,
            "percentage points per 0.01",
        ),
        claim(
            "most-correlated-behind",
            "The least orthogonal matrices train worse than orthogonal ones "
            "(mean training accuracy over the epochs: tau 0.025 minus tau 0).",
            lambda r: faster(r, most, least),
            NEGATIVE,
            "percentage points",
        ),
        claim(
            "gradients-do-not-vanish",
            "Gradients do not vanish in any of them "
            f"(log10 of gradient norm, first over last hidden layer, at the start, the smallest; above {HALF:.2g}).",
            lambda r: _least_decay(r, taus),
            NO_DECAY,
            "log10",
        ),
        claim(
            "gradients-larger",
            "Gradients are larger with less orthogonal matrices (mean log10 ratio at the start, tau 0.025 over tau 0).",
            lambda r: _larger_gradients(r, taus),
            POSITIVE,
            "log10",
        ),
        claim(
            "activations-larger",
            "Activations too grow more through the layers of less orthogonal matrices: equal eigenvalues do not mean "
            "equal norms (log10 of activation norm, last over first layer, tau 0.025 minus tau 0).",
            lambda r: _larger_activations(r, taus),
            POSITIVE,
            "log10",
            "not in the paper: what else tau changes",
        ),
    )


SOURCE = "orhan2018 §2.7, figure 8, Note 6"
CLAIMS = tuple(claim for kind, taus in KINDS.items() for claim in _claims(kind, taus))

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig8",
        "Spectrum-equalised skip matrices of decreasing orthogonality",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            "The paper does not say whether layers share a skip matrix: here every layer draws its own.",
            "Its Note 6 gives the correlations of the eigenvectors the eigenvalues exp(-tau (i-1)), its text and "
            "figure 8a the covariances of the skip vectors; a matrix built as the Note says does not do what the text "
            "says (claim skip-vector-correlations). So two kinds are run: tau=T as in the Note, and covariance-tau=T "
            "with P diag([[0, s_i], [-1/s_i, 0]]) P^T, whose eigenvalues are i and -i and whose skip vectors' "
            "covariances have eigenvalues proportional to exp(-tau (i-1)). Equal to these they cannot be with "
            "eigenvalues on the unit circle. At tau 0 it is an orthogonal matrix too, but one of quarter turns only.",
            both_data_sets("orhan2018/fig8"),
            UNDAMPED,
            EVALUATED_ON,
        ),
    ),
)
