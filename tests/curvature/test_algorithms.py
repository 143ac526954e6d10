"""Eigenpairs, traces, diagonals and solutions by products alone, against dense float64."""

import warnings

import numpy as np
import pytest
import torch
from matrices import SPECTRA, network_like, symmetric
from models import case
from scipy import stats

from nonsingular.curvature import (
    GaussNewton,
    Hessian,
    Symmetric,
    diagonal,
    eigenpairs,
    frobenius,
    solve,
    spectrum,
    trace,
)
from nonsingular.errors import InputError

H = Hessian(*case("residual tanh"))
DENSE = H.dense()


def coverage(hits, promised=0.95):
    """Whether as many hits are likely enough: a promise that is exactly kept fails in 0.4 % of the trials."""
    return sum(hits) >= stats.binom.ppf(0.004, len(hits), promised)


# --- eigenpairs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("which", ["magnitude", "largest", "smallest"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_eigenpairs_are_those_of_the_matrix(name, which, dtype):
    eigenvalues = SPECTRA[name]
    A, scale = symmetric(eigenvalues, dtype=dtype), np.abs(eigenvalues).max() or 1.0
    for k in {1, min(3, len(eigenvalues)), min(14, len(eigenvalues))}:
        found = eigenpairs(A, k, which)
        keys = {"magnitude": -np.abs(eigenvalues), "largest": -eigenvalues, "smallest": eigenvalues}[which]
        expected = eigenvalues[np.argsort(keys, kind="stable")][:k]
        got, tolerance = found.values.numpy(), {torch.float64: 1e-8, torch.float32: 1e-4}[dtype]
        form = np.abs if which == "magnitude" else np.asarray
        np.testing.assert_allclose(np.sort(form(got)), np.sort(form(expected)), atol=tolerance * scale)
        vectors = found.vectors.double()
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(k, dtype=torch.float64), atol=1e-5, rtol=0)
        residuals = (A.double() @ vectors - vectors * found.values).norm(dim=0)
        assert (residuals <= found.residuals + 1e-5 * scale).all()
        assert found.converged
        assert found.products <= len(eigenvalues)


def test_large_operators_are_restarted_within_few_vectors():
    class Diagonal:
        def __init__(self, entries):
            self.entries = torch.as_tensor(entries)
            self.shape, self.dtype, self.device = (len(entries),) * 2, self.entries.dtype, self.entries.device

        def __matmul__(self, v):
            assert v.dim() == 1  # all that an operator of others need take
            return self.entries * v

    entries = np.concatenate([np.linspace(-0.5, 0.9, 4990), np.full(6, 1.0), [1.2, 1.21, 1.5, -1.3]])
    found = eigenpairs(Diagonal(entries), 9, "largest")
    np.testing.assert_allclose(found.values, [1.5, 1.21, 1.2, *[1.0] * 6], atol=1e-10)
    assert found.converged


def test_eigenpairs_of_a_network_have_names():
    found = H.eigenpairs(2, "largest")
    lines = str(found).splitlines()
    assert lines[0] == f"Eigenpairs: 2 of {H.shape[0]}, converged in {found.products} products"
    assert [line.split()[0] for line in lines[1:]] == [f"{value:.6g}" for value in found.values.tolist()]
    torch.testing.assert_close(found.values, torch.linalg.eigvalsh(DENSE).flip(0)[:2])
    by_name = found.directions[1]
    for name, product in (H @ by_name).items():
        torch.testing.assert_close(product, found.values[1] * by_name[name], rtol=1e-6, atol=1e-8)


def test_small_eigenvalues_are_followed_to_their_own_precision():
    A = symmetric(np.concatenate([[100.0, 0.2], np.linspace(-0.15, 0.15, 200)]))
    loose, strict = (eigenpairs(A, 2, tolerance=1e-3, relative=r) for r in ("largest", "own"))
    assert loose.residuals[1] > 1e-3 * 0.2 >= strict.residuals[1]
    assert strict.converged
    assert strict.products > loose.products


