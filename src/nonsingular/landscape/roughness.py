"""How rough a surface is, in numbers: what pictures of loss surfaces are usually only looked at for.

A network that fits its data better has a deeper minimum, and that alone is no roughness. So most measures here see the
loss by its rank among the points of the surface: they are the same, to the bit, for the loss, its logarithm and any
other increasing function of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.ndimage import label
from scipy.stats import rankdata

from nonsingular.checks import checked
from nonsingular.errors import InputError

NOISE = 1e-5
"""Relative accuracy of a loss computed in float32: curvature and ripples that this could make are not counted."""
MEASURES = (
    "nonconvex", "excess_variation", "minima", "guidance", "elongation", "total_variation", "sharpness",
)  # fmt: skip
NEAR = 0.5
PROMINENT = 0.01
"""A minimum counts whose basin rises past this share of all points before it joins a deeper one."""
VALLEY = 0.1
"""The lowest tenth of the points is the valley whose shape is measured."""


@checked
def roughness(surface: xr.Dataset, noise: float = NOISE) -> dict[str, float]:
    """Roughness, shape and sharpness of a surface.

    Cubic splines are smooth by themselves: judge surfaces of which every point was evaluated (``landscape.EXACT``),
    and compare surfaces of one grid and span.

    Args:
        surface: from ``landscape.surface``; at least 3 x 3 points, positive losses.
        noise: relative error of the losses.

    Returns:
        By name:

        - ``nonconvex``: share of inner grid points at which the 2 x 2 matrix of second differences of the loss has a
          negative eigenvalue, in [0, 1].
        - ``excess_variation``: how far a grid line goes up and down beyond what a line with a single minimum does, in
          shares of the ranks of all points, mean over the lines; 0 for any bowl, however deep.
        - ``minima``: local minima of the surface, at least 1; shallow ones, which less than a hundredth of the points
          lies above before they join a deeper one, are not counted.
        - ``guidance``: mean cosine, in [-1, 1], between the way downhill and the way to the lowest point of the
          surface, over the inner points: 1 for a round bowl.
        - ``elongation``: length over breadth of the valley around the lowest point, which a tenth of the points forms;
          1 where it is round.
        - ``total_variation``: of the logarithm of the loss along grid lines, mean per unit of length. It grows as the
          minimum gets lower, and is no roughness.
        - ``sharpness``: mean increase of the loss over the centre within 0.5 of it (of the span's larger end where that
          is smaller), in units of the loss.

        ``excess_variation``, ``minima``, ``guidance`` and ``elongation`` depend on the order of the losses alone. A
        surface with values that are not finite has NaN wherever they enter.

    Raises:
        InputError: fewer than 3 x 3 points, or losses that are not positive.

    >>> import numpy as np
    >>> import xarray as xr
    >>> import nonsingular as ns
    >>> x = np.linspace(-1, 1, 21)
    >>> bowl = xr.Dataset({"loss": (("y", "x"), 0.1 + x[:, None] ** 2 + x**2)}, {"x": x, "y": x})
    >>> ns.landscape.roughness(bowl)["nonconvex"]
    0.0
    """
    if not {"x", "y"} <= set(surface.loss.dims) or min(surface.sizes["x"], surface.sizes["y"]) < 3:
        raise InputError("roughness needs a surface of at least 3 x 3 points")
    loss = surface.loss.transpose("y", "x").values
    if (loss <= 0).any():
        raise InputError("roughness compares logarithms, this surface has losses that are not positive")
    x, y = surface.x.values, surface.y.values
    by_order = dict.fromkeys(("excess_variation", "minima", "guidance", "elongation"), float("nan"))
    if np.isfinite(loss).all():
        ranks = ranked(loss)
        by_order = {
            "excess_variation": excess_variation(loss, noise),
            "minima": float(count_minima(loss, noise)),
            "guidance": _guidance(ranks, x, y),
            "elongation": _elongation(ranks, x, y),
        }
    with np.errstate(invalid="ignore"):
        logs = np.log(loss)
        lines = [(row, x) for row in logs] + [(column, y) for column in logs.T]
        return {
            "nonconvex": nonconvex_share(loss, x, y, noise),
            **by_order,
            "total_variation": float(np.mean([np.abs(np.diff(f)).sum() / np.ptp(t) for f, t in lines])),
            "sharpness": _sharpness(loss, x, y),
        }


@checked
def compare(surfaces: Sequence[xr.Dataset], noise: float = NOISE) -> dict[str, tuple[float, float]]:
    """Mean of each measure over surfaces (of several pairs of directions, say), and the standard deviation.

    The deviation is NaN for a single surface.

    >>> import numpy as np
    >>> import xarray as xr
    >>> import nonsingular as ns
    >>> x = np.linspace(-1, 1, 21)
    >>> bowls = [xr.Dataset({"loss": (("y", "x"), c + x[:, None] ** 2 + x**2)}, {"x": x, "y": x}) for c in (0.1, 0.2)]
    >>> mean, deviation = ns.landscape.compare(bowls)["nonconvex"]
    >>> mean, deviation
    (0.0, 0.0)
    """
    found = [roughness(s, noise) for s in surfaces]
    table = {}
    for name in MEASURES:
        values = np.array([f[name] for f in found])
        table[name] = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return table


def second_differences(loss: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smaller and larger eigenvalue of the discrete Hessian at the inner points of a grid ``[y, x]``."""
    wide, high = x[2:] - x[:-2], (y[2:] - y[:-2])[:, None]
    slope_x, slope_y = np.diff(loss[1:-1], axis=1) / np.diff(x), np.diff(loss[:, 1:-1], axis=0) / np.diff(y)[:, None]
    xx, yy = 2 * np.diff(slope_x, axis=1) / wide, 2 * np.diff(slope_y, axis=0) / high
    xy = (loss[2:, 2:] - loss[2:, :-2] - loss[:-2, 2:] + loss[:-2, :-2]) / (wide * high)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return middle - half, middle + half


