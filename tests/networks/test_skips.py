import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nonsingular.errors import InputError
from nonsingular.networks import copied, equalised, orthogonal, turned
from nonsingular.networks.skips import SMALLEST_EIGENVALUE

SEEDS = st.integers(0, 2**31)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def eigenvalues(matrix):
    return torch.linalg.eigvals(matrix.double())


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 64), seed=SEEDS)
def test_orthogonal_to_rounding(n, seed):
    Q = orthogonal(n, seeded(seed))
    assert Q.dtype == torch.float32
    torch.testing.assert_close(Q.double() @ Q.T.double(), torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (eigenvalues(Q).abs() - 1).abs().max() < 1e-6


@pytest.mark.parametrize("draw", [orthogonal, lambda n, g: equalised(n, 0.0, g)], ids=["orthogonal", "tau=0"])
def test_uniform_over_the_orthogonal_group(draw):
    """Known facts of Haar measure; a QR factor whose signs are not fixed fails all of them."""
    n, draws = 6, 2000
    generator = seeded(0)
    Q = torch.stack([draw(n, generator) for _ in range(draws)]).double()
    # Entries have mean 0 and variance 1/n; an entry squared is Beta(1/2, (n-1)/2), wherever it stands.
    for i, j in ((0, 0), (n - 1, n - 1), (0, n - 1)):
        assert stats.kstest(Q[:, i, j].numpy() ** 2, stats.beta(0.5, (n - 1) / 2).cdf).pvalue > 1e-4
        assert stats.binomtest(int((Q[:, i, j] > 0).sum()), draws).pvalue > 1e-4
    # The trace has mean 0 and variance 1 for n >= 2, its fourth moment is 3 for n >= 4 (Diaconis and Shahshahani 1994).
    trace = Q.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert abs(trace.mean()) < 4 / math.sqrt(draws)
    assert abs(trace.square().mean() - 1) < 4 * math.sqrt(2 / draws)
    # Both components of the group, with equal probability.
    assert stats.binomtest(int((torch.linalg.det(Q) > 0).sum()), draws).pvalue > 1e-4


@settings(deadline=None, max_examples=40)
@given(vectors=st.integers(1, 16), copies=st.integers(1, 8), seed=SEEDS)
def test_copies_of_orthonormal_vectors(vectors, copies, seed):
    S = copied(vectors * copies, vectors, seeded(seed)).double()
    assert S.shape == (vectors * copies, vectors * copies)
    first = S[:vectors]
    torch.testing.assert_close(first @ first.T, torch.eye(vectors, dtype=torch.float64), rtol=0, atol=1e-6)
    for c in range(copies):
        assert torch.equal(S[c * vectors : (c + 1) * vectors], first)
    assert torch.linalg.matrix_rank(S, rtol=1e-4) == vectors


@settings(deadline=None, max_examples=40)
@given(n=st.integers(2, 48), product=st.floats(0, 6), seed=SEEDS)
def test_equalised_spectrum_lies_on_the_unit_circle(n, product, seed):
    S = equalised(n, product / (n - 1), seeded(seed)).double()
    values = eigenvalues(S)
    # Rounding to float32 is magnified by the conditioning, and in a nearly double eigenvalue by a square root.
    assert (values.abs() - 1).abs().max() < 1e-2
    assert abs(torch.linalg.det(S).abs() - 1) < 1e-3
    # Its singular values are not all 1, but within the conditioning of T, whose square is that of R.
    assert torch.linalg.svdvals(S).max() <= math.exp(product) * (1 + 1e-6)


@pytest.mark.parametrize("tau", [0.0, 0.005, 0.01, 0.015, 0.02, 0.025])
def test_equalised_to_rounding_for_the_papers_tau(tau):
    for seed in range(3):
        assert (eigenvalues(equalised(128, tau, seeded(seed))).abs() - 1).abs().max() < 1e-6


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.2])
def test_equalised_is_built_as_note_6_says(tau):
    """Sigma = T U L U^-1 T^-1: its eigenvectors are T U, and T T^T is the correlation matrix of S = Q diag(.) Q^T."""
    n = 16
    sigma = equalised(n, tau, seeded(5)).double()
    generator = seeded(5)
    Q, O = (haar_reference(n, generator) for _ in range(2))  # noqa: E741
    S = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        S += math.exp(-tau * i) * torch.outer(Q[:, i], Q[:, i])
    R = torch.tensor([[S[i, j] / math.sqrt(S[i, i] * S[j, j]) for j in range(n)] for i in range(n)])
    L, U = torch.linalg.eig(O)
    T = torch.linalg.cholesky(R).to(L.dtype)
    expected = (T @ U @ torch.diag(L) @ U.conj().T @ torch.linalg.inv(T)).real
    torch.testing.assert_close(sigma, expected, rtol=0, atol=1e-5)
    # Read off the finished matrix: columns V of its eigenvectors with unit coordinates in U satisfy V V^H = R.
    values, vectors = torch.linalg.eig(sigma)
    order = torch.cdist(torch.view_as_real(L), torch.view_as_real(values)).argmin(1)
    assert sorted(order.tolist()) == list(range(n))
    V = vectors[:, order]
    V = V * (torch.linalg.inv(T) @ V).norm(dim=0).reciprocal()
    torch.testing.assert_close((V @ V.conj().T).real, R, rtol=0, atol=1e-4)
    assert torch.allclose(R.diagonal(), torch.ones(n, dtype=torch.float64))