def test_unconverged_eigenpairs_say_so():
    with pytest.warns(UserWarning, match="not converged in 12 products: 3 eigenpairs"):
        found = eigenpairs(symmetric(np.linspace(-1, 1, 300)), 3, max_products=12)
    assert not found.converged
    assert found.residuals.max() > 1e-3


# --- norms, blocks of rows, indefinite systems ---------------------------------------------------------------


@pytest.mark.parametrize("name", SPECTRA)
def test_frobenius_norms_are_covered_as_often_as_promised(name):
    A = symmetric(SPECTRA[name])
    norm = float(torch.linalg.matrix_norm(A))
    found = [frobenius(A, products=4, seed=seed).interval for seed in range(60)]
    assert coverage([low * (1 - 1e-12) <= norm <= high * (1 + 1e-12) for low, high in found])
    exact = frobenius(A, products=200)
    assert exact.value == pytest.approx(norm)
    assert exact.interval == (exact.value, exact.value)


def test_blocks_of_numbered_rows():
    rows = [5, 0, 17]
    torch.testing.assert_close(H.block(rows).dense(), DENSE[rows][:, rows])
    torch.testing.assert_close(H.block(torch.tensor(rows)).dense(), DENSE[rows][:, rows])


@pytest.mark.parametrize("preconditioner", ["sketch", None, "diagonal operator"])
def test_indefinite_systems_are_solved_by_minres(preconditioner):
    eigenvalues = np.concatenate([np.linspace(-5, -1, 30), np.linspace(0.5, 40, 70)])
    A, v = symmetric(eigenvalues), torch.arange(100, dtype=torch.float64)
    with pytest.raises(InputError, match="method='minres'"):
        solve(A, v)
    inverse = torch.diag(1 / A.diagonal().abs()) if preconditioner == "diagonal operator" else preconditioner
    found = solve(A, v, 0.2, inverse, method="minres")
    torch.testing.assert_close(found.x, torch.linalg.solve(A + 0.2 * torch.eye(100), v), rtol=1e-5, atol=1e-7)
    assert found.converged
    assert found.residual <= 1e-8
    with pytest.warns(UserWarning, match="MINRES reached"):
        assert not solve(A, v, method="minres", max_products=5).converged


