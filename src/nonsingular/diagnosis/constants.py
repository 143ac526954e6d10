"""The best prediction that is the same for every sample: what a network must beat to have learned anything."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from nonsingular.objective import Batch

ITERATIONS = 50
SETTLED, PATIENCE = 1e-6, 10
"""A descent is over when so many evaluations gained less than this part of the loss at its start: near the rounding of
float32 a line search would go on for all of its evaluations."""
FALLS_FOR_EVER = -1e6
"""A loss that gets here has no least constant: the negative log-likelihood of what are no log-probabilities, say."""


class Predicts(Protocol):
    """A network with its loss."""

    @property
    def form(self) -> str:
        """As in ``objective.Objective``."""

    def predicted(self, batch: Batch) -> Any:
        """What the network returns in evaluation mode."""

    def of_output(self, output: Tensor, target: Any) -> Tensor:
        """The loss of an output."""


def best_constant(arm: Predicts, batch: Batch, seconds: float = math.inf) -> float:
    """The loss of the best constant on these samples.

    One output for all samples, found from the class frequencies, the targets' mean and the network's mean output, and
    improved by L-BFGS (Liu and Nocedal 1989).

    Args:
        arm: a network with its loss.
        batch: the samples.
        seconds: after which no further descent begins, and one that goes on is given up.

    Returns:
        NaN where outputs are no tensor ``[sample, ...]``, the loss is no function of them, or falls without end, and
        where no descent came to its end in time.
    """
    end = time.perf_counter() + seconds
    if arm.form != "output":
        return math.nan
    try:
        output = arm.predicted(batch)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return math.nan
    if not (isinstance(output, Tensor) and output.ndim and output.shape[0] == batch.samples):
        return math.nan
    losses: list[float] = []
    for start in _starts(output, batch.target):
        if time.perf_counter() > end:
            break
        losses.append(_improved(start, arm, batch, end))
    best = min((x for x in losses if math.isfinite(x)), default=math.nan)
    return best if best > FALLS_FOR_EVER else math.nan


def _starts(output: Tensor, target: object) -> Iterator[Tensor]:
    """Constants that the targets suggest come first."""
    yield from _by_targets(output, target)
    if bool(torch.isfinite(output).all()):
        yield output.mean(0)
    yield torch.zeros_like(output[0])


def _by_targets(output: Tensor, target: object) -> Iterator[Tensor]:
    if not isinstance(target, Tensor) or not target.ndim or target.shape[0] != output.shape[0]:
        return
    if target.shape == output.shape:
        yield target.to(output.dtype).mean(0)
    elif target.is_floating_point() and target.numel() == output.numel():
        yield target.to(output.dtype).reshape(output.shape).mean(0)
    if not target.is_floating_point() and output.ndim >= 2 and target.ndim == output.ndim - 1:
        places = [1] * (output.ndim - 2)
        classes = torch.arange(output.shape[1], device=output.device).view(-1, *places)
        of_class = (target.unsqueeze(1) == classes).to(output.dtype)
        share = of_class.mean([0, *range(2, output.ndim)])
        yield share.clamp_min(1e-4).log().view(-1, *places).expand_as(output[0]).clone()


class _Settled(Exception):
    """Nothing more is gained."""


class _Late(Exception):
    """There is no more time."""


def _improved(start: Tensor, arm: Predicts, batch: Batch, end: float) -> float:
    """The smallest loss that a descent from ``start`` meets; infinite where the loss takes no such output, or too long.

    What a descent has met that is given up at ``end`` is no least loss.
    """
    constant = start.detach().clone().requires_grad_()
    optimiser = torch.optim.LBFGS([constant], max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    met: list[float] = []

    def closure() -> Tensor:
        if time.perf_counter() > end:
            raise _Late
        optimiser.zero_grad()
        loss = arm.of_output(constant.expand(batch.samples, *constant.shape), batch.target)
        if math.isfinite(value := loss.item()):
            met.append(value)
        settled = len(met) > PATIENCE and min(met[:-PATIENCE]) - min(met) <= SETTLED * abs(met[0])
        if settled or min(met, default=0.0) < FALLS_FOR_EVER:
            raise _Settled
        loss.backward()
        return loss

    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimiser.step(closure)
    except _Late:
        return math.inf
    except (_Settled, RuntimeError, TypeError, ValueError, IndexError):
        pass  # it is over, or a loss takes probabilities only, say: what was met before counts
    return min(met, default=math.inf)
