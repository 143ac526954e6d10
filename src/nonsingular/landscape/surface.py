"""Losses along lines, over planes and around training runs, of any model and any loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import xarray as xr
from torch import nn

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.landscape.axes import ENDS, Span, axis
from nonsingular.landscape.directions import VECTORS
from nonsingular.landscape.fitting import Direction
from nonsingular.landscape.grid import evaluated
from nonsingular.landscape.metrics import Metrics
from nonsingular.landscape.paths import principal, projected
from nonsingular.landscape.statistics import STATISTICS
from nonsingular.objective import Loss, Objective, Options, brought
from nonsingular.spelling import spelled
from nonsingular.weights import Weights, load, state_of

UNIT: Span = (-1.0, 1.0)


@checked
@dataclass(frozen=True)
class Settings:
    """How exactly, and how fast, losses are computed.

    Attributes:
        tolerance: root-mean-square error of interpolated points that is allowed, as a share of the range of the
            logarithm of the loss (of the loss itself where it is not positive everywhere); 0 evaluates every point.
        samples: size of the random subset of the data, the same at every point; None takes all.
        precision: ``float32`` (the model's own), ``bfloat16`` (mixed), or ``auto``: mixed where that is faster and its
            error at nine points within half the tolerance.
        seed: of the subset, and of the interpolated points that are checked.
        reduction: of the loss over a batch: ``mean`` or ``sum``.
        microbatch: samples of one piece; None takes what suits the model and the device.
        statistics: of batch normalisation. ``given``: the model's running ones, moved where the direction moves them;
            ``recomputed`` at every point from the batches, as PyTorch's ``update_bn`` does.
        distributed: every process of a ``torch.distributed`` group gives its own part of the batches (and its own file
            to ``keep``); the loss is that over all of them, and all processes return the same. ``samples`` counts each
            process's own.

    Raises:
        InputError: numbers out of range; a precision found by timing, which processes could find differently;
            statistics that processes would take from their own part of the data.

    >>> import nonsingular as ns
    >>> ns.landscape.Settings(tolerance=0.01, statistics="recomputed").precision
    'float32'
    """

    tolerance: float = 0.005
    samples: int | None = None
    precision: str = "float32"
    seed: int = 0
    reduction: str = "mean"
    microbatch: int | None = None
    statistics: str = "given"
    distributed: bool = False

    def __post_init__(self) -> None:
        checks.at_least(1, **{n: v for n in ("samples", "microbatch") if (v := getattr(self, n)) is not None})
        if not 0 <= self.tolerance < 1:
            raise InputError(f"tolerance must be at least 0 and below 1, got {self.tolerance}")
        if self.distributed and self.precision == "auto":
            raise InputError("precision auto is found by timing; over several processes name float32 or bfloat16")
        if self.statistics not in STATISTICS:
            raise InputError(f"unknown statistics {self.statistics!r}; there are {', '.join(STATISTICS)}")


EXACT = Settings(tolerance=0.0)
"""Every point, all data, the model's own precision."""
DEFAULT = Settings()


@checked
@spelled
def line(
    model: nn.Module | Objective,
    loss_fn: Loss | None,
    batches: Any,
    direction: Direction,
    *,
    span: Span = UNIT,
    grid: int = 51,
    metrics: Metrics = (),
    settings: Settings = EXACT,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
    **options: Unpack[Options],
) -> xr.Dataset:
    """The loss along one direction through a model's weights.

    Args:
        model: any module, of which a copy is evaluated; or an `Objective`, in place of model, loss and batches (which
            are then None).
        loss_fn: as `Objective` takes it: (model output, target) -> scalar, (model, batch) -> scalar, or None.
        batches: as `Objective` takes data: a pair (inputs, target), or batches.
        direction: from ``landscape.directions``, or a flat vector.
        span: coordinates of the first and last point; 0 is the model itself.
        grid: points, as even as they can be with 0 and 1 among them: of `between`, the two solutions.
        metrics: measured beside the loss in the same pass: ``["accuracy"]``, or {name: function of (output, target)}.
            Every point is then evaluated: metrics are not smooth.
        settings: exactness and speed.
        keep: file in which points are kept as they come, and from which a stopped call goes on.
        on_points: called with the number of points just done; those that are interpolated are done in the end.
        **options: ``form``, ``weights``, ``seed`` and ``mode`` of `Objective`: evaluation mode by default; a random
            loss needs a seed, and draws the same random numbers at every point (common random numbers).

    Returns:
        Dimension ``x``; variables ``loss``, ``standard_error`` (of taking a subset of the data), ``evaluated``
        (False where interpolated), and each metric with its ``NAME_standard_error``. Attributes say what was evaluated,
        how, what moved, and the error of what was interpolated.

    Raises:
        InputError: as ``Losses``; a grid below two points, an empty span, a file of another surface.

    Example:
        >>> import torch
        >>> from nonsingular import landscape
        >>> net, data = torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1))
        >>> step = {"weight": torch.ones(1, 2)}
        >>> found = landscape.line(net, torch.nn.functional.mse_loss, data, step, span=(0, 1), grid=3)
        >>> found.loss.shape, found.attrs["moved_weights"]
        ((3,), 2)
    """
    objective = brought(model, loss_fn, batches, reduction=settings.reduction, **options)
    return evaluated(objective, {"x": direction}, {"x": axis(span, grid, ENDS)}, metrics, settings, keep, on_points)


@checked
@spelled
def surface(
    model: nn.Module | Objective,
    loss_fn: Loss | None,
    batches: Any,
    x: Direction,
    y: Direction,
    *,
    span: Span = UNIT,
    span_y: Span | None = None,
    grid: int = 51,
    metrics: Metrics = (),
    settings: Settings = DEFAULT,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
    **options: Unpack[Options],
) -> xr.Dataset:
    """The loss over a plane through a model's weights (li2018 section 4).

    Args:
        model: as in ``line``.
        loss_fn: as in ``line``.
        batches: as in ``line``.
        x: first direction.
        y: second direction.
        span: coordinates of the first and last column; 0 is the model itself.
        span_y: of the rows; ``span`` by default.
        grid: points along each axis, as even as they can be with 0, the model itself, among them.
        metrics: as in ``line``.
        settings: exactness and speed.
        keep: as in ``line``.
        on_points: as in ``line``.
        **options: as in ``line``.

    Returns:
        As ``line``, with dimensions ``y`` and ``x``; the attribute ``cosine`` tells how far from orthogonal they are.

    Raises:
        InputError: as ``line``.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> x, y = (ns.landscape.gaussian(model, seed) for seed in (0, 1))
    >>> found = ns.surface(model, torch.nn.functional.cross_entropy, [batch], x, y, grid=9)
    >>> dict(found.loss.sizes)
    {'y': 9, 'x': 9}
    """
    objective = brought(model, loss_fn, batches, reduction=settings.reduction, **options)
    axes = {"y": axis(span_y or span, grid), "x": axis(span, grid)}
    return evaluated(objective, {"y": y, "x": x}, axes, metrics, settings, keep, on_points)


@checked
@spelled
def trajectory(
    model: nn.Module | Objective,
    loss_fn: Loss | None,
    batches: Any,
    states: Sequence[Weights],
    *,
    directions: tuple[Direction, Direction] | None = None,
    margin: float = 0.25,
    moved: Sequence[str] = VECTORS,
    grid: int = 51,
    metrics: Metrics = (),
    settings: Settings = DEFAULT,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
    **options: Unpack[Options],
) -> xr.Dataset:
    """The loss around a training run, over the plane of its first two principal components (li2018 section 7).

    Args:
        model: the architecture; the centre is the last checkpoint, whose running statistics hold everywhere.
        loss_fn: as in ``line``.
        batches: as in ``line``.
        states: the checkpoints in order, each a module, a state dictionary, a file, or a flat vector.
        directions: of another plane through the last checkpoint, on which the run is projected; None takes the plane of
            its first two principal components.
        margin: how far the plane reaches beyond the path, as a share of its extent.
        moved: ``bias`` and ``norm``, as ``keep`` of ``directions.principal``.
        grid: points along each axis.
        metrics: as in ``line``.
        settings: exactness and speed.
        keep: as in ``line``.
        on_points: as in ``line``.
        **options: as in ``line``.

    Returns:
        As ``surface``; besides, along ``checkpoint``, the path's coordinates ``path_x`` and ``path_y`` and its
        ``distance`` from the plane, in the same units; and along ``direction`` the share of variance ``explained``.

    Raises:
        InputError: as ``surface`` and ``directions.principal``; states that do not fit the model.

    >>> import torch
    >>> import nonsingular as ns
    >>> states, batch = [torch.nn.Linear(3, 2) for _ in range(4)], (torch.randn(8, 3), torch.arange(8) % 2)
    >>> found = ns.landscape.trajectory(states[-1], torch.nn.functional.cross_entropy, [batch], states, grid=9)
    >>> found.path_x.sizes["checkpoint"]
    4
    """
    checks.not_empty(states=states)
    within = model.model if isinstance(model, Objective) else model
    final = with_weights(within, states[-1], "the checkpoints do")
    path = projected(states, final, directions) if directions else principal(states, final, keep=moved)
    x, y = path.directions
    spans = [_around(path.coordinates[:, k], margin) for k in range(2)]
    centre = model.at(final.state_dict()) if isinstance(model, Objective) else final
    found = surface(
        centre, loss_fn, batches, x, y, span=spans[0], span_y=spans[1], grid=grid, metrics=metrics, settings=settings,
        keep=keep, on_points=on_points, **options,
    )  # fmt: skip
    return found.assign(
        path_x=("checkpoint", path.coordinates[:, 0]),
        path_y=("checkpoint", path.coordinates[:, 1]),
        distance=("checkpoint", path.distances),
        explained=("direction", path.explained),
    )


def with_weights(model: nn.Module, weights: Weights, what: str = "the checkpoint does") -> nn.Module:
    """A copy of the model with other weights.

    Raises:
        InputError: they do not fit it.
    """
    found = copy.deepcopy(model)
    load(found, state_of(weights, found), what)
    return found


def _around(coordinates: np.ndarray, margin: float) -> Span:
    low, high = float(coordinates.min()), float(coordinates.max())
    reach = margin * max(high - low, 1e-12)
    return low - reach, high + reach
