"""Losses along lines, over planes and around training runs, of any model and any loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from nonsingular.errors import InputError
from nonsingular.landscape.directions import VECTORS, cosine, norm
from nonsingular.landscape.distributed import Distributed
from nonsingular.landscape.fitting import Direction, fitted, movement
from nonsingular.landscape.keeping import Kept, digest
from nonsingular.landscape.losses import Losses
from nonsingular.landscape.paths import principal
from nonsingular.landscape.refinement import refine
from nonsingular.objective import Loss
from nonsingular.weights import Weights, state_of

Batches = Iterable[tuple[Any, Any]]
Span = tuple[float, float]
UNIT: Span = (-1.0, 1.0)


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
        distributed: every process of a ``torch.distributed`` group gives its own part of the batches (and its own file
            to ``keep``); the loss is that over all of them, and all processes return the same. ``samples`` counts each
            process's own.

    Raises:
        InputError: numbers out of range; a precision found by timing, which processes could find differently.
    """

    tolerance: float = 0.005
    samples: int | None = None
    precision: str = "float32"
    seed: int = 0
    reduction: str = "mean"
    microbatch: int | None = None
    distributed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise InputError(f"tolerance must be at least 0 and below 1, got {self.tolerance}")
        if self.distributed and self.precision == "auto":
            raise InputError("precision auto is found by timing; over several processes name float32 or bfloat16")


EXACT = Settings(tolerance=0.0)
"""Every point, all data, the model's own precision."""
DEFAULT = Settings()


def line(
    model: nn.Module,
    loss_fn: Loss,
    batches: Batches,
    direction: Direction,
    *,
    span: Span = UNIT,
    grid: int = 51,
    settings: Settings = EXACT,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
) -> xr.Dataset:
    """The loss along one direction through a model's weights.

    Args:
        model: any module; evaluated in evaluation mode, on a copy.
        loss_fn: (model output, target) -> scalar.
        batches: (inputs, target) pairs.
        direction: from ``landscape.directions``.
        span: coordinates of the first and last point; 0 is the model itself.
        grid: points.
        settings: exactness and speed.
        keep: file in which points are kept as they come, and from which a stopped call goes on.
        on_points: called with the number of points just done.

    Returns:
        Dimension ``x``; variables ``loss``, ``standard_error`` (of taking a subset of the data) and ``evaluated``
        (False where interpolated). Attributes say what was evaluated, how, and the error of what was interpolated.

    Raises:
        InputError: as ``Losses``; a grid below two points, an empty span, a file of another surface.
    """
    return _evaluate(model, loss_fn, batches, {"x": direction}, {"x": span}, grid, settings, keep, on_points)


