"""Counts of eigenvalues by three methods, against matrices whose eigenvalues are known."""

import importlib
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matrices import SPECTRA, network_like, symmetric
from models import case
from scipy import stats

from nonsingular.curvature import (
    Hessian,
    Lanczos,
    Lockstep,
    Symmetric,
    fit_mixture,
    inertia,
    skilling_moments,
    spectrum,
    window_counts,
)
from nonsingular.curvature.counting import count_interval
from nonsingular.curvature.dense import NotLayered, by_layer_pairs
from nonsingular.curvature.inertia import subspace_counts
from nonsingular.curvature.moments import _relative, exact_mixtures, mismatch, mixture_moments
from nonsingular.curvature.spectrum import Count


def counts(eigenvalues, window=0.1):
    e = np.asarray(eigenvalues)
    return int((e < -window).sum()), int((np.abs(e) <= window).sum()), int((e > window).sum())


# --- dense matrices and inertia -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu mlp", "residual", "residual tanh", "several batches"])
def test_layer_pairs_equal_products(name):
    H = Hessian(*case(name), mode="own")
    torch.testing.assert_close(by_layer_pairs(H.problem), Symmetric.dense(H), rtol=1e-9, atol=1e-12)


def test_layer_pairs_of_a_subset_of_parameters():
    model, loss_fn, batches = case("residual tanh")
    H = Hessian(model, loss_fn, batches, params=["layers.1.bias", "stem.weight", "head.weight", "head.bias"])
    torch.testing.assert_close(by_layer_pairs(H.problem), Symmetric.dense(H), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["shared layer", "attention", "convolutions, batch norm in eval mode"])
def test_layer_pairs_refuse_what_they_cannot_do(name):
    with pytest.raises(NotLayered):
        by_layer_pairs(Hessian(*case(name), mode="own").problem)


def test_layer_pairs_that_are_wrong_are_not_used():
    model, loss_fn, batches = case("relu mlp")
    model = torch.nn.Sequential(
        model[0], torch.nn.BatchNorm1d(5, affine=False).double(), *model[1:]
    )  # samples interact
    H = Hessian(model, loss_fn, batches)
    torch.testing.assert_close(H.dense(), Symmetric.dense(H))


class Slopes(torch.nn.Module):
    """A loss of derivatives of a network with respect to its inputs, by autograd or by ``torch.func``."""

    def __init__(self, functional):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
        self.functional = functional

    def forward(self, x):
        if self.functional:
            return torch.func.vmap(torch.func.grad(lambda z: self.net(z[None])[0, 0]))(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[0]


def test_without_a_method_the_size_chooses(monkeypatch):
    matrix = torch.diag(torch.linspace(-1, 1, 40, dtype=torch.float64))
    assert spectrum(matrix).method == "exact"
    monkeypatch.setattr(sys.modules[spectrum.__module__], "EXACT_BY_DEFAULT", 39)
    found = spectrum(matrix)
    assert found.method == "lanczos"
    low, high = found.positive.interval
    assert low <= spectrum(matrix, method="exact").positive.count <= high
    assert spectrum(matrix, eigenvalues=True).method == "exact"


@pytest.mark.filterwarnings("ignore:the model cannot be linearised")
def test_exact_spectrum_of_a_loss_of_input_derivatives():
    x = torch.rand(10, 1, dtype=torch.float64)
    models = [Slopes(functional) for functional in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    matrices = [Hessian(m, torch.nn.functional.mse_loss, [(x, torch.ones_like(x))]).dense() for m in models]
    torch.testing.assert_close(*matrices)
    H = Hessian(models[0], torch.nn.functional.mse_loss, [(x, torch.ones_like(x))])
    assert spectrum(H, 0.01).positive.count == counts(torch.linalg.eigvalsh(matrices[1]).numpy(), 0.01)[2]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(float, st.integers(1, 12), elements=st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3)), st.integers(0, 99)
)
def test_inertia_counts_signs(eigenvalues, seed):
    below, zero, above = inertia(symmetric(eigenvalues, seed))
    assert (below, zero, above) == (int((eigenvalues < 0).sum()), 0, int((eigenvalues > 0).sum()))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (torch.zeros(3, 3), (0, 3, 0)),
        (torch.diag(torch.tensor([0.0, -2.0, 3.0, 0.0])), (1, 2, 1)),
        (torch.tensor([[0.0, 1.0], [1.0, 0.0]]), (1, 0, 1)),
        (torch.zeros(0, 0), (0, 0, 0)),
    ],
)
def test_inertia_of_singular_and_small_matrices(matrix, expected):
    assert inertia(matrix) == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), window=st.floats(0.01, 3), dead=st.integers(0, 5))
