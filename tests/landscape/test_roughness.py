"""Roughness on surfaces whose roughness is known."""

import numpy as np
import pytest
import xarray as xr

from nonsingular import landscape
from nonsingular.errors import InputError
from nonsingular.landscape.roughness import nonconvex_share, second_differences

AXIS = np.linspace(-1, 1, 41)
X, Y = np.meshgrid(AXIS, AXIS)


def surface(loss):
    return xr.Dataset({"loss": (("y", "x"), loss)}, {"y": AXIS, "x": AXIS})


def measured(loss):
    return landscape.roughness(surface(loss))


def test_a_bowl_is_convex_and_without_excess_however_steep():
    for steep in (0.1, 1.0, 50.0):
        found = measured(1 + steep * (X**2 + 2 * Y**2))
        assert found["nonconvex"] == 0
        assert found["excess_variation"] == pytest.approx(0, abs=1e-12)
    gentle, steep = (measured(1 + s * (X**2 + Y**2)) for s in (1, 4))
    assert steep["total_variation"] > gentle["total_variation"]
    # The mean of s r^2 over a disc of radius 1/2 is s / 8.
    assert steep["sharpness"] == pytest.approx(4 / 8, rel=0.05)


def test_shares_and_variations_of_known_surfaces():
    assert measured(2 + X**3)["nonconvex"] == pytest.approx(0.5, abs=0.03)  # concave for x < 0
    assert measured(2 + X**2 - Y**2)["nonconvex"] == 1
    found = measured(np.exp(np.sin(2 * np.pi * X)))
    # Along x the logarithm runs through two periods of a sine, 8 up and down in 2; along y it is constant.
    assert found["total_variation"] == pytest.approx(8 / 2 / 2, rel=0.01)
    assert found["excess_variation"] == pytest.approx((8 - 2) / 2 / 2, rel=0.01)


def test_roughness_grows_with_waves():
    rough = [measured(1 + X**2 + Y**2 + a * np.sin(9 * X) * np.sin(9 * Y)) for a in (0, 0.1, 0.4)]
    for name in ("nonconvex", "total_variation", "excess_variation"):
        values = [r[name] for r in rough]
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_rounding_is_not_curvature():
    loss = (1 + 0.5 * (X + 1)).astype(np.float32)  # a plane, computed in single precision
    noisy = loss * (1 + 1e-6 * np.random.default_rng(0).normal(size=loss.shape))
    assert nonconvex_share(noisy, AXIS, AXIS) == 0
    assert nonconvex_share(noisy, AXIS, AXIS, noise=0) > 0.3


def test_second_differences_are_the_hessian_of_a_quadratic():
    low, high = second_differences(3 * X**2 + 2 * X * Y + Y**2, AXIS, AXIS)
    expected = np.linalg.eigvalsh([[6, 2], [2, 2]])
    np.testing.assert_allclose(low, expected[0])
    np.testing.assert_allclose(high, expected[1])


def test_the_spread_over_surfaces_is_their_standard_deviation():
    surfaces = [surface(1 + s * (X**2 + Y**2)) for s in (1, 2, 3)]
    found = landscape.compare(surfaces)
    each = [landscape.roughness(s)["sharpness"] for s in surfaces]
    assert found["sharpness"] == (pytest.approx(np.mean(each)), pytest.approx(np.std(each, ddof=1)))
    assert np.isnan(landscape.compare(surfaces[:1])["sharpness"][1])


def test_values_that_are_not_finite_are_not_hidden():
    loss = 1 + X**2 + Y**2
    loss[3, 3] = np.inf
    found = measured(loss)
    assert np.isnan(found["nonconvex"])
    assert not np.isfinite(found["total_variation"])


def test_bad_surfaces_are_refused():
    with pytest.raises(InputError, match="not positive"):
        measured(X)
    with pytest.raises(InputError, match="at least 3 x 3"):
        landscape.roughness(surface(1 + X**2).isel(x=slice(2)))