def haar_reference(n, generator):
    """Gram-Schmidt, vector by vector: the unique QR factor with a positive diagonal of R."""
    A = torch.randn(n, n, generator=generator, dtype=torch.float64)
    columns = []
    for a in A.T:
        for _ in range(2):
            for q in columns:
                a = a - (q @ a) * q
        columns.append(a / a.norm())
    return torch.stack(columns, dim=1)


def test_orthogonal_is_the_qr_factor_with_positive_diagonal():
    torch.testing.assert_close(orthogonal(9, seeded(3)).double(), haar_reference(9, seeded(3)), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 48), seed=SEEDS)
def test_equalised_with_tau_0_is_orthogonal(n, seed):
    S = equalised(n, 0.0, seeded(seed)).double()
    torch.testing.assert_close(S @ S.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(half=st.integers(1, 32), product=st.floats(0, 10), seed=SEEDS)
def test_turned_sets_the_covariances_of_the_skip_vectors_as_the_text_says(half, product, seed):
    """Eigenvalues of S S^T proportional to exp(-tau (j-1)), those of S on the unit circle."""
    n = 2 * half
    tau = product / (n - 1)
    S = turned(n, tau, seeded(seed)).double()
    covariance = torch.linalg.eigvalsh(S @ S.T).flip(0)
    expected = torch.exp(-tau * torch.arange(n, dtype=torch.float64))
    torch.testing.assert_close(covariance / covariance[0], expected, rtol=1e-2, atol=1e-6)
    # A quarter turn: two of them are a half turn, whatever the basis.
    torch.testing.assert_close(S @ S, -torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-6 * math.exp(product / 2))
    if product == 0:
        torch.testing.assert_close(S @ S.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("tau", [0.0, 0.005, 0.01, 0.015, 0.02, 0.025])
def test_turned_to_rounding_for_the_papers_tau(tau):
    for seed in range(3):
        assert (eigenvalues(turned(128, tau, seeded(seed))).abs() - 1).abs().max() < 1e-6


def test_turned_is_quarter_turns_in_a_basis_drawn_at_random():
    n, tau = 6, 0.3
    P = haar_reference(n, seeded(4))
    expected = torch.zeros(n, n, dtype=torch.float64)
    for i in range(3):
        s = math.sqrt(math.exp(tau * (n - 1) / 2) * math.exp(-tau * i))
        expected += s * torch.outer(P[:, i], P[:, i + 3]) - torch.outer(P[:, i + 3], P[:, i]) / s
    torch.testing.assert_close(turned(n, tau, seeded(4)).double(), expected, rtol=0, atol=1e-6)


def test_larger_tau_is_less_orthogonal():
    def departure(tau):
        S = torch.stack([equalised(32, tau, seeded(s)) for s in range(20)]).double()
        return (S @ S.mT - torch.eye(32)).norm(dim=(-2, -1)).mean()

    departures = [departure(tau) for tau in (0, 0.02, 0.05, 0.1, 0.2)]
    assert departures[0] < 1e-5
    assert departures == sorted(departures)
    assert departures[-1] > 1


@pytest.mark.parametrize("tau", [-0.1, math.nan, math.inf, -2 * math.log(SMALLEST_EIGENVALUE)])
def test_tau_out_of_range_is_refused(tau):
    with pytest.raises(InputError, match=r"tau must lie between 0 and 1\.97 for 8 units"):
        equalised(8, tau)
    with pytest.raises(InputError, match=r"tau must lie between 0 and 1\.97 for 8 units"):
        turned(8, tau)


def test_quarter_turns_come_in_pairs():
    with pytest.raises(InputError, match="quarter turns need an even number of units, got 7"):
        turned(7, 0.1)


@pytest.mark.parametrize("vectors", [0, -1, 3, 9, 16])
def test_vectors_that_do_not_divide_the_width_are_refused(vectors):
    with pytest.raises(InputError, match=f"skip vectors must divide the width 8, got {vectors}"):
        copied(8, vectors)
