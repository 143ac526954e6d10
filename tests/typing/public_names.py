"""What a type checker knows of the names at the top: `make lint` checks this file, nothing runs it.

A name that were ``Any`` would fail its ``assert_type``; a misspelled one has to be an error.
"""

from types import ModuleType
from typing import Any, assert_type

import torch
import xarray as xr
from torch import Tensor, nn

import nonsingular as ns
from nonsingular.curvature import Spectrum
from nonsingular.diagnosis import Diagnosis, Rehearsal
from nonsingular.experiments.reproducing import Outcome

misspelled = ns.Hesian  # type: ignore[attr-defined]


def loss_fn(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def curvature(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
    H = assert_type(ns.Hessian(model, loss_fn, batches), ns.curvature.Hessian)
    assert_type(H.dense(), Tensor)
    v = torch.ones(H.shape[0])
    assert_type(H @ v, Tensor)
    assert_type(v @ H, Tensor)
    assert_type(H @ dict(model.named_parameters()), dict[str, Tensor])
    assert_type(H @ list(model.parameters()), list[Tensor])
    assert_type(2 * H + 0.1, ns.curvature.Symmetric)
    assert_type(H.T @ v, Tensor)
    J = assert_type(ns.curvature.Jacobian(model, batches), ns.curvature.Jacobian)
    assert_type(J.T @ (J @ v), Tensor)
    assert_type(J @ J.T, ns.curvature.Linear)
    assert_type(ns.spectrum(H, method="lanczos"), Spectrum)
    assert_type(ns.curvature.spectrum(H), Spectrum)


def landscape(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
    x, y = ns.landscape.gaussian(model, 0), ns.landscape.gaussian(model, 1)
    assert_type(ns.surface(model, loss_fn, batches, x, y), xr.Dataset)
    assert_type(ns.landscape.surface(model, loss_fn, batches, x, y), xr.Dataset)
    assert_type(ns.Objective(model, loss_fn, batches).value(), Tensor)


def diagnosis(model: nn.Module, batches: list[tuple[Tensor, Tensor]], step: Any, optimiser: Any) -> None:
    assert_type(ns.diagnose(model, loss_fn, batches), Diagnosis)
    assert_type(ns.rehearse(model, step, batches, optimiser), Rehearsal)
    assert_type(ns.Monitor(model).findings, list[ns.diagnosis.Finding])
    assert_type(ns.treatments.reset_biases(model).model, nn.Module)
    assert_type(ns.treatments, ModuleType)


def experiments(figure: ns.Figure, claim: ns.Claim) -> None:
    assert_type(ns.reproduce(figure, "smoke"), Outcome)
    assert_type(figure.title, str)
    assert_type(claim.statement, str)


def training(population: ns.Population, trainer: ns.Trainer, spec: ns.TrainingSpec) -> None:
    assert_type(trainer.population, ns.Population)
    assert_type(spec.epochs, int)
    assert_type(population.parameters, dict[str, Tensor])
    assert_type(ns.InputError("one line"), ns.InputError)