def test_window_counts_equal_counted_eigenvalues(seed, window, dead):
    A = torch.block_diag(symmetric(network_like(60, 20, seed), seed), torch.zeros(dead, dead))
    below, _, above = (int(x) for x in counts(torch.linalg.eigvalsh(A).numpy(), window))
    assert window_counts(A, window) == (below, 60 + dead - below - above, above)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), window=st.floats(0.05, 3), bulk=st.floats(1e-6, 0.02), outside=st.integers(0, 12))
def test_subspaces_count_as_eigenvalues_do_or_decline(seed, window, bulk, outside):
    rng = np.random.default_rng(seed)
    eigenvalues = np.concatenate([bulk * rng.standard_normal(150), 3 * rng.standard_normal(outside)])
    found = subspace_counts(symmetric(eigenvalues, seed), window, block=5)
    below, _, above = counts(eigenvalues, window)
    assert found in (None, (below, above))
    if bulk < 1e-3:
        assert found is not None


def test_subspaces_decline_where_nothing_is_proven():
    # Beyond the subspace there is more than the window allows, though the subspace itself sees nothing outside.
    assert subspace_counts(symmetric(np.full(150, 0.09)), 0.1, block=5) is None
    assert subspace_counts(symmetric(np.linspace(-1, 1, 150)), 0.1, block=5) is None


def test_large_matrices_are_counted_alike_from_a_subspace_and_by_factorisation(monkeypatch):
    for eigenvalues in (network_like(300, 10), np.concatenate([np.full(280, 1e-4), np.linspace(-2, 2, 20)])):
        A = symmetric(eigenvalues)
        by_factorisation = window_counts(A, 0.1)
        module = importlib.import_module("nonsingular.curvature.inertia")  # the package has a function of that name
        monkeypatch.setattr(module, "LARGE", 100)
        monkeypatch.setattr(module, "BLOCK", 8)
        assert window_counts(A, 0.1) == by_factorisation == counts(eigenvalues)
        monkeypatch.undo()


@pytest.mark.parametrize("name", ["residual", "convolutions, batch norm in eval mode", "tied weights"])
def test_exact_spectrum_of_networks(name):
    H = Hessian(*case(name), mode="own")
    expected = counts(torch.linalg.eigvalsh(Symmetric.dense(H)).numpy(), 0.05)
    for eigenvalues in (False, True):
        s = spectrum(H, 0.05, "exact", eigenvalues=eigenvalues)
        assert (s.negative.count, s.degenerate.count, s.positive.count) == expected
        assert s.degenerate.interval == (s.degenerate.count,) * 2
        assert s.trace[0] == pytest.approx(float(Symmetric.dense(H).trace()))


# --- Lanczos ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [5, 20, 60])
def test_quadrature_has_the_moments_of_its_measure(steps):
    A = symmetric(network_like(80, 12))
    z = torch.randn(80, dtype=torch.float64)
    process = Lanczos(A, z)
    process.extend(steps)
    nodes, weights, _ = process.ritz()
    z /= z.norm()
    for k in range(min(2 * steps, 8)):
        assert nodes**k @ weights == pytest.approx(float(z @ torch.linalg.matrix_power(A, k) @ z), rel=1e-8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), steps=st.integers(2, 80), window=st.floats(0.02, 2))
