"""Everything that is measured before rules judge: the contract, then the look, then the curvature."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from torch import Tensor, nn

from nonsingular import progress
from nonsingular.diagnosis import contract
from nonsingular.diagnosis.batches import BROADCAST, LossFn, problem
from nonsingular.diagnosis.contract import refusals
from nonsingular.diagnosis.contract.lookups import looked_up
from nonsingular.diagnosis.contract.refusals import Refusal, refusal
from nonsingular.diagnosis.contract.scene import traced
from nonsingular.diagnosis.contract.tables import of_embeddings
from nonsingular.diagnosis.contract.targets import lenient
from nonsingular.diagnosis.flatness import with_spectrum
from nonsingular.diagnosis.look import Budget, look
from nonsingular.diagnosis.records import Look, Statistic
from nonsingular.diagnosis.statistics import statistics
from nonsingular.errors import BadData, InputError
from nonsingular.objective import Batch

ROWS = 4096  # samples whose data are compared with each other


def examine(
    model: nn.Module,
    loss_fn: LossFn | None,
    batches: Sequence[tuple[Any, Any]],
    budget: Budget,
    curvature: bool | None = None,
    held_out: Sequence[tuple[Any, Any]] = (),
) -> tuple[Look, dict[str, Statistic]]:
    """The look and all statistics, of the contract and of the network.

    Args:
        model: as in ``diagnose``.
        loss_fn: as there.
        batches: as there.
        budget: of the look.
        curvature: as in ``flatness.with_spectrum``.
        held_out: batches of an evaluation.

    Raises:
        InputError: a model, loss or batches that cannot be used.
    """
    model = getattr(model, "_orig_mod", model)  # compiled modules compute elsewhere than where calls are seen
    with progress.stretch("checking model, loss and data", None, ""):
        task = problem(model, loss_fn, batches, ROWS)
        apart = _apart(model, loss_fn, held_out)
        scene = contract.scene(task)
        numbers = contract.statistics(task, apart, scene)
    loss_fn = _cured(loss_fn, refusal(scene))
    if numbers["inadmissible"].value > 0:
        loss_fn = _lenient(loss_fn)
    try:
        seen = look(model, loss_fn, batches, budget)
    except InputError:  # of a batch behind the one that was traced
        failed = next((s for s in (traced(task, b) for b in task.batches) if s.failure is not None), None)
        if failed is None or refusal(failed) is None:
            raise
        numbers |= refusals.statistics(failed)
        loss_fn = _cured(loss_fn, refusal(failed))
        seen = look(model, loss_fn, batches, budget)
    if curvature is not False:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=BROADCAST)
            seen = with_spectrum(seen, model, loss_fn, batches, curvature)
    seen = replace(seen, looked_up=looked_up(scene))
    found = {**statistics(seen), **numbers, **contract.not_finite(task, seen.not_finite)}
    if math.isnan(numbers["large-targets"].value) or not math.isnan(numbers["small-targets"].value):
        # Outputs are too large against targets only where a distance compares them and the targets are ordinary.
        found["output-scale"] = replace(found["output-scale"], value=math.nan)
    for name in ("output", "output-scale"):
        found[name] = of_embeddings(scene, found[name], seen.outputs)
    if numbers["at-floor"].value > 0:  # that no gradient comes is told, or all there is to learn is learnt
        found["untrained"] = replace(found["untrained"], value=math.nan)
    return seen, found


def _apart(model: nn.Module, loss_fn: LossFn | None, held_out: Sequence[tuple[Any, Any]]) -> Sequence[Batch]:
    try:
        return problem(model, loss_fn, held_out, ROWS).batches if held_out else ()
    except BadData as error:
        raise BadData(f"held-out data: {error}", of="held_out") from error


def _cured(loss_fn: LossFn | None, refused: Refusal | None) -> LossFn | None:
    """The loss of outputs and targets that it takes, in the place of those on which it raises."""
    if loss_fn is None or refused is None:
        return loss_fn

    @wraps(loss_fn)  # the names of its arguments say what they are
    def loss(output: Any, target: Any) -> Tensor:
        return loss_fn(*refused.cured(output, target))

    return loss


def _lenient(loss_fn: LossFn | None) -> LossFn | None:
    """The loss with targets out of range taken for the nearest, so that the network can be looked at all the same."""
    if loss_fn is None:
        return None

    @wraps(loss_fn)  # the names of its arguments say what they are
    def loss(*args: Any) -> Tensor:
        with lenient():
            return loss_fn(*args)

    return loss
