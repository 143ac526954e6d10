"""Where a surface is convex in all of weight space, not only in the plane that is drawn (li2018 section 6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
import xarray as xr
from torch import nn

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.curvature import Hessian, Lanczos
from nonsingular.errors import InputError
from nonsingular.landscape.axes import Span, axis
from nonsingular.landscape.fitting import Direction, fitted
from nonsingular.landscape.keeping import Kept, digest
from nonsingular.landscape.surface import UNIT
from nonsingular.objective import Loss, Objective, Options, brought
from nonsingular.spelling import spelled


@checked
@spelled
def convexity(
    model: nn.Module | Objective,
    loss_fn: Loss | None,
    batches: Any,
    x: Direction,
    y: Direction,
    *,
    span: Span = UNIT,
    grid: int = 9,
    steps: int = 30,
    start: int = 0,
    linearise: bool = True,
    keep: Path | None = None,
    on_points: Callable[[int], None] = lambda count: None,
    **options: Unpack[Options],
) -> xr.Dataset:
    """Extreme eigenvalues of the Hessian over a plane, by the Lanczos process.

    Ritz values lie inside the spectrum: the smallest is an upper bound, the largest a lower one. ``residual`` bounds
    how far each is from some eigenvalue.

    Args:
        model: as in ``landscape.line``.
        loss_fn: as in ``landscape.line``.
        batches: as in ``landscape.line``.
        x: first direction.
        y: second direction.
        span: coordinates of the first and last column and row.
        grid: points along each axis.
        steps: products of the Hessian at each point.
        start: seed of the start vector, the same everywhere.
        linearise: as ``Hessian`` takes it; it costs time at every point and saves some with every product.
        keep: as in ``landscape.line``.
        on_points: as in ``landscape.line``.
        **options: as in ``landscape.line``.

    Returns:
        Dimensions ``y`` and ``x``; ``smallest``, ``largest``, ``residual`` (the larger of both ends' bounds), and
        ``ratio`` = abs(smallest / largest), 0 where the smallest is not negative: near 0 the loss is nearly convex.

    Raises:
        InputError: as ``curvature.Hessian`` (a point where the loss is not finite is NaN, the centre is refused).

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> x, y = (ns.landscape.gaussian(model, seed) for seed in (0, 1))
    >>> found = ns.landscape.convexity(model, torch.nn.functional.cross_entropy, [batch], x, y, grid=3)
    >>> sorted(found.dims)
    ['x', 'y']
    """
    checks.at_least(1, steps=steps)
    points = axis(span, grid)
    grid = len(points)
    objective = brought(model, loss_fn, batches, **options)
    x, y = (fitted(d, objective.model, f"direction {k}") for k, d in enumerate((x, y), 1))
    centre = {**objective.parameters, **objective.buffers}
    name = "" if keep is None else digest(objective, (x, y), "convexity", points.tolist(), steps, start, linearise)
    kept = Kept((grid, grid, 3), keep, name)
    on_points(int(kept.done.sum()))
    try:
        for i, j in sorted(np.ndindex(grid, grid), key=lambda ij: abs(points[ij[0]]) + abs(points[ij[1]])):
            if kept.done[i, j]:
                continue
            state: dict[str, torch.Tensor] = dict(centre)
            for c, direction in ((points[j], x), (points[i], y)):
                for name, d in direction.items():
                    state[name] = state[name] + float(c) * d.to(state[name])
            try:
                values = _extremes(Hessian(objective.at(state), linearise=linearise), steps, start)
            except InputError:
                if not kept.done.any():  # the centre, which comes first: the model or the data are at fault
                    raise
                values = (np.nan,) * 3
            kept.put((i, j), np.array(values), np.zeros(3))
            on_points(1)
    finally:
        kept.save()
    smallest, largest, residual = np.moveaxis(kept.values, -1, 0)
    ratio = np.where(smallest < 0, np.abs(smallest / largest), 0.0)
    return xr.Dataset(
        {
            name: (("y", "x"), np.where(np.isfinite(smallest), values, np.nan))
            for name, values in (("smallest", smallest), ("largest", largest), ("residual", residual), ("ratio", ratio))
        },
        coords={"y": points, "x": points},
        attrs={"products": steps},
    )


def _extremes(H: Hessian, steps: int, seed: int) -> tuple[float, float, float]:
    process = Lanczos(H, torch.randn(H.shape[0], generator=torch.Generator().manual_seed(seed)))
    process.extend(steps)
    values, _, residuals = process.ritz()
    return values[0], values[-1], max(residuals[0], residuals[-1])
