"""Figure 8: skip matrices with the eigenvalues of an orthogonal one, whose eigenvectors are ever more correlated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments import protocol
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.effects import (
    HALF,
    NO_DECAY,
    faster,
    gradient_decay,
    log_gradient,
    per_run,
    slope,
    speed,
)
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.experiments.study import run_study
from nonsingular.networks import NetworkSpec
from nonsingular.plots.curves import Panel, over_epochs, over_layers
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.plots.skips import skip_matrices
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAUS = {f"tau={tau:g}": tau for tau in (0.0, 0.005, 0.01, 0.015, 0.02, 0.025)}
"""Network -> how fast the eigenvalues of its eigenvectors' correlations fall (Note 6); 0 is dense orthogonal."""

LEAST, MOST = "tau=0", "tau=0.025"

SIZES = {"smoke": (10, 2, 2), "laptop": (30, 3, 8), "paper": (30, 10, 100)}
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
        networks=tuple(Member(name, NetworkSpec(depth, skip=f"equalised:{tau:g}")) for name, tau in TAUS.items()),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None, "gradient_norm": (0,), "activation_norm": (0,), "skip_matrix": (0,)},
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a (with the matrices' own eigenvalues), b, and c or d."""
    title = "Spectrum-equalised skip matrices"
    signals = [Panel(name, LABELS[name], log=True) for name in ("gradient_norm", "activation_norm")]
    taus = {name: tau for name, tau in TAUS.items() if name in results.network}
    speeds = xr.concat([speed(results, name).drop_vars("network") for name in taus], "tau")
    speeds = speeds.assign_coords(tau=list(taus.values())).expand_dims(network=["equalised"])
    return {
        "matrices": skip_matrices(results, taus, f"{title}: all layers and runs"),
        "accuracy": over_epochs(results, [Panel("train_accuracy", LABELS["train_accuracy"], percent=True)], title),
        **{panel.variable.replace("_", "-"): over_layers(results, panel, [0], title) for panel in signals},
        "tau": over_numbers(
            [Scan(speeds, "mean training accuracy (%)")], "tau", "tau", title, base=0, attributes=results.attrs
        ),
    }


def _off_circle(results: xr.Dataset) -> Effect:
    """Of each run, the largest distance of an eigenvalue's modulus from 1 over all matrices, averaged over runs."""
    moduli = xr.concat([_matrices(results, "skip_modulus", name) for name in TAUS], "network")
    return mean(abs(moduli - 1).max(["network", "layer", "mode"]))


def _matrices(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    return per_run(results, variable, network).isel(epoch=0, drop=True).drop_vars("network")


def decay_rate(results: xr.Dataset, variable: str, network: str) -> xr.DataArray:
    """Rate at which the eigenvalues fall, ``-d log(eigenvalue) / d index`` by least squares, of each run's matrices."""
    log = xr.apply_ufunc(np.log, _matrices(results, variable, network))
    index = log.mode - log.mode.mean()
    return -((log * index).sum("mode", skipna=False) / (index**2).sum()).mean("layer")


def _relative_rate(results: xr.Dataset, variable: str) -> Effect:
    """Rate over tau, averaged over every tau but 0."""
    rates = [decay_rate(results, variable, name) / tau for name, tau in TAUS.items() if tau]
    return mean(xr.concat(rates, "network").mean("network"))


def _least_decay(results: xr.Dataset) -> Effect:
    """Of each run, the gradient decay of the network in which it decays most."""
    return mean(
        xr.concat([gradient_decay(results, name).drop_vars("network") for name in TAUS], "network").min("network")
    )


def _larger_gradients(results: xr.Dataset) -> Effect:
    return difference(*(log_gradient(results, name).mean("layer") for name in (MOST, LEAST)))


def _larger_activations(results: xr.Dataset) -> Effect:
    """log10 of the last layer's activation norm over the first one's."""
    grown = []
    for name in (MOST, LEAST):
        norms = per_run(results, "activation_norm", name).isel(epoch=0).dropna("layer", how="all")
        grown.append(xr.apply_ufunc(np.log10, norms.isel(layer=-1, drop=True) / norms.isel(layer=0, drop=True)))
    return difference(*grown)


NEAR = Region(0.9, 1.1)
ROUNDING = 1e-5
"""Of a matrix in float32, magnified by the conditioning of its eigenvectors (at most 5 for these tau)."""


def _claim(name: str, statement: str, effect: object, region: Region, unit: str = "") -> Claim:
    return Claim(f"orhan2018/fig8/{name}", "orhan2018 §2.7, figure 8, Note 6", statement, effect, region, unit)  # type: ignore[arg-type]


CLAIMS = (
    _claim(
        "unit-circle",
        "The skip matrices' eigenvalues lie on the unit circle (largest | |eigenvalue| - 1 | of all matrices).",
        _off_circle,
        Region(high=ROUNDING),
    ),
    _claim(
        "eigenvector-correlations",
        "The eigenvalues of the correlations of their eigenvectors fall as exp(-tau (i-1)) (rate over tau).",
        lambda r: _relative_rate(r, "eigenvector_correlation"),
        NEAR,
    ),
    _claim(
        "skip-vector-correlations",
        "So do the eigenvalues of the correlations of the skip vectors, the matrices' rows (rate over tau).",
        lambda r: _relative_rate(r, "skip_correlation"),
        NEAR,
    ),
    _claim(
        "accuracy-falls",
        "Training accuracy falls with tau (mean over the epochs: slope over all six).",
        lambda r: slope(r, {name: 100 * tau for name, tau in TAUS.items()}),
        NEGATIVE,
        "percentage points per 0.01",
    ),
    _claim(
        "most-correlated-behind",
        "The least orthogonal matrices train worse than orthogonal ones "
        "(mean training accuracy over the epochs: tau 0.025 minus tau 0).",
        lambda r: faster(r, MOST, LEAST),
        NEGATIVE,
        "percentage points",
    ),
    _claim(
        "gradients-do-not-vanish",
        "Gradients do not vanish in any of them "
        f"(log10 of gradient norm, first over last hidden layer, at the start, the smallest; above {HALF:.2g}).",
        _least_decay,
        NO_DECAY,
        "log10",
    ),
    _claim(
        "gradients-larger",
        "Gradients are larger with less orthogonal matrices (mean log10 ratio at the start, tau 0.025 over tau 0).",
        _larger_gradients,
        POSITIVE,
        "log10",
    ),
    Claim(
        "orhan2018/fig8/activations-larger",
        "not in the paper: what else tau changes",
        "Activations too grow more through the layers of less orthogonal matrices: equal eigenvalues do not mean equal "
        "norms (log10 of activation norm, last over first layer, tau 0.025 minus tau 0).",
        _larger_activations,
        POSITIVE,
        "log10",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig8",
        "Spectrum-equalised skip matrices of decreasing orthogonality",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=("The paper does not say whether layers share a skip matrix: here every layer draws its own.",),
    ),
)
