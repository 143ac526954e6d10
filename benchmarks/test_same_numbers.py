"""The same numbers as curvlinops, for everything that both can give: no speed, a minute on one thread.

Run ``pytest benchmarks/test_same_numbers.py`` where curvlinops is installed (``make bench`` sets that up).
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonsingular.curvature import KFAC, EmpiricalFisher, GaussNewton, Hessian, MonteCarloFisher

curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is not installed here: `make bench` sets it up")
LOSSES = {"classes": (F.cross_entropy, nn.CrossEntropyLoss()), "squares": (F.mse_loss, nn.MSELoss())}


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


def damped(peer: Any, damping: float) -> Any:
    from curvlinops.examples import IdentityLinearOperator

    shapes = [p.shape for p in brought("classes")[0].parameters()]
    return peer + damping * IdentityLinearOperator(shapes, torch.device("cpu"), torch.float64)
