"""Few evaluations, a small error, and an honest word about it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonsingular.landscape.refinement import levels, refine

AXIS = np.linspace(-1, 1, 51)
X, Y = np.meshgrid(AXIS, AXIS, indexing="ij")
BOWL = np.log(0.05 + X**2 + 2 * Y**2)
NOISE = np.random.default_rng(0).normal(size=(51, 51))


def refined(truth, tolerance=0.005, **options):
    asked = []

    def evaluate(indices):
        asked.extend(map(tuple, indices))
        return truth[tuple(indices.T)]

    found = refine(evaluate, truth.shape, tolerance, **options)
    assert len(asked) == len(set(asked)) == found.evaluated.sum()  # nothing twice, nothing unasked
    return found


def relative_error(found, truth):
    return np.sqrt(np.mean((found.values - truth) ** 2)) / np.ptp(truth)


@pytest.mark.parametrize("truth", [BOWL, X**2 + Y**2, np.log(0.2 + np.abs(X) + np.abs(Y)), np.sin(3 * X) * Y])
def test_smooth_surfaces_take_few_points(truth):
    found = refined(truth)
    assert found.evaluated.sum() < 0.2 * truth.size
    assert relative_error(found, truth) < 0.005
    np.testing.assert_array_equal(found.values[found.evaluated], truth[found.evaluated])


@pytest.mark.parametrize("truth", [NOISE, BOWL + NOISE, np.sin(25 * X) * np.cos(23 * Y)])
def test_chaotic_surfaces_are_evaluated(truth):
    found = refined(truth)
    assert relative_error(found, truth) < 0.005
    assert found.evaluated.mean() > 0.9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 12), st.floats(0, 0.05))
def test_the_error_is_kept_small_and_told(seed, bends, noise):
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=3)
    truth = BOWL + a * np.sin(bends * X + b * Y) + noise * c * rng.normal(size=X.shape)
    found = refined(truth, seed=seed)
    assert relative_error(found, truth) < 0.02  # 32 checked points may miss what 2600 show
    if found.error and found.checked:
        assert found.error <= 0.005 * np.ptp(truth) * 1.001


def test_the_estimated_error_is_the_true_one():
    ratios = []
    for seed in range(20):
        truth = X**2 + Y**2 + 0.004 * np.random.default_rng(seed).normal(size=X.shape)
        found = refined(truth, seed=seed)
        ratios.append(found.error / (relative_error(found, truth) * np.ptp(truth)))
    assert 0.85 < np.mean(ratios) < 1.15


def test_a_region_that_bends_is_evaluated_and_the_rest_is_not():
    truth = np.where((X > 0.2) & (Y > 0.2), np.sin(30 * X) * np.sin(30 * Y), 0.0)
    found = refined(truth)
    inside = (X > 0.25) & (Y > 0.25)
    assert found.evaluated[inside].mean() > 0.95
    assert found.evaluated[(X < -0.2) & (Y < -0.2)].mean() < 0.3


def test_tolerance_zero_evaluates_everything():
    found = refined(BOWL, tolerance=0.0)
    assert found.evaluated.all()
    assert found.error == 0


def test_there_is_no_error_where_nothing_is_interpolated():
    truth = NOISE.copy()
    truth[::2] = np.inf
    found = refined(truth)
    assert found.evaluated.all()
    assert (found.error, found.worst) == (0, 0)


def test_infinite_and_missing_values_are_not_interpolated_across():
    truth = BOWL.copy()
    truth[X > 0.6] = np.inf
    truth[Y > 0.8] = np.nan
    found = refined(truth)
    assert found.evaluated[~np.isfinite(truth)].mean() > 0.9
    finite = np.isfinite(truth) & (X < 0.5) & (Y < 0.7)
    assert np.abs(found.values[finite] - truth[finite]).max() < 0.05 * np.ptp(truth[finite])


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (9, 51), (51,), (2,), (100, 3), (26, 26)])
def test_any_shape(shape):
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    truth = sum(a**2 for a in axes) + 1
    assert np.sqrt(np.mean((refined(truth).values - truth) ** 2)) < 0.02


@given(st.integers(1, 300))
def test_levels_are_nested_and_complete(n):
    found = levels(n)
    assert list(found[-1]) == list(range(n))
    assert {0, n - 1} <= set(found[0])
    for coarse, fine in pairwise(found):
        assert set(coarse) < set(fine)
    if n % 2 and n > 2:
        assert n // 2 in found[0]