def test_radau_bounds_enclose_the_true_shares(seed, steps, window):
    eigenvalues = network_like(80, 20, seed)
    A = symmetric(eigenvalues, seed)
    z = torch.randn(80, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    process = Lanczos(A, z)
    process.extend(steps)
    values, vectors = torch.linalg.eigh(A)
    seen = (vectors.T @ z / z.norm()) ** 2
    shares = process.shares(window)
    for (low, high), true in (
        (shares.below, seen[values < -window].sum()),
        (shares.above, seen[values > window].sum()),
    ):
        assert low - 1e-9 <= float(true) <= high + 1e-9


def test_residual_bounds_hold():
    A = symmetric(network_like(200, 30))
    process = Lanczos(A, torch.randn(200, dtype=torch.float64))
    process.extend(50)
    values, _, residuals = process.ritz()
    eigenvalues = torch.linalg.eigvalsh(A).numpy()
    for value, residual in zip(values, residuals, strict=True):
        assert np.abs(eigenvalues - value).min() <= residual + 1e-9


def test_all_eigenvalues_when_run_to_the_end():
    eigenvalues = np.linspace(-1, 1, 50) ** 3 + 0.01
    process = Lanczos(symmetric(eigenvalues), torch.randn(50, dtype=torch.float64))
    process.extend(100)
    assert process.exhausted
    np.testing.assert_allclose(process.ritz()[0], np.sort(eigenvalues), atol=1e-9)


def test_low_rank_operators_exhaust_the_process():
    eigenvalues = np.zeros(60)
    eigenvalues[:3] = 1, -2, 5
    s = spectrum(symmetric(eigenvalues), 0.1, "lanczos")
    assert (s.negative.count, s.positive.count) == pytest.approx((1, 2), abs=1e-6)


def test_repeated_eigenvalues_are_not_counted_once():
    # One vector sees a repeated eigenvalue as one; the probes of the complement find the others.
    eigenvalues = np.concatenate([np.full(30, 4.0), np.full(12, -3.0), np.linspace(-0.05, 0.05, 258)])
    s = spectrum(symmetric(eigenvalues), 0.1, "lanczos", error=0.02, max_probes=64)
    assert s.positive.interval[0] <= 30 <= s.positive.interval[1]
    assert s.negative.interval[0] <= 12 <= s.negative.interval[1]
    assert s.positive.interval[1] - s.positive.interval[0] < 12


COVERAGE = {
    "one unresolved probe": {"max_steps": 20, "max_probes": 1, "error": 0.5},
    "few probes": {"max_steps": 30, "max_probes": 3, "error": 0.01},
    "resolved": {"max_steps": 80, "max_probes": 2, "error": 0.05},
}


@pytest.mark.parametrize("how", COVERAGE)
@pytest.mark.parametrize("source", ["synthetic", "network"])
def test_intervals_cover_the_exact_count(how, source):
    if source == "synthetic":
        A, window = symmetric(network_like(150, 25, seed=1)), 0.1
    else:
        A, window = Symmetric.dense(Hessian(*case("convolutions, batch norm in train mode"), mode="own")), 0.02
    exact = spectrum(A, window, "exact")
    repeats = 100
    covered = {"negative": 0, "degenerate": 0, "positive": 0}
    for seed in range(repeats):
        s = spectrum(A, window, "lanczos", seed=seed, **COVERAGE[how])
        for part in covered:
            low, high = getattr(s, part).interval
            covered[part] += low <= getattr(exact, part).count <= high
    # 95 % is promised; 100 repeats of exactly that fall below 89 with probability 0.4 %.
    for part, times in covered.items():
        assert times >= stats.binom.ppf(0.004, repeats, 0.95), (part, times)


@pytest.mark.parametrize("how", ["few probes", "resolved"])
def test_intervals_cover_without_reorthogonalisation(how, monkeypatch):
    monkeypatch.setattr("nonsingular.curvature.counting.SMALL", 0)
    monkeypatch.setattr("nonsingular.curvature.counting.FIRST", 20)
    eigenvalues = network_like(150, 25, seed=1)
    A = symmetric(eigenvalues, dtype=torch.float32)
    exact, covered = counts(eigenvalues), np.zeros(3)
    for seed in range(100):
        s = spectrum(A, 0.1, "lanczos", seed=seed, **COVERAGE[how])
        intervals = [part.interval for part in (s.negative, s.degenerate, s.positive)]
        covered += [low <= k <= high for (low, high), k in zip(intervals, exact, strict=True)]
    assert (covered >= stats.binom.ppf(0.004, 100, 0.95)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_without_reorthogonalisation_hold_and_close(dtype):
    n, window = 6000, 0.1
    eigenvalues = 0.1 * ((np.arange(n) + 0.5) / 200) ** -1.0  # 200 outside, up to 40
    process = Lockstep(Diagonal(eigenvalues, dtype), torch.randn(n, 3, generator=torch.Generator().manual_seed(0)))
    process.extend(250)  # long enough for the largest to come back as copies
    start = torch.randn(n, 3, generator=torch.Generator().manual_seed(0)).double()
    seen = (start[eigenvalues > window] ** 2).sum(0) / (start**2).sum(0)
    for one, share in zip(process.processes, seen.tolist(), strict=True):
        assert (one.ritz()[0] > 39).sum() > 1
        low, high = one.shares(window).above
        assert low - 1e-6 <= share <= high + 1e-6
        assert high - low < 0.35 * share


def test_lockstep_agrees_with_single_processes():
    A = symmetric(network_like(200, 30))
    starts = torch.randn(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    starts[:, 3] = torch.linalg.eigh(A)[1][:, -1]  # one step exhausts it
    against = torch.linalg.qr(starts[:, :3].flip(0)).Q
    together = Lockstep(A, starts, against)
    together.extend(7)  # rounding is not yet amplified
    for start, process in zip(starts.T, together.processes, strict=True):
        alone = Lanczos(A, start, against)
        alone.extend(7)
        np.testing.assert_allclose(process.alpha, alone.alpha, rtol=1e-5)
        np.testing.assert_allclose(process.beta, alone.beta, rtol=1e-5)
    free = Lockstep(A, starts)
    free.extend(12)
    assert [p.steps for p in free.processes] == [12, 12, 12, 1]
    assert free.processes[3].exhausted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_projected_away_stays_away(dtype):
    outside = np.concatenate([-np.linspace(5, 1, 20), np.geomspace(60, 0.5, 40)])
    A = symmetric(np.concatenate([outside, 0.05 * np.random.default_rng(0).standard_normal(400)]))
    values, vectors = torch.linalg.eigh(A)
    chosen = values.abs() > 0.4
    starts = torch.randn(len(A), 3, generator=torch.Generator().manual_seed(0)).double()
    process = Lockstep(A.to(dtype), starts.to(dtype), vectors[:, chosen].to(dtype))
    process.extend(150)
    seen = (vectors.mT @ starts).square()[~chosen]
    for k, one in enumerate(process.processes):
        assert np.abs(one.ritz()[0]).max() <= float(values[~chosen].abs().max()) * 1.001  # no copy of what is outside
        share = float(seen[values[~chosen] > 0.05, k].sum() / seen[:, k].sum())
        low, high = one.shares(0.05).above
        assert low - 1e-5 <= share <= high + 1e-5


SMALL_OPERATORS = ["one", "two, opposite", "five alike", "ten alike", "zero", "low rank", "repeated", "all outside"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SMALL_OPERATORS)
def test_small_and_degenerate_operators_are_counted(name, dtype):
    eigenvalues = SPECTRA[name]
    A, exact, covered = symmetric(eigenvalues, dtype=dtype), counts(eigenvalues), np.zeros(3)
    for seed in range(25):
        s = spectrum(A, 0.1, "lanczos", seed=seed, max_probes=4)
        parts = s.negative, s.degenerate, s.positive
        covered += [c.interval[0] <= k <= c.interval[1] for c, k in zip(parts, exact, strict=True)]
        for c in parts:
            assert 0 <= c.interval[0] <= c.count + 1e-6
            assert c.count - 1e-6 <= c.interval[1] <= len(A)
        assert sum(c.fraction for c in parts) == pytest.approx(1)
    assert (covered >= stats.binom.ppf(0.004, 25, 0.95)).all()


@pytest.mark.parametrize("size", [5, 40])
def test_regressions_whose_eigenvalues_all_lie_outside(size):
    torch.manual_seed(0)
    x, y = torch.randn(50 * size, size), torch.randn(50 * size, 1)
    H = Hessian(torch.nn.Linear(size, 1), torch.nn.functional.mse_loss, [(x, y)])
    for seed in range(10):
        s = spectrum(H, 0.1, "lanczos", seed=seed)
        assert s.positive.interval[1] == size + 1
        assert s.trace[1] - 1e-3 <= float(H.dense().trace()) <= s.trace[2] + 1e-3


@pytest.mark.parametrize(
    ("name", "window", "options"),
    [
        ("one large", 1e-6, {}),
        ("one large", 0.1, {}),
        ("one large", 0.1, {"max_probes": 0}),
        ("ten alike", 0.1, {}),
        ("indefinite", 0.1, {"max_steps": 10, "max_probes": 2}),
        ("network-like", 0.1, {"max_steps": 20, "max_probes": 1}),
    ],
)
def test_trace_intervals_cover_in_200_seeds(name, window, options):
    A, true = symmetric(SPECTRA[name]), SPECTRA[name].sum()
    hits = 0
    for seed in range(200):
        _, low, high = spectrum(A, window, "lanczos", seed=seed, **options).trace
        hits += low - 1e-9 * abs(true) <= true <= high + 1e-9 * abs(true)
    assert hits >= stats.binom.ppf(0.004, 200, 0.95)


def test_moments_chance_intervals_cover():
    eigenvalues = network_like(150, 40, seed=4)
    fit = fit_mixture(np.array([np.mean(eigenvalues**k) for k in range(1, 5)]))
    expected = eigenvalues.sum(), 150 * fit.cdf(-0.1), 150 * (1 - fit.cdf(0.1))  # with all random vectors there are
    hits = np.zeros(3)
    for seed in range(8):
        s = spectrum(symmetric(eigenvalues), 0.1, "moments", max_probes=3, seed=seed)
        intervals = s.trace[1:], s.negative.interval, s.positive.interval
        hits += [low <= true <= high for (low, high), true in zip(intervals, expected, strict=True)]
    assert (hits >= stats.binom.ppf(0.004, 8, 0.95)).all(), hits


def test_an_early_end_is_said_and_still_covers():
    A = symmetric(network_like(400, 60))
    s = spectrum(A, 0.1, "lanczos", seconds=1e-3, error=0.01)
    assert "stopped early (0.001 s were up; seconds= gives it more)" in s.stopped
    assert s.stopped in s.how
    _, _, above = counts(network_like(400, 60))
    assert s.positive.interval[0] <= above <= s.positive.interval[1]
    assert "stopped early" in spectrum(A, 0.1, "lanczos", max_probes=1, error=0.01).stopped
    assert spectrum(A, 0.1, "lanczos", error=0.3).stopped == ""


def test_an_eigenvalue_on_the_edge_may_be_on_either_side():
    eigenvalues = 1 / np.arange(1, 61)  # the tenth is 0.1 to rounding
    for seed in range(10):
        s = spectrum(symmetric(eigenvalues), 0.1, "lanczos", seed=seed)
        assert s.positive.interval[0] <= 9
        assert s.positive.interval[1] >= 10


def test_eigenvalues_and_plot():
    eigenvalues = np.sort(network_like(60, 10))
    s = spectrum(symmetric(eigenvalues), 0.1, eigenvalues=True)
    np.testing.assert_allclose(s.eigenvalues, eigenvalues, atol=1e-10)
    assert s.plot().axes[0].get_xlabel().startswith("eigenvalue")
    assert spectrum(symmetric(eigenvalues), 0.1).eigenvalues is None


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 400), n=st.integers(401, 10**6), probes=st.integers(1, 20), seed=st.integers(0, 2**16))
def test_count_interval_contains_the_estimate_and_shrinks_with_probes(k, n, probes, seed):
    share = float(np.random.default_rng(seed).beta(probes * k / 2, probes * (n - k) / 2))
    low, high = count_interval((share, share), n, probes)
    assert low <= n * share <= high
    wider = count_interval((share * 0.9, min(1, share * 1.1)), n, probes)
    assert wider[0] <= low
    assert high <= wider[1]


class Diagonal:
    """A diagonal operator, large and cheap."""

    def __init__(self, eigenvalues, dtype=torch.float64):
        self.diagonal = torch.as_tensor(eigenvalues).to(dtype)
        self.shape, self.dtype, self.device = (len(eigenvalues),) * 2, self.diagonal.dtype, self.diagonal.device

    def __matmul__(self, v):
        return self.diagonal * v


@pytest.mark.parametrize("power", [0.8, 1.0, 1.2, 2.0])
def test_estimates_converge_before_bounds_and_before_gauss_quadrature(power):
    # Like trained networks' spectra: the k-th largest of n falls as k^(-1/power), of either sign, 600 outside +-0.1.
    n, outside = 12_000, 600
    signs = np.where(np.random.default_rng(0).random(n) < 0.3, -1, 1)
    operator = Diagonal(signs * 0.1 * ((np.arange(n) + 0.5) / outside) ** (-1 / power))
    ours, gauss = [], []
    for seed in range(2):
        start = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        seen = float((start[:outside] ** 2).sum() / (start**2).sum())
        process = Lanczos(operator, start)
        for _ in range(8):
            process.extend(10)
            nodes, weights, _ = process.ritz()
            if process.steps >= 50:
                ours.append(abs(process.shares(0.1).outside / seen - 1))
                gauss.append(abs(weights[np.abs(nodes) > 0.1].sum() / seen - 1))
                shares = process.shares(0.1)
                assert shares.below[0] + shares.above[0] <= seen <= shares.below[1] + shares.above[1]
    assert np.mean(ours) < 0.12
    assert np.mean(ours) < 0.5 * np.mean(gauss)


def test_no_further_probes_gives_the_first_ones_answer():
    A = symmetric(network_like(200, 30))
    s = spectrum(A, 0.1, "lanczos", max_steps=25, max_probes=0, error=0.01)
    assert s.products == 25
    assert s.positive.interval[0] <= counts(torch.linalg.eigvalsh(A).numpy())[2] <= s.positive.interval[1]


def test_extremes_and_trace():
    eigenvalues = network_like(300, 40)
    s = spectrum(symmetric(eigenvalues), 0.1, "lanczos")
    assert s.extremes == pytest.approx((eigenvalues.min(), eigenvalues.max()), rel=1e-6)
    assert s.trace[1] <= eigenvalues.sum() <= s.trace[2]


# --- moments ------------------------------------------------------------------------------------------------


def test_moments_are_unbiased():
    eigenvalues = np.linspace(-1, 2, 30)
    samples = skilling_moments(symmetric(eigenvalues), probes=4000)
    expected = [np.mean(eigenvalues**k) for k in range(1, 5)]
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - expected) < 4 * error)


