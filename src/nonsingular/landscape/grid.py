"""Losses at the points of a grid: each computed once, kept as it comes, and what is known of those in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nonsingular.landscape.axes import CENTRE, ENDS, Axis, marked
from nonsingular.landscape.directions import cosine, norm
from nonsingular.landscape.distributed import Distributed, summed
from nonsingular.landscape.fitting import Direction, fitted, movement
from nonsingular.landscape.keeping import Kept, digest
from nonsingular.landscape.losses import Losses
from nonsingular.landscape.metrics import Metrics, chosen
from nonsingular.landscape.refinement import Refined, refine
from nonsingular.machine import emulates_bfloat16, known
from nonsingular.objective import Objective
from nonsingular.words import counted

if TYPE_CHECKING:
    from nonsingular.landscape.surface import Settings

Axes = Mapping[str, Axis]
Directions = Mapping[str, Direction]


def evaluated(
    objective: Objective,
    directions: Directions,
    axes: Axes,
    metrics: Metrics,
    settings: Settings,
    keep: Path | None,
    on_points: Callable[[int], None],
) -> xr.Dataset:
    """Losses and metrics over a grid, as ``surface`` returns them; the arguments are those of ``line``."""
    metrics = chosen(metrics)
    settings = replace(settings, tolerance=0.0) if metrics else settings
    directions = {name: fitted(d, objective.model, f"direction {name}") for name, d in directions.items()}
    losses = _losses(objective, directions, metrics, settings)
    kept = _kept(losses, directions, axes, settings, keep)
    grid = _Grid(losses, axes, kept, settings.distributed, on_points)
    refined = grid.refined(settings)
    measured = _measured(kept, metrics, np.exp(refined.values) if grid.logarithmic else refined.values)
    notes = [*objective.notes, *losses.notes]
    if (lost := ~np.isfinite(measured["loss"])).any():
        notes += _why_lost(losses, np.stack(np.meshgrid(*axes.values(), indexing="ij"), axis=-1)[lost])
    return xr.Dataset(
        {variable: (tuple(axes), found) for variable, found in measured.items()},
        coords=axes,
        attrs={
            **grid.attributes(refined),
            "model_mode": objective.mode,  # "mode" is an attribute of netCDF's writer
            "statistics": settings.statistics,
            "notes": "; ".join(notes),
            **{f"norm_{name}": norm(d) for name, d in directions.items()},
            **({"cosine": cosine(*directions.values())} if len(directions) == 2 else {}),
            **movement(directions, objective.parameters),
        },
    )


def _losses(objective: Objective, directions: Directions, metrics: Metrics, settings: Settings) -> Losses:
    return Losses(
        objective, None, None, list(directions.values()), metrics=metrics, statistics=settings.statistics,
        samples=settings.samples, subset_seed=settings.seed, reduction=settings.reduction,
        microbatch=settings.microbatch, precision="float32" if settings.precision == "auto" else settings.precision,
        total=summed if settings.distributed else None,
    )  # fmt: skip


def _kept(losses: Losses, directions: Directions, axes: Axes, settings: Settings, keep: Path | None) -> Kept:
    """What was computed before, in the precision that it was computed in; else nothing, and the precision is chosen."""
    decides = settings, [a.tolist() for a in axes.values()], losses.quantities
    name = "" if keep is None else digest(losses.objective, directions.values(), *decides)
    kept = Kept((*map(len, axes.values()), len(losses.quantities)), keep, name)
    if kept.precision:
        losses.precision = kept.precision
    else:
        _choose_precision(losses, settings, axes)
        kept.precision = losses.precision
    return kept


class _Grid:
    """Points of which each is computed once, by all processes together where there are several.

    Attributes:
        logarithmic: whether losses are interpolated by their logarithm, which is known once some are.
    """

    def __init__(
        self, losses: Losses, axes: Axes, kept: Kept, distributed: bool, on_points: Callable[[int], None]
    ) -> None:
        self.logarithmic = False
        self._axes, self._kept, self._how, self._on_points = list(axes.values()), kept, losses, on_points
        self._everyone: Losses | Distributed = losses
        if distributed:
            self._everyone = together = Distributed(losses)
            kept.done &= together.everywhere(kept.done)
        on_points(int(kept.done.sum()))

    def at(self, indices: np.ndarray) -> np.ndarray:
        """Losses at points ``[point, axis]``; those that are new are computed."""
        kept = self._kept
        new = indices[~kept.done[tuple(indices.T)]]
        points = np.stack([a[i] for a, i in zip(self._axes, new.T, strict=True)], axis=1)

        def done(row: int, values: np.ndarray, errors: np.ndarray) -> None:
            kept.put(tuple(new[row]), values, errors)
            self._on_points(1)

        self._everyone.evaluate(points, done)
        return kept.values[(*indices.T, 0)]

    def refined(self, settings: Settings) -> Refined:
        """All points, by their logarithms where all losses that are surely computed are positive."""
        shape = self._kept.done.shape
        try:
            self.logarithmic = bool((self.at(_surely(self._axes)) > 0).all())
            scale = _log if self.logarithmic else np.asarray
            found = refine(lambda i: scale(self.at(i)), shape, settings.tolerance, settings.seed, axes=self._axes)
        finally:
            self._kept.save()
        self._on_points(int((~self._kept.done).sum()))
        return found

    def attributes(self, refined: Refined) -> dict[str, Any]:
        """How many points were computed, how, on what, and how exact the others are."""
        finite, done = refined.values[np.isfinite(refined.values)], self._kept.done
        return {
            "points": int(done.size),
            "evaluated": int(done.sum()),
            "scale": "log" if self.logarithmic else "linear",
            "range": float(np.ptp(finite)) if finite.size else 0.0,
            "interpolation_error": refined.error,
            "interpolation_worst": refined.worst,
            "interpolation_checked": refined.checked,
            "samples": self._everyone.samples,
            "total_samples": self._everyone.total,
            "how": self._how.how,
        }


def _measured(kept: Kept, metrics: Metrics, losses: np.ndarray) -> dict[str, np.ndarray]:
    """Each variable at all points; losses that were computed stand for themselves."""
    found = {
        "loss": np.where(kept.done, kept.values[..., 0], losses),
        "standard_error": kept.errors[..., 0],
        "evaluated": kept.done,
    }
    for k, metric in enumerate(metrics, 1):
        found |= {metric: kept.values[..., k], f"{metric}_standard_error": kept.errors[..., k]}
    return found


def _choose_precision(losses: Losses, settings: Settings, axes: Axes) -> None:
    """Settle ``auto``: no trial where it cannot end in bfloat16, as where every point is to be exact."""
    if settings.precision != "auto" or not settings.tolerance > 0:
        return
    here = known(losses.objective.device)
    if here.bfloat16 if here else not emulates_bfloat16(losses.objective.device):
        corners = np.meshgrid(*(a[[0, len(a) // 2, -1]] for a in axes.values()), indexing="ij")
        losses.choose_precision(np.stack([c.ravel() for c in corners], axis=1), settings.tolerance / 2)


def _why_lost(losses: Losses, points: np.ndarray) -> list[str]:
    """Why the loss is not finite at points, in words."""
    negative = int((~losses.possible(points)).sum())
    reasons = {
        "a running variance of batch normalisation, moved with the weights, is negative: take statistics='recomputed'":
            negative,
        "the model or the loss gives inf or NaN": len(points) - negative,
    }  # fmt: skip
    return [f"at {counted(n, 'point')} {why}" for why, n in reasons.items() if n]


def _surely(axes: Sequence[Axis]) -> np.ndarray:
    """Indices of what is evaluated whatever is interpolated: the solutions, the corners, and the middle."""
    shape = tuple(map(len, axes))
    ends = np.array(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij")).reshape(len(shape), -1).T
    solutions = (marked(a, CENTRE if len(shape) > 1 else ENDS) for a in axes)
    there = np.array(np.meshgrid(*solutions, indexing="ij"), int).reshape(len(shape), -1).T
    return np.unique(np.concatenate([ends, [[n // 2 for n in shape]], there]), axis=0)


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)
