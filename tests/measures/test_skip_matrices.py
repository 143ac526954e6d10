import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nonsingular.measures import skips
from nonsingular.networks import copied, equalised, orthogonal

SEEDS = st.integers(0, 2**31)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 24), seed=SEEDS)
def test_nothing_is_correlated_in_an_orthogonal_matrix(n, seed):
    Q = orthogonal(n, seeded(seed))
    one = torch.ones(n, dtype=torch.float64)
    torch.testing.assert_close(skips.row_correlations(Q), one, rtol=0, atol=1e-5)
    torch.testing.assert_close(skips.eigenvalues(Q).abs(), one, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, 16), seed=SEEDS)
def test_correlations_sum_to_the_number_of_units(n, seed):
    M = torch.randn(n, n, generator=seeded(seed))
    for measure in (skips.row_correlations, skips.eigenvector_correlations):
        values = measure(M)
        assert abs(values.sum() - n) < 1e-6
        assert (values.diff() <= 1e-9).all()
        assert values.min() > -1e-9


def test_copied_vectors_are_a_few_modes():
    values = skips.row_correlations(copied(32, 4, seeded(0)))
    torch.testing.assert_close(values, torch.tensor([8.0] * 4 + [0.0] * 28).double(), rtol=0, atol=1e-5)


def test_eigenvalues_known_by_hand():
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    torch.testing.assert_close(skips.eigenvalues(turn), torch.tensor([-2j, 2j], dtype=torch.complex128))
    # Eigenvectors (1, 0) and (1, 1) / sqrt 2 overlap by 1 / sqrt 2.
    shear = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    expected = torch.tensor([1 + 1 / math.sqrt(2), 1 - 1 / math.sqrt(2)]).double()
    torch.testing.assert_close(skips.eigenvector_correlations(shear), expected, rtol=1e-6, atol=0)


def test_a_leading_axis_is_a_run():
    stack = torch.stack([equalised(8, 0.1, seeded(s)) for s in range(3)])
    for measure in (skips.eigenvalues, skips.row_correlations, skips.eigenvector_correlations):
        for matrix, values in zip(stack, measure(stack), strict=True):
            torch.testing.assert_close(measure(matrix), values)


@pytest.mark.parametrize("tau", [0.005, 0.015, 0.025])
def test_note_6_sets_the_correlations_of_the_eigenvectors_not_of_the_rows(tau):
    """The eigenvectors' spectrum falls as exp(-tau i); that of the rows falls faster."""
    S = equalised(128, tau, seeded(1))
    i = torch.arange(128, dtype=torch.float64)

    def decay(values):
        return -torch.linalg.lstsq(torch.stack([i, torch.ones(128)], 1), values.log()[:, None]).solution[0].item()

    assert abs(decay(skips.eigenvector_correlations(S)) / tau - 1) < 0.05
    assert decay(skips.row_correlations(S)) / tau > 1.3
