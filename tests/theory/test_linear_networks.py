import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from nonsingular.errors import InputError
from nonsingular.theory import linear_networks as ln

S = np.array([3.0, 1.5])
networks = some.sampled_from(ln.NETWORKS)
seeds = some.integers(0, 1000)


def test_equations_16_to_19_are_the_gradient_of_26():
    rng = np.random.default_rng(0)
    A, B, U, V = rng.standard_normal((4, 3, 2))
    step = 1e-6
    path = ln.three_layer_trajectory(S, A, B, [0, step], U=U, V=V)
    moved = np.stack([path.a[1] - A, path.b[1] - B]) / step
    a, b = (torch.tensor(x, requires_grad=True) for x in (A, B))
    energy = ((torch.diag(torch.tensor(S)) - (b + torch.tensor(U)).T @ (a + torch.tensor(V))) ** 2).sum() / 2
    energy.backward()
    np.testing.assert_allclose(moved, -np.stack([a.grad.numpy(), b.grad.numpy()]), rtol=1e-3, atol=1e-3)
    assert ln.three_layer_energy(A, B, S, U, V) == pytest.approx(energy.item())


@settings(max_examples=20, deadline=None)
@given(seed=seeds, skips=some.booleans())
def test_three_layer_hessian_agrees_with_automatic_differentiation(seed, skips):
    A, B, U, V = np.random.default_rng(seed).standard_normal((4, 3, 2))
    U, V = (U, V) if skips else (0 * U, 0 * V)

    def energy(p):
        a, b = p.reshape(2, 2, 3).transpose(1, 2)
        return ((torch.diag(torch.tensor(S)) - (b + torch.tensor(U)).T @ (a + torch.tensor(V))) ** 2).sum() / 2

    expected = torch.func.hessian(energy)(torch.tensor(np.concatenate([A.T.ravel(), B.T.ravel()]))).numpy()
    np.testing.assert_allclose(ln.three_layer_hessian(A, B, S, U, V), expected, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, network=networks, layers=some.integers(2, 8))
def test_mode_gradient_and_hessian_agree_with_automatic_differentiation(seed, network, layers):
    c = ln.skip_strengths(network, layers)
    a = np.random.default_rng(seed).standard_normal(layers - 1)

    def energy(p):
        return (1.7 - (p + torch.tensor(c)).prod()) ** 2 / 2

    gradient, hessian = torch.func.grad(energy)(torch.tensor(a)), torch.func.hessian(energy)(torch.tensor(a))
    scale = np.abs(hessian.numpy()).max()
    np.testing.assert_allclose(ln.mode_gradient(a, 1.7, c), gradient.numpy(), atol=1e-12 * scale, rtol=1e-12)
    np.testing.assert_allclose(ln.mode_hessian(a, 1.7, c), hessian.numpy(), atol=1e-12 * scale)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, network=networks)
def test_differences_of_squares_are_conserved(seed, network):
    """Gradient flow of a product keeps x_i^2 - x_j^2, x = a + c (Saxe et al. 2013)."""
    a = 0.5 * np.random.default_rng(seed).standard_normal(4)
    x = ln.mode_trajectory(network, 2.0, a, np.linspace(0, 3, 7)).a.values + ln.skip_strengths(network, 5)
    kept = x[:, 1:] ** 2 - x[:, :1] ** 2
    np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), atol=1e-5)


def test_three_layer_flow_conserves_the_balance():
    """(A + V)(A + V)^T - (B + U)(B + U)^T stays constant."""
    rng = np.random.default_rng(1)
    A, B = rng.standard_normal((2, 2, 2))
    skip = ln.hadamard_skips()
    path = ln.three_layer_trajectory(S, A, B, np.linspace(0, 5, 9), U=skip, V=skip)
    x, y = path.a.values + skip, path.b.values + skip
    balance = x @ x.transpose(0, 2, 1) - y @ y.transpose(0, 2, 1)
    np.testing.assert_allclose(balance, np.broadcast_to(balance[0], balance.shape), atol=1e-7)


def test_permuting_hidden_units_permutes_the_trajectory():
    A, B = np.random.default_rng(2).standard_normal((2, 3, 2))
    times = np.linspace(0, 4, 9)
    plain = ln.three_layer_trajectory(S, A, B, times)
    permuted = ln.three_layer_trajectory(S, A[[2, 0, 1]], B[[2, 0, 1]], times)
    np.testing.assert_allclose(permuted.a, plain.a.values[:, [2, 0, 1]], atol=1e-7)
    np.testing.assert_allclose(permuted.error, plain.error, atol=1e-7)


def test_symmetric_starts_stay_symmetric():
    path = ln.mode_trajectory("plain", 2.0, [0.3, 0.3, 0.3], np.linspace(0, 10, 5)).a
    np.testing.assert_allclose(path, np.repeat(path.values[:, :1], 3, axis=1), atol=1e-9)
    A = np.random.default_rng(0).standard_normal((2, 2))
    both = ln.three_layer_trajectory(S, A, A, np.linspace(0, 3, 5))
    np.testing.assert_allclose(both.a, both.b, atol=1e-9)


