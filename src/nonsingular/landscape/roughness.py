"""How rough a surface is, in numbers: what pictures of loss surfaces are usually only looked at for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nonsingular.errors import InputError

NOISE = 1e-5
"""Relative accuracy of a loss computed in float32: curvature that this could make is not counted as negative."""
MEASURES = ("nonconvex", "total_variation", "excess_variation", "sharpness")
NEAR = 0.5


def roughness(surface: xr.Dataset, noise: float = NOISE) -> dict[str, float]:
    """Roughness and sharpness of a surface.

    Cubic splines are smooth by themselves: judge surfaces of which every point was evaluated (``landscape.EXACT``),
    and compare surfaces of one grid and span.

    Args:
        surface: from ``landscape.surface``; at least 3 x 3 points, positive losses.
        noise: relative error of the losses.

    Returns:
        ``nonconvex``: share of inner grid points at which the 2 x 2 matrix of second differences of the loss has a
        negative eigenvalue, in [0, 1]. ``total_variation``: of the logarithm of the loss along grid lines, mean per
        unit of length. ``excess_variation``: what of it a line without other minima than its lowest point would not
        have; 0 for any bowl, however steep. ``sharpness``: mean increase of the loss over the centre within 0.5 of it
        (of the span's larger end where that is smaller), in units of the loss. A surface with values that are not
        finite has NaN wherever they enter.

    Raises:
        InputError: fewer than 3 x 3 points, or losses that are not positive.
    """
    if not {"x", "y"} <= set(surface.loss.dims) or min(surface.sizes["x"], surface.sizes["y"]) < 3:
        raise InputError("roughness needs a surface of at least 3 x 3 points")
    loss = surface.loss.transpose("y", "x").values
    if (loss <= 0).any():
        raise InputError("roughness compares logarithms, this surface has losses that are not positive")
    x, y = surface.x.values, surface.y.values
    with np.errstate(invalid="ignore"):
        logs = np.log(loss)
        lines = [(row, x) for row in logs] + [(column, y) for column in logs.T]
        return {
            "nonconvex": nonconvex_share(loss, x, y, noise),
            "total_variation": float(np.mean([_variation(f) / np.ptp(t) for f, t in lines])),
            "excess_variation": float(np.mean([_excess(f) / np.ptp(t) for f, t in lines])),
            "sharpness": _sharpness(loss, x, y),
        }


def compare(surfaces: Sequence[xr.Dataset], noise: float = NOISE) -> dict[str, tuple[float, float]]:
    """Mean of each measure over surfaces (of several pairs of directions, say), and the standard deviation.

    The deviation is NaN for a single surface.
    """
    found = [roughness(s, noise) for s in surfaces]
    table = {}
    for name in MEASURES:
        values = np.array([f[name] for f in found])
        table[name] = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return table


def second_differences(loss: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smaller and larger eigenvalue of the discrete Hessian at the inner points of a regular grid ``[y, x]``."""
    hx, hy = np.diff(x).mean(), np.diff(y).mean()
    xx = (loss[1:-1, 2:] - 2 * loss[1:-1, 1:-1] + loss[1:-1, :-2]) / hx**2
    yy = (loss[2:, 1:-1] - 2 * loss[1:-1, 1:-1] + loss[:-2, 1:-1]) / hy**2
    xy = (loss[2:, 2:] - loss[2:, :-2] - loss[:-2, 2:] + loss[:-2, :-2]) / (4 * hx * hy)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return middle - half, middle + half


def nonconvex_share(loss: np.ndarray, x: np.ndarray, y: np.ndarray, noise: float = NOISE) -> float:
    """Share of inner points with a negative eigenvalue beyond what errors of relative size ``noise`` could make."""
    smaller, _ = second_differences(loss, x, y)
    step = min(np.diff(x).mean(), np.diff(y).mean())
    doubt = 8 * noise * np.abs(loss[1:-1, 1:-1]) / step**2  # 4 each from both second differences, less from the mixed
    return float(np.mean(smaller < -doubt)) if np.isfinite(smaller).all() else float("nan")


def _variation(f: np.ndarray) -> float:
    return float(np.abs(np.diff(f)).sum())


def _excess(f: np.ndarray) -> float:
    """Variation beyond that of a line which falls to its lowest point and rises from it."""
    variation = _variation(f)
    excess = variation - float(f[0] - f.min() + f[-1] - f.min())
    return excess if not excess <= 1e-9 * variation else 0.0  # rounding; NaN stays NaN


def _sharpness(loss: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    radius = min(NEAR, *(max(abs(t[0]), abs(t[-1])) for t in (x, y)))
    near = np.hypot(*np.meshgrid(x, y)) <= radius * (1 + 1e-9)
    centre = loss[np.argmin(np.abs(y)), np.argmin(np.abs(x))]
    return float(loss[near].mean() - centre)