def nonconvex_share(loss: np.ndarray, x: np.ndarray, y: np.ndarray, noise: float = NOISE) -> float:
    """Share of inner points with a negative eigenvalue beyond what errors of relative size ``noise`` could make."""
    smaller, _ = second_differences(loss, x, y)
    step = min(np.diff(x).mean(), np.diff(y).mean())
    doubt = 8 * noise * np.abs(loss[1:-1, 1:-1]) / step**2  # 4 each from both second differences, less from the mixed
    return float(np.mean(smaller < -doubt)) if np.isfinite(smaller).all() else float("nan")


def ranked(loss: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """The rank of each point's loss among all, from 0 for the lowest to 1 for the highest; equal ones share theirs."""
    return (rankdata(loss, axis=None).reshape(loss.shape) - 1) / (loss.size - 1)


def excess_variation(loss: Float[np.ndarray, "y x"], noise: float = NOISE) -> float:
    """Variation of the losses' ranks along grid lines beyond that of lines with a single minimum, mean over lines.

    Args:
        loss: finite and positive.
        noise: turns that errors of this relative size could make are passed over.
    """
    ranks = rankdata(loss, axis=None).reshape(loss.shape)  # halves, whose sums are exact
    logs = np.log(loss)
    lines = [*zip(ranks, logs, strict=True), *zip(ranks.T, logs.T, strict=True)]
    return float(np.mean([_excess(line[_turns(heights, 2 * noise)]) for line, heights in lines])) / (loss.size - 1)


def _excess(turning: Float[np.ndarray, " turn"]) -> float:
    """What a line goes up and down between its ends beyond falling to its lowest point and rising from it."""
    return float(np.abs(np.diff(turning)).sum() - (turning[0] + turning[-1] - 2 * turning.min()))


def _turns(f: Float[np.ndarray, " point"], tolerance: float) -> list[int]:
    """Where a line starts, ends and turns by more than ``tolerance``, which is twice its error."""
    turns, extreme, rising = [0], 0, 0
    for i, value in enumerate(f):
        step = value - f[extreme]
        if rising * step > 0 or (rising == 0 and abs(step) > tolerance):
            extreme, rising = i, int(np.sign(step))
        elif -rising * step > tolerance:
            turns.append(extreme)
            extreme, rising = i, -rising
    return [*turns, extreme]


def count_minima(loss: Float[np.ndarray, "y x"], noise: float = NOISE, prominent: float = PROMINENT) -> int:
    """Local minima of a surface that are deeper than its errors, by the persistence of its sublevel sets.

    Points are flooded from the lowest on. A basin ends where its water meets that of a deeper one; between its lowest
    point and there must lie ``prominent`` of all points, and a relative difference of twice ``noise``.

    Args:
        loss: finite and positive.
        noise: relative error of the losses.
        prominent: share of the points, in (0, 1).
    """
    logs, order = np.log(loss).ravel(), np.argsort(loss, axis=None, kind="stable")
    basin: dict[int, int] = {}  # flooded point -> one nearer to its basin's lowest point, which stands for itself
    since: dict[int, int] = {}  # lowest point -> how many points were flooded before it

    def lowest(point: int) -> int:
        while basin[point] != point:
            basin[point] = point = basin[basin[point]]
        return point

    found = 1
    for flooded, point in enumerate(order.tolist()):
        basin[point], since[point] = point, flooded
        for near in _neighbours(point, loss.shape):
            if near in basin:
                deeper, other = sorted((lowest(near), lowest(point)), key=since.__getitem__)
                if deeper != other:
                    basin[other] = deeper
                    high = logs[point] - logs[other] > 2 * noise
                    found += bool(high and flooded - since[other] > prominent * loss.size)
    return found


def _neighbours(point: int, shape: tuple[int, ...]) -> Iterator[int]:
    """The up to eight grid points around one, all counted along rows."""
    row, column = divmod(point, shape[1])
    for i in range(max(row - 1, 0), min(row + 2, shape[0])):
        for j in range(max(column - 1, 0), min(column + 2, shape[1])):
            if (i, j) != (row, column):
                yield i * shape[1] + j


def _guidance(ranks: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Mean cosine between the way downhill and the way to the lowest point, where there is a way downhill."""
    i, j = np.unravel_index(np.argmin(ranks), ranks.shape)
    X, Y = np.meshgrid(x, y)
    slope_y, slope_x = np.gradient(ranks, y, x)
    downhill, there = np.stack([-slope_x, -slope_y]), np.stack([X[i, j] - X, Y[i, j] - Y])
    lengths = np.linalg.norm(downhill, axis=0) * np.linalg.norm(there, axis=0)
    inner = np.zeros(ranks.shape, bool)
    inner[1:-1, 1:-1] = True
    inner &= lengths > 0
    return float(((downhill * there).sum(0)[inner] / lengths[inner]).mean()) if inner.any() else float("nan")


def _elongation(ranks: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Ratio of the standard deviations of the valley's points along its two axes."""
    regions, _ = label(ranks <= VALLEY, np.ones((3, 3)))
    valley = regions == regions.flat[np.argmin(ranks)]
    X, Y = np.meshgrid(x, y)
    # A grid point stands for its whole cell, whose own variance keeps a single row of points from having no breadth.
    cell = np.diag([np.diff(x).mean() ** 2, np.diff(y).mean() ** 2]) / 12
    short, long = np.linalg.eigvalsh(np.cov(np.stack([X[valley], Y[valley]]), bias=True) + cell)
    return float(np.sqrt(long / short))


def _sharpness(loss: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    radius = min(NEAR, *(max(abs(t[0]), abs(t[-1])) for t in (x, y)))
    near = np.hypot(*np.meshgrid(x, y)) <= radius * (1 + 1e-9)
    centre = loss[np.argmin(np.abs(y)), np.argmin(np.abs(x))]
    return float(loss[near].mean() - centre)