def test_results_do_not_depend_on_the_tolerance():
    times = np.linspace(0, 5, 11)
    A, B = np.random.default_rng(3).standard_normal((2, 2, 2))
    loose, tight = (ln.three_layer_trajectory(S, A, B, times, tolerance=t).error for t in (1e-6, 1e-11))
    np.testing.assert_allclose(loose, tight, atol=1e-5)
    loose, tight = (ln.mode_trajectory("residual", 3.0, [0.1, 0.2], times, tolerance=t).u for t in (1e-6, 1e-10))
    np.testing.assert_allclose(loose, tight, rtol=1e-4)


def test_the_plain_escape_time_from_equal_weights_is_known():
    """From a_l = e, a' = (s - a^n) a^(n-1): until u << s the time to reach a is (e^(2-n) - a^(2-n)) / (s (n - 2))."""
    n, s, e = 4, 2.0, 0.05
    a = 0.3
    until = (e ** (2 - n) - a ** (2 - n)) / (s * (n - 2))
    path = ln.mode_trajectory("plain", s, [e] * n, [0.0, until])
    assert float(path.a[-1, 0]) == pytest.approx(a, rel=0.01)


@pytest.mark.parametrize(
    ("network", "place"), [("plain", (0, 0)), ("residual", (-1, -1)), ("hyper-residual", (-1, -2))]
)
def test_each_network_has_one_saddle(network, place):
    np.testing.assert_allclose(ln.saddles(network, 3.0), [place], atol=1e-9)
    flow = ln.phase_portrait(network, 3.0, [float(place[0]), 0.7], [float(place[1]), 0.9])
    assert float(flow.speed[0, 0]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("network", ln.NETWORKS)
@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (4, 5, 3, 4)], ids=["square", "rectangular"])
def test_matrices_follow_the_mode_equations(network, sizes):
    strengths = np.array([[0.3, 0.4], [0.5, 0.2], [0.25, 0.35]])
    c = ln.skip_strengths(network, 4)
    W, target = ln.aligned_matrices(strengths, sizes, S, shared=network != "plain", seed=1)
    duration = 1.0 if network == "plain" else 0.2
    left, _, right = np.linalg.svd(target)
    gaps = []
    for steps in (400, 800):
        found = ln.matrix_descent(W, target, c, steps, duration / steps)
        modes = np.einsum("om,toi,mi->tm", left[:, :2], found["map"].values, right[:2])
        expected = [ln.mode_trajectory(network, S[m], strengths[:, m], found.time.values).u for m in range(2)]
        gaps.append(np.abs(modes - np.stack(expected, axis=1)).max() / np.abs(modes).max())
    assert gaps[0] < 0.03
    assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.05)  # what is left is the error of Euler's method


@pytest.mark.parametrize("c", [0.0, 1.0])
def test_matrix_gradient_agrees_with_automatic_differentiation(c):
    rng = np.random.default_rng(0)
    W = [rng.standard_normal(shape) for shape in ((5, 4), (3, 5), (4, 3))]
    target = rng.standard_normal((4, 4))
    tensors = [torch.tensor(w, requires_grad=True) for w in W]
    product = torch.eye(4, dtype=torch.float64)
    for w in tensors:
        product = (w + c * torch.eye(*w.shape, dtype=torch.float64)) @ product
    (((torch.tensor(target) - product) ** 2).sum() / 2).backward()
    for found, tensor in zip(ln.matrix_gradient(W, target, [c] * 3), tensors, strict=True):
        np.testing.assert_allclose(found, tensor.grad.numpy(), atol=1e-10)


def test_the_captions_start_traps_the_plain_network():
    A, B = np.ones((2, 2)) / np.sqrt(2), np.array([[1.0, 1.0], [-1.0, -1.0]]) / np.sqrt(2)
    path = ln.three_layer_trajectory(S, A, B, np.linspace(0, 40, 81))
    np.testing.assert_allclose(path.strength[-1], [3.0, 0.0], atol=1e-6)
    assert ln.time_to_converge(path.time, path.error) == np.inf


def test_time_to_converge():
    assert ln.time_to_converge([0, 1, 2, 3], [1, 0.001, 0.5, 0.001]) == 3
    assert ln.time_to_converge([0, 1], [0.001, 0.001]) == 0
    assert ln.time_to_converge([0, 1], [1, np.nan]) == np.inf


def test_parameters_outside_their_domain_are_named():
    with pytest.raises(InputError, match="network must be one of"):
        ln.skip_strengths("dense", 3)
    with pytest.raises(InputError, match="layers"):
        ln.skip_strengths("plain", 1)
    with pytest.raises(InputError, match="singular values"):
        ln.three_layer_trajectory([-1.0, 1.0], np.ones((2, 2)), np.ones((2, 2)), [0, 1])
    with pytest.raises(InputError, match="times"):
        ln.mode_trajectory("plain", 1.0, [0.1], [1.0, 2.0])
    with pytest.raises(InputError, match="chain"):
        ln.matrix_descent([np.ones((2, 3)), np.ones((2, 3))], np.ones((2, 3)), [0, 0], 1, 0.1)
    with pytest.raises(InputError, match="widths of at least"):
        ln.aligned_matrices(np.ones((2, 2)), (2, 1, 2), S, shared=True)
