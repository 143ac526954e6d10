"""A function on a regular grid from few of its values: evaluated where it bends, interpolated where it is smooth.

Grids are halved from coarse to fine. Before the points of a finer grid are evaluated they are predicted by a cubic
spline through the coarser one; how far the values then lie from the prediction tells where the next grid may be left
to the spline. That judgement can be wrong (a spike between the points of a coarse grid), so in the end points drawn
at random from the interpolated ones are evaluated too. They measure the error, and where it is too large they send the
search back to the regions they lie in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import maximum_filter

Array = np.ndarray
Evaluate = Callable[[Array], Array]
"""Grid indices ``[point, axis]`` -> values ``[point]``."""

SPACING = 8
"""Grid steps between the points of the coarsest grid, about."""
DECAY = 8
"""Halving the spacing is counted on to divide a spline's error by this. For smooth functions it is 16."""
CHECKS = 32
"""Interpolated points that are evaluated in the end to measure the error."""


@dataclass(frozen=True)
class Refined:
    """A grid of values and what is known of its error.

    Attributes:
        values: at all points, in the scale that was interpolated.
        evaluated: which of them are not interpolated.
        error: root-mean-square error over the whole grid, estimated from the checked points; 0 without interpolation.
        worst: largest error among the checked points.
        checked: how many interpolated points were checked, in the last round.
    """

    values: Array
    evaluated: Array
    error: float
    worst: float
    checked: int


