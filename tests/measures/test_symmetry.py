"""The bullets of blumenfeld2020 §4.1, the slow definition, and what cannot be measured."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular import measures
from nonsingular.networks import initialise

both = pytest.mark.parametrize("centred", [False, True], ids=["uncentred", "centred"])


def weights(layer, how):
    initialise(layer, how, torch.Generator().manual_seed(0))
    return layer.weight.detach()


def slow(weight, axis, centred):
    """The definition, pair by pair."""
    rows = np.moveaxis(weight.double().numpy(), axis, 0).reshape(weight.shape[axis], -1)
    if centred:
        rows = rows - rows.mean(1, keepdims=True)
    found = []
    for a, b in itertools.combinations(rows, 2):
        size = np.linalg.norm(a) * np.linalg.norm(b)
        found.append(a @ b / size if size > 1e-12 else 1.0)
    return np.mean(found)


@both
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), outputs=st.integers(2, 6), inputs=st.integers(2, 6), dead=st.integers(0, 2))
def test_correlations_are_the_mean_over_pairs(centred, seed, outputs, inputs, dead):
    w = torch.randn(2, outputs, inputs, 3, 3, generator=torch.Generator().manual_seed(seed))
    w[0, :dead] = 0
    for measure, axis in ((measures.forward_correlation, 0), (measures.backward_correlation, 1)):
        found = measure(w, centred=centred, stacked=True)
        assert found.shape == (2,)
        np.testing.assert_allclose(found, [slow(x, axis, centred) for x in w], atol=1e-10)


@both
def test_random_weights_are_nearly_uncorrelated(centred):
    w = weights(nn.Conv2d(64, 64, 3), "he")
    for measure in (measures.forward_correlation, measures.backward_correlation):
        assert abs(measure(w, centred=centred)) < 0.01


def test_orthogonal_weights_are_uncorrelated_without_centring():
    w = weights(nn.Conv2d(8, 8, 3), "delta-orthogonal")
    assert measures.forward_correlation(w).abs() < 1e-6
    assert measures.backward_correlation(w).abs() < 1e-6


def test_replicated_features_have_forward_correlation_only():
    layer = nn.Conv2d(4, 12, 3)
    w = weights(layer, "identity")  # three copies of each of four channels
    assert measures.forward_correlation(w) == pytest.approx((3 - 1) / (12 - 1))
    assert measures.backward_correlation(w) == pytest.approx(0, abs=1e-12)


@both
def test_averages_zero_and_constant_weights_are_fully_correlated(centred):
    for w in (
        weights(nn.Conv2d(4, 8, 3), "average"),
        weights(nn.Conv2d(4, 8, 3), "zero"),
        torch.full((8, 4, 1, 1), 0.25),
        torch.full((8, 4, 3, 3), 1 / 3),
    ):
        assert measures.forward_correlation(w, centred=centred) == pytest.approx(1, abs=1e-12)
        assert measures.backward_correlation(w, centred=centred) == pytest.approx(1, abs=1e-12)


def test_a_common_mean_counts_only_without_centring():
    w = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(0)) + 10
    assert measures.forward_correlation(w) > 0.98
    assert abs(measures.forward_correlation(w, centred=True)) < 0.05


@both
def test_what_cannot_be_measured_is_nan(centred):
    assert measures.forward_correlation(torch.randn(1, 4, 3, 3), centred=centred).isnan()
    broken = torch.randn(4, 4)
    broken[0, 0] = torch.nan
    assert measures.forward_correlation(broken, centred=centred).isnan()


@settings(deadline=None, max_examples=20)
@given(units=st.integers(1, 9), features=st.integers(1, 9))
def test_unique_features(units, features):
    w = weights(nn.Linear(5, units), f"replicated:{features}")
    expected = min(units, features)
    assert measures.unique_features(w) == expected
    assert measures.unique_features(torch.stack([w, w + torch.rand(units, 1)]), stacked=True).tolist() == [
        expected,
        units,
    ]


def test_a_last_bit_makes_a_feature_unique():
    w = torch.ones(3, 2)
    w[1, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert measures.unique_features(w) == 2


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), units=st.integers(2, 8))
def test_symmetry_breaking_is_the_norm_off_the_all_ones_direction(seed, units):
    x = torch.randn(3, 7, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    off = torch.eye(units, dtype=torch.float64) - 1 / units
    expected = (x @ off).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    torch.testing.assert_close(measures.symmetry_breaking(x), expected)


def test_equal_units_break_nothing_and_single_ones_nearly_all():
    x = torch.randn(50, 1).expand(-1, 7)
    assert measures.symmetry_breaking(x) == 0
    alone = torch.zeros(50, 100)
    alone[:, 3] = 1
    assert measures.symmetry_breaking(alone) == pytest.approx((1 - 1 / 100) ** 0.5)
    assert measures.symmetry_breaking(torch.zeros(5, 4)).isnan()