def surface(
    model: nn.Module,
    loss_fn: Loss,
    batches: Batches,
    x: Direction,
    y: Direction,
    *,
    span: Span = UNIT,
    span_y: Span | None = None,
    grid: int = 51,
    settings: Settings = DEFAULT,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
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
        grid: points along each axis.
        settings: exactness and speed.
        keep: as in ``line``.
        on_points: as in ``line``.

    Returns:
        As ``line``, with dimensions ``y`` and ``x``; the attribute ``cosine`` tells how far from orthogonal they are.

    Raises:
        InputError: as ``line``.
    """
    spans = {"y": span_y or span, "x": span}
    return _evaluate(model, loss_fn, batches, {"y": y, "x": x}, spans, grid, settings, keep, on_points)


def trajectory(
    model: nn.Module,
    loss_fn: Loss,
    batches: Batches,
    states: Sequence[Weights],
    *,
    margin: float = 0.25,
    moved: Sequence[str] = VECTORS,
    grid: int = 51,
    settings: Settings = DEFAULT,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
) -> xr.Dataset:
    """The loss around a training run, over the plane of its first two principal components (li2018 section 7).

    Args:
        model: the architecture; the centre is the last checkpoint, whose running statistics hold everywhere.
        loss_fn: as in ``line``.
        batches: as in ``line``.
        states: the checkpoints in order, each a module, a state dictionary, a file, or a flat vector.
        margin: how far the plane reaches beyond the path, as a share of its extent.
        moved: ``bias`` and ``norm``, as ``keep`` of ``directions.principal``.
        grid: points along each axis.
        settings: exactness and speed.
        keep: as in ``line``.
        on_points: as in ``line``.

    Returns:
        As ``surface``; besides, along ``checkpoint``, the path's coordinates ``path_x`` and ``path_y`` and its
        ``distance`` from the plane, in the same units; and along ``direction`` the share of variance ``explained``.

    Raises:
        InputError: as ``surface`` and ``directions.principal``; states that do not fit the model.
    """
    final = with_weights(model, states[-1], "the checkpoints do")
    path = principal(states, final, keep=moved)
    x, y = path.directions
    spans = [_around(path.coordinates[:, k], margin) for k in range(2)]
    found = surface(
        final, loss_fn, batches, x, y, span=spans[0], span_y=spans[1],
        grid=grid, settings=settings, keep=keep, on_points=on_points,
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
    try:
        found.load_state_dict(state_of(weights, found))
    except (RuntimeError, IndexError) as error:
        raise InputError(f"{what} not fit the model: {' '.join(str(error).split())[:300]}") from error
    return found


def _around(coordinates: np.ndarray, margin: float) -> Span:
    low, high = float(coordinates.min()), float(coordinates.max())
    reach = margin * max(high - low, 1e-12)
    return low - reach, high + reach


def _evaluate(
    model: nn.Module,
    loss_fn: Loss,
    batches: Batches,
    directions: dict[str, Direction],
    spans: dict[str, Span],
    grid: int,
    settings: Settings,
    keep: Path | None,
    on_points: Callable[[int], None],
) -> xr.Dataset:
    axes = {name: _axis(span, grid) for name, span in spans.items()}
    pairs = _pairs(batches)
    directions = {name: fitted(d, model, f"direction {name}") for name, d in directions.items()}
    losses = Losses(
        model, loss_fn, pairs, list(directions.values()), samples=settings.samples, seed=settings.seed,
        reduction=settings.reduction, microbatch=settings.microbatch,
        precision="float32" if settings.precision == "auto" else settings.precision,
    )  # fmt: skip
    shape = tuple(map(len, axes.values()))
    name = "" if keep is None else digest(model, directions.values(), pairs, settings, list(spans.values()), grid)
    kept = Kept(shape, keep, name)
    if kept.precision:
        losses.precision = kept.precision
    else:
        _choose_precision(losses, settings, axes)
        kept.precision = losses.precision
    everyone: Losses | Distributed = losses
    if settings.distributed:
        everyone = Distributed(losses)
        kept.done &= everyone.everywhere(kept.done)
    on_points(int(kept.done.sum()))

    def at(indices: np.ndarray) -> np.ndarray:
        new = indices[~kept.done[tuple(indices.T)]]
        points = np.stack([a[i] for a, i in zip(axes.values(), new.T, strict=True)], axis=1)

        def done(row: int, loss: float, error: float) -> None:
            kept.put(tuple(new[row]), loss, error)
            on_points(1)

        everyone(points, done)
        return kept.loss[tuple(indices.T)]

    try:
        logarithmic = bool((at(_extremes(shape)) > 0).all())
        scale = _log if logarithmic else np.asarray
        refined = refine(lambda indices: scale(at(indices)), shape, settings.tolerance, settings.seed)
    finally:
        kept.save()
    values = np.exp(refined.values) if logarithmic else refined.values
    finite = refined.values[np.isfinite(refined.values)]
    return xr.Dataset(
        {
            "loss": (tuple(axes), np.where(kept.done, kept.loss, values)),
            "standard_error": (tuple(axes), kept.error),
            "evaluated": (tuple(axes), kept.done),
        },
        coords=axes,
        attrs={
            "points": int(kept.done.size),
            "evaluated": int(kept.done.sum()),
            "scale": "log" if logarithmic else "linear",
            "range": float(np.ptp(finite)) if finite.size else 0.0,
            "interpolation_error": refined.error,
            "interpolation_worst": refined.worst,
            "interpolation_checked": refined.checked,
            "samples": everyone.samples,
            "total_samples": everyone.total,
            "how": losses.how,
            **{f"norm_{name}": norm(d) for name, d in directions.items()},
            **({"cosine": cosine(*directions.values())} if len(directions) == 2 else {}),
            **movement(directions, model),
        },
    )


def _choose_precision(losses: Losses, settings: Settings, axes: dict[str, np.ndarray]) -> None:
    if settings.precision == "auto":
        corners = np.meshgrid(*(a[[0, len(a) // 2, -1]] for a in axes.values()), indexing="ij")
        losses.choose_precision(np.stack([c.ravel() for c in corners], axis=1), settings.tolerance / 2)


def _pairs(batches: Any) -> list[tuple[Any, Any]]:
    """Batches that can be read more than once; a single pair may come without its list."""
    single = isinstance(batches, tuple) and len(batches) == 2 and isinstance(batches[0], Tensor)
    return [batches] if single else list(batches)


def _axis(span: Span, grid: int) -> np.ndarray:
    low, high = span
    if grid < 2:
        raise InputError(f"grid must be at least 2 points, got {grid}")
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"span must be two finite numbers, the smaller first, got {low:g} and {high:g}")
    return np.linspace(low, high, grid)


def _extremes(shape: tuple[int, ...]) -> np.ndarray:
    """Corners and middle, which every refinement evaluates anyway."""
    ends = np.array(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij")).reshape(len(shape), -1).T
    return np.concatenate([ends, [[n // 2 for n in shape]]])


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)
