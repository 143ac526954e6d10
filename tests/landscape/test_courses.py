"""How runs go through their planes, on paths whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from nonsingular import landscape
from nonsingular.errors import InputError

AXIS = np.linspace(-1, 1, 41)


def plane(loss, path):
    X, Y = np.meshgrid(AXIS, AXIS)
    return xr.Dataset(
        {"loss": (("y", "x"), loss(X, Y)), "path_x": ("checkpoint", path[:, 0]), "path_y": ("checkpoint", path[:, 1])},
        {"x": AXIS, "y": AXIS},
    )


def test_crossing_is_one_across_isocurves_and_zero_along_them():
    angle = np.linspace(0, np.pi, 30)
    circle = 0.7 * np.stack([np.cos(angle), np.sin(angle)], 1)
    radius = np.stack([np.linspace(0.9, 0.1, 9)] * 2, 1) / np.sqrt(2)
    bowl = lambda X, Y: np.exp(X**2 + Y**2)  # noqa: E731
    np.testing.assert_allclose(landscape.crossing(plane(bowl, circle)), 0, atol=0.03)
    np.testing.assert_allclose(landscape.crossing(plane(bowl, radius)), 1, atol=1e-3)
    diagonal = np.stack([np.linspace(0, 0.8, 5)] * 2, 1)
    np.testing.assert_allclose(landscape.crossing(plane(lambda X, Y: np.exp(X), diagonal)), np.sqrt(0.5), atol=1e-3)
    still = np.zeros((3, 2))
    assert np.isnan(landscape.crossing(plane(bowl, still))).all()


@pytest.mark.parametrize("points", [5, 61])
def test_what_a_random_walk_has_in_two_directions(points):
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((points, 40_000)), axis=0)
    variances = np.linalg.svd(walk - walk.mean(0), compute_uv=False) ** 2
    assert landscape.random_walk(points) == pytest.approx(variances[:2].sum() / variances.sum(), abs=0.01)


def test_too_few_points_have_no_two_components():
    with pytest.raises(InputError, match="3 points at least, got 2"):
        landscape.random_walk(2)