@settings(max_examples=30, deadline=None)
@given(
    w=st.floats(1e-4, 1),
    xi=st.floats(-10, 10).map(lambda x: round(x, 3)),  # scipy's own powers underflow to NaN
    omega=st.floats(0.1, 100),
    alpha=st.floats(-50, 50).filter(lambda a: abs(a) > 1e-3),  # scipy gives NaN at 0
)
def test_closed_form_moments_equal_scipys(w, xi, omega, alpha):
    expected = [
        w * stats.skewnorm.moment(k, alpha, xi, omega) + (1 - w) * stats.norm.moment(k, scale=0.001)
        for k in range(1, 5)
    ]
    got = mixture_moments(*(np.float64(p) for p in (w, xi, omega, alpha)))
    scale = [w * (abs(xi) + omega) ** k for k in range(1, 5)]
    np.testing.assert_allclose(got / scale, np.array(expected) / scale, atol=1e-6)


@pytest.mark.parametrize("parameters", [(1e-3, 1.0, 20.0, 3.0), (0.05, -0.5, 2.0, 10.0), (1e-6, 2.0, 50.0, -4.0)])
def test_fit_recovers_a_mixture_from_its_moments(parameters):
    moments = mixture_moments(*map(np.float64, parameters))
    assert fit_mixture(moments).mismatch < 1e-6
    # Four moments can have two exact solutions; the true one must be among them.
    fits = np.array([(m.w, m.xi, m.omega, m.alpha) for m in exact_mixtures(moments)])
    assert np.abs(fits / parameters - 1).max(axis=1).min() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_fit_is_no_worse_than_the_papers_grid(seed):
    # Moments of a real network's kind, for which the mixture need not have an exact solution.
    moments = np.array([np.mean(network_like(3000, 3, seed) ** k) for k in range(1, 5)])
    axes = np.logspace(-9, -3, 24), np.linspace(-10, 10, 24), np.logspace(-1, 3, 24), np.linspace(-50, 50, 24)
    best = mismatch(moments, mixture_moments(*np.meshgrid(*axes, indexing="ij"))).min()
    assert fit_mixture(moments).mismatch <= best + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_goes_by_the_closed_form_moments_and_their_slopes(seed):
    rng = np.random.default_rng(seed)
    x, wanted, unit = rng.uniform((-9, -2, -1, -4), (0, 2, 1, 4)), rng.normal(size=4), rng.uniform(0.1, 3)

    def errors(x):
        return mixture_moments(np.exp(x[0]), x[1] * unit, np.exp(x[2]), np.sinh(x[3])) / wanted - 1

    found, slopes = _relative(wanted, unit, x)
    np.testing.assert_allclose(found, errors(x))
    steps = 1e-6 * np.eye(4)
    differences = np.stack([(errors(x + h) - errors(x - h)) / 2e-6 for h in steps], axis=1)
    np.testing.assert_allclose(slopes, differences, rtol=1e-5, atol=1e-6 * np.abs(differences).max())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "moments",
    [  # of trained networks: no mixture has exactly these, and the nearest skew normals are as steep as they get
        (1.23406661e-02, 4.12464638e00, 2.03311343e03, 1.03023840e06),
        (8.48587370e-05, 1.45376045e-02, 4.51975236e-01, 2.68523882e01),
        (-1e-12, 1e-20, -1e-30, 1e-38),
    ],
)
def test_fit_is_silent_and_finite(moments):
    fit = fit_mixture(np.array(moments))
    assert np.isfinite([fit.w, fit.xi, fit.omega, fit.alpha, fit.mismatch]).all()
    assert 0 <= fit.cdf(-0.1) <= fit.cdf(0.1) <= 1 + 1e-12