@pytest.mark.parametrize("name", SPECTRA)
def test_lsmr_solves_whatever_the_signs(name):
    A, damping = symmetric(SPECTRA[name]), 0.5
    v = torch.randn(len(A), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = solve(A, v, damping, method="lsmr", max_products=8000)
    expected = torch.linalg.solve(A + damping * torch.eye(len(A)), v)
    assert found.converged
    torch.testing.assert_close(found.x, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_lsmr_gives_the_shortest_of_the_best_where_there_is_no_solution():
    A = symmetric(SPECTRA["low rank"])
    v = torch.arange(len(A), dtype=torch.float64)
    with pytest.warns(UserWarning, match="LSMR reached"):
        found = solve(A, v, method="lsmr")
    torch.testing.assert_close(found.x, torch.linalg.pinv(A, rtol=1e-10) @ v, rtol=1e-6, atol=1e-8)
    assert not found.converged


@pytest.mark.parametrize("name", ["one", "zero", "five alike", "low rank", "all outside", "one large"])
def test_neumann_series_solve_and_are_what_they_are_when_cut(name):
    A = symmetric(SPECTRA[name]) @ symmetric(SPECTRA[name])
    v = torch.randn(len(A), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = solve(A, v, 0.5, method="neumann")
    damped = A + 0.5 * torch.eye(len(A))
    torch.testing.assert_close(found.x, torch.linalg.solve(damped, v), rtol=1e-6, atol=1e-7)
    assert found.converged
    scale = 0.5 / float(torch.linalg.eigvalsh(damped)[-1])
    with pytest.warns(UserWarning, match="the Neumann series reached"):
        cut = solve(A, v, 0.5, lambda r: scale * r, method="neumann", max_products=3, tolerance=1e-14)
    step = torch.eye(len(A)) - scale * damped
    torch.testing.assert_close(cut.x, scale * (v + step @ v + step @ step @ v))


def test_operators_are_preconditioners():
    A, v = symmetric(np.geomspace(1e-3, 1e3, 80)), torch.ones(80, dtype=torch.float64)
    found = solve(A, v, 1e-2, torch.linalg.inv(A + 0.01 * torch.eye(80)))
    assert found.converged
    assert found.products <= 8


# --- traces -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECTRA)
def test_trace_intervals_cover_in_200_seeds(name):
    A, true = symmetric(SPECTRA[name]), SPECTRA[name].sum()
    hits = []
    for seed in range(200):
        found = trace(A, products=9 if len(A) > 9 else 30, seed=seed)
        slack = 1e-12 * np.abs(SPECTRA[name]).sum()
        hits.append(found.interval[0] - slack <= true <= found.interval[1] + slack)
        assert found.interval[0] <= found.value <= found.interval[1]
    assert coverage(hits)


def test_traces_are_exact_where_they_fit_and_narrow_for_networks():
    assert H.trace(products=500).interval == pytest.approx((float(DENSE.trace()),) * 2)
    eigenvalues = network_like(2000, 20)
    found = trace(symmetric(eigenvalues))
    assert found.products <= 96
    assert found.interval[1] - found.interval[0] < 0.2 * abs(eigenvalues.sum())


@pytest.mark.parametrize("name", [n for n in SPECTRA if len(SPECTRA[n]) > 24])
def test_spread_of_xtrace_covers_and_is_smaller(name):
    A, true = symmetric(SPECTRA[name]), SPECTRA[name].sum()
    slack = 1e-11 * np.abs(SPECTRA[name]).sum()
    hits, off, others = [], [], []
    for seed in range(50):
        found, other = (trace(A, products=24, method=m, seed=seed) for m in ("xtrace", "hutch++"))
        hits.append(found.interval[0] - slack <= true <= found.interval[1] + slack)
        off.append(found.value - true)
        others.append(other.value - true)
    assert coverage(hits)
    assert not found.proved
    assert found.products == 24
    assert np.std(off) <= np.std(others) + slack
    assert abs(np.mean(off)) <= 4 * np.std(off) / 50**0.5 + slack  # unbiased


def test_where_little_is_left_rounding_is_in_the_interval():
    A = symmetric(np.r_[np.linspace(1, 1e3, 8), np.zeros(292)], dtype=torch.float32)
    found = [trace(A, products=60, seed=seed) for seed in range(100)]  # 20 directions see all of it
    true = float(A.double().trace())
    assert coverage([f.interval[0] <= true <= f.interval[1] for f in found])
    assert max(f.interval[1] - f.interval[0] for f in found) < 1e-5 * true


def test_hutchinson_covers_too():
    A, true = symmetric(SPECTRA["all outside"]), SPECTRA["all outside"].sum()
    found = [trace(A, products=20, method="hutchinson", seed=seed) for seed in range(100)]
    assert coverage([f.interval[0] <= true <= f.interval[1] for f in found])
    assert found[0].how == "Hutchinson: 20 random vectors"


# --- diagonals ----------------------------------------------------------------------------------------------


def test_small_diagonals_are_exact():
    found = H.diagonal()
    torch.testing.assert_close(found.values, DENSE.diagonal())
    assert not found.error.any()
    torch.testing.assert_close(found.named["head.bias"], DENSE.diagonal()[-3:])


@pytest.mark.parametrize("method", ["signs", "xdiag"])
@pytest.mark.parametrize("name", ["network-like", "indefinite", "repeated", "low rank"])
def test_estimated_diagonals_are_within_their_errors(name, method):
    A = symmetric(SPECTRA[name])
    hits = []
    for seed in range(40):
        found = diagonal(A, products=20, method=method, seed=seed)
        hits += ((found.values - A.diagonal()).abs() <= found.error + 1e-12).tolist()
    assert np.mean(hits) > 0.94


def test_xdiag_takes_out_what_is_large():
    A = symmetric(SPECTRA["network-like"])
    off = [float((diagonal(A, products=40, method=m).values - A.diagonal()).norm()) for m in ("xdiag", "signs")]
    assert off[0] < 0.3 * off[1]


@pytest.mark.parametrize("outlier", [1e5, 1e9])  # of which the latter leaves the others below its rounding
def test_one_outlier_in_single_precision_hides_nothing(outlier):
    H = Diagonal(torch.cat([torch.tensor([outlier]), torch.ones(19_999)]))
    found = diagonal(H, products=64, method="xdiag")
    hits = (found.values - H.entries).abs() <= found.error + 1e-6 * H.entries
    assert hits.double().mean() > 0.85  # see the module's docstring
    assert found.error.min() > 0
    total = [trace(H, products=64, method="xtrace", seed=seed) for seed in range(5)]
    assert all(t.interval[0] <= outlier + 19_999 <= t.interval[1] for t in total)
    if outlier == 1e5:
        torch.testing.assert_close(found.values[1:].mean(), torch.tensor(1.0), atol=0.01, rtol=0)
        assert found.error.median() < 0.2


class Diagonal(Symmetric):
    """A diagonal matrix known by its products."""

    dtype, device, shape = torch.float32, torch.device("cpu"), (0, 0)

    def __init__(self, entries):
        self.entries, self.shape = entries, (len(entries),) * 2

    def _product(self, v):
        return (v.T * self.entries).T


def test_diagonal_entries_without_neighbours_need_no_luck():
    found = diagonal(torch.diag(torch.linspace(-1, 1, 50)), products=8)
    torch.testing.assert_close(found.values, torch.linspace(-1, 1, 50))


# --- solutions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preconditioner", ["sketch", "diagonal", None, lambda r: 0.5 * r])
@pytest.mark.parametrize("name", ["one", "five alike", "all outside", "one large", "ill-conditioned"])
def test_solutions_solve(name, preconditioner):
    A, damping = symmetric(SPECTRA[name]), 1e-3
    v = torch.randn(len(A), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = solve(A, v, damping, preconditioner)
    expected = torch.linalg.solve(A + damping * torch.eye(len(A)), v)
    torch.testing.assert_close(found.x, expected, rtol=1e-6, atol=1e-5 * float(expected.abs().max()))
    assert found.converged
    assert found.residual <= 1e-8


def test_sketches_spare_products_where_a_few_eigenvalues_are_large():
    A = symmetric(np.concatenate([np.logspace(1, 7, 14), np.linspace(0.5, 1, 286)]))
    v = torch.ones(300, dtype=torch.float64)
    assert solve(A, v).products < 0.6 * solve(A, v, preconditioner=None).products


def test_solutions_come_in_the_form_of_the_right_side():
    G = GaussNewton(*case("residual tanh"))
    v = {
        name: torch.ones(shape, dtype=torch.float64)
        for name, shape in zip(G.layout.names, G.layout.shapes, strict=True)
    }
    found = G.solve(v, damping=0.1)
    for name, product in ((G + 0.1) @ found.x).items():
        torch.testing.assert_close(product, v[name], rtol=1e-5, atol=1e-6)


def test_unsolved_systems_say_so():
    A = symmetric(np.logspace(-8, 0, 200))
    with pytest.warns(UserWarning, match="relative residual"):
        assert not solve(A, torch.ones(200), preconditioner=None, max_products=10).converged


# --- bad input ----------------------------------------------------------------------------------------------

HALF = torch.eye(4, dtype=torch.bfloat16)
BAD = {
    "indefinite": (
        lambda: solve(symmetric(SPECTRA["indefinite"]), torch.ones(80), preconditioner=None),
        "more damping",
    ),
    "negative damping": (lambda: solve(torch.eye(3), torch.ones(3), -1.0), "damping must be"),
    "wrong right side": (lambda: solve(torch.eye(3), torch.ones(4)), r"expected a vector \[3\]"),
    "preconditioner": (lambda: solve(torch.eye(3), torch.ones(3), 0.0, "magic"), "'magic'"),
    "no pairs": (lambda: eigenpairs(torch.eye(3), 0), "k must be 1 to 3"),
    "too many pairs": (lambda: eigenpairs(torch.eye(3), 4), "k must be 1 to 3"),
    "relative to what": (lambda: eigenpairs(torch.eye(3), relative="all"), "relative must be one of largest, own"),
    "no norm": (lambda: frobenius(torch.eye(3), products=1), "at least 2 products"),
    "NaN norm": (lambda: frobenius(torch.full((3, 3), torch.nan)), "NaN or infinite"),
    "no such row": (lambda: H.block([0, 10**6]), "rows are numbered 0 to"),
    "names beside numbers": (lambda: H.block(["head.bias", 3]), "names or of numbers of rows, got both"),
    "no number of a row": (lambda: H.block([None]), "different whole numbers"),
    "a row twice": (lambda: H.block([1, 1]), "different whole numbers"),
    "no such method": (
        lambda: solve(torch.eye(3), torch.ones(3), method="lu"),
        "method must be one of cg, minres, lsmr, neum",
    ),
    "no such trace": (lambda: trace(torch.eye(3), method="xdiag"), "method must be one of hutch"),
    "no such diagonal": (lambda: diagonal(torch.eye(3), method="xtrace"), "method must be one of signs, xdiag"),
    "few for xtrace": (lambda: trace(torch.eye(9), products=3, method="xtrace"), "at least 4"),
    "few for xdiag": (lambda: diagonal(torch.eye(19), products=15, method="xdiag"), "at least 16"),
    "NaN xtrace": (lambda: trace(torch.full((9, 9), torch.nan), products=4, method="xtrace"), "NaN or infinite"),
    "bfloat16 diagonal": (lambda: diagonal(HALF), "dtype=torch.float32"),
    "divergent series": (lambda: solve(symmetric(SPECTRA["indefinite"]), torch.ones(80), method="neumann"), "diverges"),
    "preconditioned LSMR": (
        lambda: solve(torch.eye(3), torch.ones(3), 0.0, torch.eye(3), method="lsmr"),
        "lsmr takes no preconditioner",
    ),
    "a trace of what is not square": (lambda: trace(torch.ones(3, 4)), r"symmetric matrix, got Tensor \[3, 4\]"),
    "which pairs": (lambda: eigenpairs(torch.eye(3), 1, "LM"), "magnitude, largest, smallest"),
    "NaN": (lambda: eigenpairs(torch.full((3, 3), torch.nan)), "NaN or infinite"),
    "NaN trace": (lambda: trace(torch.full((3, 3), torch.nan)), "NaN or infinite"),
    "few products": (lambda: trace(torch.eye(3), products=2), "at least 3"),
    "few signs": (lambda: diagonal(torch.eye(9), products=7), "at least 8"),
    "bfloat16 pairs": (lambda: eigenpairs(HALF), "dtype=torch.float32"),
    "float16 trace": (lambda: trace(HALF.half()), "products in float16"),
    "bfloat16 solution": (lambda: solve(HALF, torch.ones(4)), "dtype=torch.float32"),
    "bfloat16 counts": (lambda: spectrum(HALF, method="lanczos"), "dtype=torch.float32"),
    "bfloat16 exact counts": (lambda: spectrum(HALF, method="exact"), "dtype=torch.float32"),
    "float16 moments": (lambda: spectrum(HALF.half(), method="moments"), "dtype=torch.float32"),
}


@pytest.mark.parametrize("what", BAD)
def test_one_clear_error(what):
    act, message = BAD[what]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=message) as caught:
            act()
    assert "\n" not in str(caught.value)