def refine(
    evaluate: Evaluate,
    shape: tuple[int, ...],
    tolerance: float,
    seed: int = 0,
    checks: int = CHECKS,
    axes: Sequence[Array] | None = None,
) -> Refined:
    """Values on a grid of one or two axes.

    Args:
        evaluate: gives the function at grid points. NaN and infinite values are allowed; nothing next to one is
            interpolated.
        shape: points along each axis.
        tolerance: root-mean-square error aimed at, as a share of the values' range; 0 evaluates every point.
        seed: of the points that are checked.
        checks: how many.
        axes: coordinates of the points along each axis, where they are not even.
    """
    grid = _Grid(evaluate, shape, axes)
    if tolerance <= 0:
        grid.evaluate(np.ones(shape, bool))
        return Refined(grid.values, grid.known, 0.0, 0.0, 0)
    rng = np.random.default_rng(seed)
    suspicion = np.zeros(shape)
    while True:
        values = _descend(grid, tolerance, suspicion)
        left = np.argwhere(~grid.known)
        if not len(left):
            return Refined(values, grid.known, 0.0, 0.0, 0)
        drawn = left[rng.permutation(len(left))[:checks]]
        predicted = values[tuple(drawn.T)]
        mask = np.zeros(shape, bool)
        mask[tuple(drawn.T)] = True
        grid.evaluate(mask)
        errors = np.abs(grid.values[tuple(drawn.T)] - predicted)
        values = np.where(grid.known, grid.values, values)
        share = (len(left) - len(drawn)) / grid.known.size
        if not share:  # the last of the interpolated points were checked: none is left
            return Refined(values, grid.known, 0.0, 0.0, len(drawn))
        error = math.sqrt(share * np.mean(errors**2)) if np.isfinite(errors).all() else math.inf
        if error <= tolerance * grid.range:
            return Refined(values, grid.known, error, float(errors.max()), len(drawn))
        # Surprises found by the check count in full in the next descent, on every level.
        suspicion = np.maximum(suspicion, _around(_on(shape, drawn, errors), (SPACING // 2,) * len(shape)))


class _Grid:
    """Values known so far."""

    def __init__(self, evaluate: Evaluate, shape: tuple[int, ...], axes: Sequence[Array] | None) -> None:
        self._evaluate = evaluate
        self.axes = [np.arange(n) for n in shape] if axes is None else axes
        self.values = np.full(shape, math.nan)
        self.known = np.zeros(shape, bool)

    def evaluate(self, wanted: Array) -> None:
        """Make the points of a mask known."""
        missing = np.argwhere(wanted & ~self.known)
        if len(missing):
            self.values[tuple(missing.T)] = self._evaluate(missing)
            self.known[tuple(missing.T)] = True

    @property
    def range(self) -> float:
        """Largest minus smallest finite value known."""
        finite = self.values[np.isfinite(self.values)]
        return float(np.ptp(finite)) if finite.size else 0.0


def _descend(grid: _Grid, tolerance: float, suspicion: Array) -> Array:
    """From the coarsest grid to the finest; returns all values, interpolated ones included."""
    axes = [levels(n) for n in grid.values.shape]
    depth = max(map(len, axes))
    axes = [[a[max(0, len(a) - depth + k)] for k in range(depth)] for a in axes]  # the shorter axis starts finer
    knots = [a[0] for a in axes]
    grid.evaluate(_mask(grid.values.shape, knots))
    values = grid.values[np.ix_(*knots)]
    doubt = np.zeros(grid.values.shape)  # expected error of the spline on the grid at hand
    for k in range(1, depth):
        finer = [a[k] for a in axes]
        predicted = interpolate(values, *([c[i] for c, i in zip(grid.axes, at, strict=True)] for at in (knots, finer)))
        fresh = _mask(grid.values.shape, finer) & ~_mask(grid.values.shape, knots)
        reach = tuple(int(np.diff(a).max()) // 2 + 1 if len(a) > 1 else 1 for a in knots)
        if k == 1:
            grid.evaluate(fresh)
        else:
            expected = np.maximum(_around(doubt / DECAY, reach), suspicion)
            grid.evaluate(fresh & (expected > tolerance * grid.range))
        known = grid.known[np.ix_(*finer)]
        values = np.where(known, grid.values[np.ix_(*finer)], predicted)
        surprise = np.where(known & fresh[np.ix_(*finer)], np.abs(values - predicted), 0.0)
        surprise[known & ~np.isfinite(values)] = math.inf
        inherited = np.where(known, 0.0, _around(doubt / DECAY, reach)[np.ix_(*finer)])
        doubt = np.zeros(grid.values.shape)
        doubt[np.ix_(*finer)] = np.maximum(surprise, inherited)
        knots = finer
    return values


def levels(n: int) -> list[Array]:
    """Nested index sets of ``range(n)``, coarse to fine: ends and middle first, then every interval halved."""
    intervals = max(1, round((n - 1) / SPACING))
    points = (
        np.unique(np.round(np.linspace(0, n - 1, intervals + intervals % 2 + 1)).astype(int))
        if n > 1
        else np.zeros(1, int)
    )
    found = [points]
    while len(points) < n:
        points = np.unique(np.concatenate([points, (points[:-1] + points[1:]) // 2]))
        found.append(points)
    return found


def interpolate(values: Array, knots: list[Array], finer: list[Array]) -> Array:
    """Cubic splines axis by axis, from values on the product of the coordinates ``knots`` to that of ``finer``.

    Values that are not finite stand as the nearest finite ones: nothing near them is left to the spline.
    """
    filled = np.where(np.isfinite(values), values, np.nanmax(np.where(np.isfinite(values), values, -np.inf), initial=0))
    for axis, (a, b) in enumerate(zip(knots, finer, strict=True)):
        if len(a) > 1:
            ends = "not-a-knot" if len(a) > 3 else "natural"
            filled = CubicSpline(a, filled, axis=axis, bc_type=ends)(b)
    return filled


def _mask(shape: tuple[int, ...], axes: list[Array]) -> Array:
    mask = np.zeros(shape, bool)
    mask[np.ix_(*axes)] = True
    return mask


def _on(shape: tuple[int, ...], points: Array, values: Array) -> Array:
    full = np.zeros(shape)
    full[tuple(points.T)] = np.where(np.isnan(values), np.inf, values)
    return full


def _around(values: Array, distance: tuple[int, ...]) -> Array:
    """The largest value within a distance."""
    return maximum_filter(values, size=[2 * d + 1 for d in distance], mode="constant")