# --- what all share -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "lanczos", "moments"])
def test_every_method_answers_in_the_same_form(method):
    s = spectrum(symmetric(network_like(200, 20)), 0.1, method, eigenvalues=True)
    parts = s.negative.count, s.degenerate.count, s.positive.count
    assert sum(parts) == pytest.approx(200, abs=1e-6)
    written = s.to_json()
    assert [written[k] for k in ("parameters", "window", "method", "how")] == [200, 0.1, method, s.how]
    assert (written["extremes"][0] is None) == (method == "moments")
    assert (written["eigenvalues"] is None) == (method != "exact")
    assert str(s).splitlines()[0] == f"Spectrum of 200 eigenvalues, {method}"
    assert str(s.negative) in str(s)
    assert len(str(s)) < 500
    assert set(s.to_json()["negative"]) == {"count", "fraction", "interval"}
    grid = 0.1 * np.sinh(np.linspace(-12, 12, 40_001))
    mass = np.trapezoid(s.density(grid), grid)
    assert mass == pytest.approx(1, abs=0.02)


def test_spectrum_is_invariant_to_rotation_and_scales_with_the_window():
    eigenvalues = network_like(120, 30)
    a, b = (spectrum(symmetric(eigenvalues, seed), 0.1) for seed in (1, 2))
    c = spectrum(10 * symmetric(eigenvalues, 3), 1.0)
    assert a.degenerate == b.degenerate == c.degenerate


def test_rounding_is_no_share_for_people():
    assert Count(1e-28, (0.0, 1.0), 100).percent == 0
    assert Count(2.0, (2.0, 2.0), 100).percent == pytest.approx(2)
