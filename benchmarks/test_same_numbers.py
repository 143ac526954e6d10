"""The same numbers as curvlinops and PyHessian, for all that they and we can give: no speed, a minute on one thread.

Run ``pytest benchmarks/test_same_numbers.py`` where they are installed (``make bench`` sets that up).
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonsingular.curvature import KFAC, EmpiricalFisher, GaussNewton, Hessian, Jacobian, MonteCarloFisher, spectrum
from peers import split

pyhessian = pytest.importorskip("pyhessian.hessian", reason="PyHessian is not installed here: `make bench` does that")
curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is not installed here: `make bench` sets it up")
LOSSES: dict[str, Any] = {"classes": (F.cross_entropy, nn.CrossEntropyLoss()), "squares": (F.mse_loss, nn.MSELoss())}


def brought(kind: str) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    batches = [torch.randn(n, 6).double() for n in (20, 12)]
    targets = [torch.randint(3, (len(x),)) if kind == "classes" else torch.randn(len(x), 3).double() for x in batches]
    return model, list(zip(batches, targets, strict=True))


def theirs(operator: Any, kind: str, **options: Any) -> Any:
    model, batches = brought(kind)
    return operator(model, LOSSES[kind][1], list(model.parameters()), batches, **options)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    ("ours", "name"),
    [(Hessian, "HessianLinearOperator"), (GaussNewton, "GGNLinearOperator"), (EmpiricalFisher, "EFLinearOperator")],
)
def test_matrices(ours: Any, name: str, kind: str) -> None:
    model, batches = brought(kind)
    mine, peer = ours(model, LOSSES[kind][0], batches), theirs(getattr(curvlinops, name), kind)
    torch.testing.assert_close(mine.dense(), peer @ torch.eye(mine.shape[0], dtype=torch.float64))


@pytest.mark.parametrize("kind", LOSSES)
def test_drawn_fishers_have_one_mean(kind: str) -> None:
    model, batches = brought(kind)
    mine = MonteCarloFisher(model, LOSSES[kind][0], batches, draws=300)
    peer = theirs(curvlinops.FisherMCLinearOperator, kind, mc_samples=300)
    matrix = peer @ torch.eye(mine.shape[0], dtype=torch.float64)
    assert (mine.dense() - matrix).norm() < 0.2 * matrix.norm()


def test_kronecker_factors() -> None:
    model, batches = brought("classes")
    mine = KFAC(model, F.cross_entropy, batches)
    peer = theirs(curvlinops.KFACLinearOperator, "classes", fisher_type=curvlinops.FisherType.TYPE2)
    torch.testing.assert_close(mine.dense(), peer @ torch.eye(mine.shape[0], dtype=torch.float64))


@pytest.mark.parametrize(("kind", "name"), [("kfac", "KFACLinearOperator"), ("ekfac", "EKFACLinearOperator")])
def test_inverses_of_kronecker_factors(kind: str, name: str) -> None:
    model, batches = brought("classes")
    K = KFAC(model, F.cross_entropy, batches, kind=kind)
    peer = theirs(getattr(curvlinops, name), "classes", fisher_type=curvlinops.FisherType.TYPE2)
    eye = torch.eye(K.shape[0], dtype=torch.float64)
    torch.testing.assert_close(K.dense(), peer @ eye)
    torch.testing.assert_close(K.inverse(0.1).dense(), torch.linalg.inv(K.dense() + 0.1 * eye))
    G = GaussNewton(model, F.cross_entropy, batches)
    v = torch.ones(G.shape[0], dtype=torch.float64)
    plain, helped = (G.solve(v, 1e-3, preconditioner=p) for p in (None, K.inverse(1e-3)))
    torch.testing.assert_close(helped.x, plain.x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "name"), [("kfac", "KFACLinearOperator"), ("ekfac", "EKFACLinearOperator")])
def test_numbers_of_kronecker_factors(kind: str, name: str) -> None:
    model, batches = brought("squares")
    K = KFAC(model, F.mse_loss, batches, kind=kind)
    matrix = K.dense()
    assert K.trace().value == pytest.approx(float(matrix.trace()))
    assert K.frobenius().value == pytest.approx(float(matrix.norm()))
    values = torch.linalg.eigvalsh(matrix)
    assert K.logdet() == pytest.approx(float(values.log().sum()), rel=1e-6) or float(values[0]) < 1e-12


def test_jacobians() -> None:
    model, batches = brought("classes")
    J = Jacobian(model, batches)
    both = [curvlinops.JacobianLinearOperator, curvlinops.TransposedJacobianLinearOperator]
    forth, back = (A(model, list(model.parameters()), batches) for A in both)
    torch.testing.assert_close(J.dense(), forth @ torch.eye(J.shape[1], dtype=torch.float64))
    torch.testing.assert_close(J.T.dense(), back @ torch.eye(J.shape[0], dtype=torch.float64))


def test_traces_and_diagonals_that_use_every_vector_twice() -> None:
    model, batches = brought("classes")
    G, peer = GaussNewton(model, F.cross_entropy, batches), theirs(curvlinops.GGNLinearOperator, "classes")
    found = [G.trace(method="xtrace", products=40, seed=seed) for seed in range(20)]
    others = torch.stack([curvlinops.xtrace(peer, 40) for _ in range(20)])
    error = float(others.std()) / 20**0.5 + max(f.interval[1] - f.interval[0] for f in found)
    assert abs(sum(f.value for f in found) / 20 - float(others.mean())) <= error
    ours = torch.stack([G.diagonal(method="xdiag", products=40, seed=seed).values for seed in range(20)]).mean(0)
    mean = torch.stack([curvlinops.xdiag(peer, 40) for _ in range(20)]).mean(0)
    assert (ours - mean).norm() <= 0.1 * mean.norm()


def test_inverses_by_lsmr_and_neumann() -> None:
    model, batches = brought("classes")
    G, peer = GaussNewton(model, F.cross_entropy, batches), damped(theirs(curvlinops.GGNLinearOperator, "classes"), 0.5)
    v = torch.ones(G.shape[0], dtype=torch.float64)
    lsmr = curvlinops.LSMRInverseLinearOperator(peer, atol=1e-12, btol=1e-12, maxiter=1000)
    torch.testing.assert_close(G.solve(v, 0.5, method="lsmr").x, lsmr @ v, rtol=1e-6, atol=1e-7)
    scale = 1 / (float(torch.linalg.eigvalsh(G.dense())[-1]) + 0.5)
    series = curvlinops.NeumannInverseLinearOperator(peer, num_terms=4, scale=scale) @ v  # five terms, from 0 on
    with pytest.warns(UserWarning, match="Neumann"):
        cut = G.solve(v, 0.5, lambda r: scale * r, method="neumann", max_products=5, tolerance=1e-14)
    torch.testing.assert_close(cut.x, series)


def test_norms() -> None:
    model, batches = brought("classes")
    H = Hessian(model, F.cross_entropy, batches)
    squared = float(curvlinops.hutchinson_squared_fro(theirs(curvlinops.HessianLinearOperator, "classes"), 100))
    low, high = H.frobenius().interval
    assert low**2 * 0.8 <= squared <= high**2 * 1.2
    assert low <= float(H.dense().norm()) <= high


def test_traces_diagonals_solutions_and_blocks() -> None:
    model, batches = brought("classes")
    G, peer = GaussNewton(model, F.cross_entropy, batches), theirs(curvlinops.GGNLinearOperator, "classes")
    low, high = G.trace().interval
    assert low <= float(curvlinops.hutchpp_trace(peer, 90)) * 1.1
    assert float(curvlinops.hutchpp_trace(peer, 90)) * 0.9 <= high
    diagonal = curvlinops.xdiag(peer, 100)
    assert (G.diagonal().values - diagonal).norm() < 0.1 * diagonal.norm()
    v = torch.ones(G.shape[0], dtype=torch.float64)
    inverse = curvlinops.CGInverseLinearOperator(damped(peer, 0.1), eps=0, tolerance=1e-10)
    torch.testing.assert_close(G.solve(v, damping=0.1).x, inverse @ v, rtol=1e-5, atol=1e-7)
    rows = [*range(48, 56)]
    part = curvlinops.SubmatrixLinearOperator(peer, rows, rows)
    torch.testing.assert_close(G.block("0.bias").dense(), part @ torch.eye(8, dtype=torch.float64))
    off = curvlinops.SubmatrixLinearOperator(peer, rows, [*range(48)])
    torch.testing.assert_close(G.block("0.bias", "0.weight").dense(), off @ torch.eye(48, dtype=torch.float64))


def damped(peer: Any, damping: float) -> Any:
    from curvlinops.examples import IdentityLinearOperator

    shapes = [p.shape for p in brought("classes")[0].parameters()]
    return peer + damping * IdentityLinearOperator(shapes, torch.device("cpu"), torch.float64)


# --- PyHessian ----------------------------------------------------------------------------------------------


def both_hessians(kind: str, whole: bool) -> tuple[Hessian, Any]:
    """Ours and PyHessian's, of one batch, whose graph it keeps, or of all of a loader's."""
    model, batches = brought(kind)
    data = {"dataloader": batches} if whole else {"data": batches[0]}
    peer = pyhessian.hessian(brought(kind)[0], LOSSES[kind][1], **data, cuda=False)
    return Hessian(model, LOSSES[kind][0], batches if whole else batches[:1]), peer


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("whole", [False, True])
def test_pyhessian_multiplies_as_we_do(kind: str, whole: bool) -> None:
    H, peer = both_hessians(kind, whole)
    v = torch.randn(H.shape[0], dtype=torch.float64)
    parts = split(v, peer.params)
    theirs = (
        peer.dataloader_hv_product(parts)[1]
        if whole
        else pyhessian.hessian_vector_product(peer.gradsH, peer.params, parts)
    )
    torch.testing.assert_close(H @ v, torch.cat([p.flatten() for p in theirs]))


@pytest.mark.parametrize("kind", LOSSES)
def test_pyhessian_finds_the_same_eigenvalues_and_trace(kind: str) -> None:
    H, peer = both_hessians(kind, whole=True)
    theirs, vectors = peer.eigenvalues(maxIter=2000, tol=1e-12, top_n=3)
    pairs = H.eigenpairs(3)
    torch.testing.assert_close(pairs.values, torch.tensor(theirs, dtype=torch.float64), rtol=1e-5, atol=0.0)
    flat = torch.stack([torch.cat([p.flatten() for p in v]) for v in vectors], 1)
    overlap = (pairs.vectors.T @ flat).diagonal().abs()
    torch.testing.assert_close(overlap, torch.ones_like(overlap), rtol=1e-3, atol=0.0)
    signs = torch.tensor(peer.trace(maxIter=400, tol=0.0), dtype=torch.float64)
    error = float(signs.std()) / len(signs) ** 0.5
    low, high = H.trace().interval
    assert low - 4 * error <= float(signs.mean()) <= high + 4 * error
    assert abs(float(signs.mean()) - float(H.dense().trace())) <= 4 * error


@pytest.mark.parametrize("kind", LOSSES)
def test_pyhessian_sees_the_same_density(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It calls a function that PyTorch has dropped; this one gives what that gave, for a symmetric matrix.
    def eig(T: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(T)
        return torch.stack([values, torch.zeros_like(values)], 1), vectors

    monkeypatch.setattr(torch, "eig", eig, raising=False)
    H, peer = both_hessians(kind, whole=True)
    nodes, weights = (torch.tensor(x, dtype=torch.float64) for x in peer.density(iter=40, n_v=60))
    ours = spectrum(H, 0.05, "exact", eigenvalues=True)
    assert ours.eigenvalues is not None
    for window in (0.02, 0.05, 0.2):
        seen = (weights * (nodes.abs() > window)).sum(1)
        error = float(seen.std()) / len(seen) ** 0.5
        assert abs(float(seen.mean()) - (abs(ours.eigenvalues) > window).mean()) <= 4 * error + 1e-3
    assert float((weights * nodes).sum(1).mean()) * H.shape[0] == pytest.approx(ours.trace[0], rel=0.2)
