"""How a training run goes through its plane: along the isocurves of the loss or across them, straight or at random."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from nonsingular.checks import checked
from nonsingular.errors import InputError

RANDOM = 2 / np.pi
"""Mean absolute cosine of a step of random direction in the plane and the gradient."""


@checked
def crossing(plane: xr.Dataset) -> Float[np.ndarray, " step"]:
    """How steeply each step of a path crosses the isocurves of the loss: 1 across them, 0 along them.

    The absolute cosine between the step and the gradient of the logarithm of the loss in the plane, at the step's
    middle. NaN for a step that does not move in the plane. Steps of random direction have ``RANDOM`` on average.

    Args:
        plane: from ``landscape.trajectory``; positive losses.

    >>> import torch
    >>> import nonsingular as ns
    >>> states, batch = [torch.nn.Linear(3, 2) for _ in range(4)], (torch.randn(8, 3), torch.arange(8) % 2)
    >>> plane = ns.landscape.trajectory(states[-1], torch.nn.functional.cross_entropy, [batch], states, grid=9)
    >>> ns.landscape.crossing(plane).shape  # three steps
    (3,)
    """
    logs = np.log(plane.loss.transpose("y", "x"))
    path = np.stack([plane.path_x.values, plane.path_y.values], axis=1)
    step, middle = np.diff(path, axis=0), (path[:-1] + path[1:]) / 2
    at = {k: xr.DataArray(middle[:, i], dims="step") for i, k in enumerate(("x", "y"))}
    slope = np.stack([logs.differentiate(k).interp(**at).values for k in ("x", "y")], axis=1)
    lengths = np.linalg.norm(step, axis=1) * np.linalg.norm(slope, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, np.abs((step * slope).sum(1)) / lengths, np.nan)


@checked
def random_walk(points: int) -> float:
    """Share of variance that the first two principal components hold of a random walk in many dimensions.

    The centred Gram matrix of its positions is the pseudo-inverse of a path graph's Laplacian, whose eigenvalues are
    4 sin^2(pi k / 2 n) (Antognini and Sohl-Dickstein 2018): 76 % of a long walk.

    Args:
        points: positions of the walk, 3 at least.

    Raises:
        InputError: fewer points.

    Example:
        >>> from nonsingular import landscape
        >>> round(landscape.random_walk(1000), 2)
        0.76
    """
    if points < 3:
        raise InputError(f"a random walk that has two components has 3 points at least, got {points}")
    variances = 1 / np.sin(np.pi * np.arange(1, points) / (2 * points)) ** 2
    return float(variances[:2].sum() / variances.sum())
