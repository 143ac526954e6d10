"""Roughness on surfaces whose roughness is known."""

import numpy as np
import pytest
import xarray as xr

from nonsingular import landscape
from nonsingular.errors import InputError
from nonsingular.landscape.roughness import count_minima, excess_variation, nonconvex_share, second_differences

AXIS = np.linspace(-1, 1, 41)
X, Y = np.meshgrid(AXIS, AXIS)


def surface(loss):
    return xr.Dataset({"loss": (("y", "x"), loss)}, {"y": AXIS, "x": AXIS})


def measured(loss):
    return landscape.roughness(surface(loss))


BY_ORDER = ("excess_variation", "minima", "guidance", "elongation")


@pytest.mark.parametrize(
    "deeper",
    [np.exp, np.sqrt, np.log1p, lambda f: f**6, lambda f: f - 0.999],
    ids=["exp", "sqrt", "log1p", "sixth power", "shifted"],
)
@pytest.mark.parametrize(
    "loss",
    [
        1 + X**2 + 2 * Y**2,
        2 + X**2 + Y**2 + 0.3 * np.sin(9 * X) * np.sin(9 * Y),
        3 - np.exp(-20 * (X**2 + Y**2)) + 0.01 * X**2,
    ],
    ids=["bowl", "rippled", "funnel"],
)
def test_a_deeper_bowl_is_no_rougher(loss, deeper):
    """Whatever is done to the loss that keeps its order: the same to the bit."""
    loss = loss + 1e-3 * (np.sqrt(2) * X + np.pi * Y)  # no two points are equal, which rounding could tell apart
    before, after = measured(loss), measured(deeper(loss))
    assert {name: before[name] for name in BY_ORDER} == {name: after[name] for name in BY_ORDER}


def test_bowls_are_smooth_however_deep_and_narrow():
    for steep in (0.1, 1.0, 50.0, 1e4):
        for floor in (1.0, 1e-4):
            found = measured(floor + steep * ((X + 0.2) ** 2 + 2 * (Y - 0.3) ** 2 + (X + 0.2) * (Y - 0.3)))
            assert found["nonconvex"] == 0
            assert found["excess_variation"] == 0
            assert found["minima"] == 1
    gentle, steep = (measured(1 + s * (X**2 + Y**2)) for s in (1, 4))
    assert steep["total_variation"] > gentle["total_variation"]  # which is why it is none of the measures of roughness
    # The mean of s r^2 over a disc of radius 1/2 is s / 8.
    assert steep["sharpness"] == pytest.approx(4 / 8, rel=0.05)


def test_ripples_are_seen_in_shallow_bowls_and_in_deep_ones():
    for floor in (1.0, 1e-2):
        rough = [measured(floor + X**2 + Y**2 + a * (1 + np.sin(12 * X) * np.sin(12 * Y))) for a in (0, 0.05, 0.2, 0.5)]
        for name in ("excess_variation", "minima"):
            values = [r[name] for r in rough]
            assert values == sorted(values)
            assert values[0] < values[1] < values[-1]
        assert rough[0]["guidance"] == pytest.approx(1, abs=0.02)
        assert rough[0]["guidance"] > rough[1]["guidance"] > rough[-1]["guidance"]


def test_shares_and_variations_of_known_surfaces():
    assert measured(2 + X**3)["nonconvex"] == pytest.approx(0.5, abs=0.03)  # concave for x < 0
    assert measured(2 + X**2 - Y**2)["nonconvex"] == 1
    found = measured(np.exp(np.sin(2 * np.pi * X)))
    # Along x the logarithm runs through two periods of a sine, 8 up and down in 2; along y it is constant.
    assert found["total_variation"] == pytest.approx(8 / 2 / 2, rel=0.01)
    # The ranks run from a half up, down, up, down and to a half again: 4, of which falling once and rising is 1. Half
    # of the lines are constant. Equal points share a rank, so that none is quite at the ends.
    assert found["excess_variation"] == pytest.approx((4 - 1) / 2, rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_pits_are_counted(count):
    centres = [(-0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (0.5, -0.5)][:count]
    pits = sum((1 + k / 10) * np.exp(-30 * ((X - a) ** 2 + (Y - b) ** 2)) for k, (a, b) in enumerate(centres))
    assert measured(2 - pits)["minima"] == count


def test_a_single_point_on_a_slope_is_no_minimum():
    loss = 2 - np.exp(-5 * (X**2 + Y**2))
    loss[20, 30] -= 0.1
    assert count_minima(loss, 0.0, 0.0) == 2
    assert measured(loss)["minima"] == 1


def test_minima_against_every_point_compared_with_its_neighbours():
    """Without a threshold they are the points that no neighbour lies below."""
    loss = np.random.default_rng(0).permutation(400).reshape(20, 20) + 1.0
    padded = np.pad(loss, 1, constant_values=np.inf)
    around = [np.roll(padded, (i, j), (0, 1))[1:-1, 1:-1] for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    assert count_minima(loss, 0.0, 0.0) == np.sum(loss < np.min(around, axis=0))


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_elongation_is_the_ratio_of_the_valleys_axes(angle):
    along, across = np.cos(angle) * X + np.sin(angle) * Y, np.cos(angle) * Y - np.sin(angle) * X
    assert measured(1 + along**2 + across**2)["elongation"] == pytest.approx(1, abs=0.02)
    long = measured(1 + along**2 + 9 * across**2)
    assert long["elongation"] == pytest.approx(3, rel=0.1)
    assert long["guidance"] < 0.9


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


def test_rounding_is_no_ripple():
    loss = (1 + 0.5 * (X + 1)).astype(np.float32)
    noisy = loss * (1 + 1e-6 * np.random.default_rng(0).normal(size=loss.shape))
    assert excess_variation(noisy) == 0
    assert excess_variation(noisy, noise=0) > 0
    assert count_minima(noisy) == 1


def test_values_that_are_not_finite_are_not_hidden():
    loss = 1 + X**2 + Y**2
    loss[3, 3] = np.inf
    found = measured(loss)
    assert all(np.isnan(found[name]) for name in ("nonconvex", *BY_ORDER))
    assert not np.isfinite(found["total_variation"])


def test_bad_surfaces_are_refused():
    with pytest.raises(InputError, match="not positive"):
        measured(X)
    with pytest.raises(InputError, match="at least 3 x 3"):
        landscape.roughness(surface(1 + X**2).isel(x=slice(2)))
