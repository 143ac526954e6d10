"""Gauss-Newton and Fisher matrices against their definitions, densely."""

import numpy as np
import pytest
import torch
from models import Residual, labelled
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from nonsingular.curvature import EmpiricalFisher, GaussNewton, Hessian, MonteCarloFisher
from nonsingular.errors import InputError


def network(activation=torch.tanh):
    torch.manual_seed(0)
    return Residual(activation, depth=1).double()


def weighted():
    return nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), ignore_index=2)


def batches(kind, sizes=(6, 3)):
    torch.manual_seed(1)
    pairs = [labelled(n, 6) for n in sizes]
    targets = {
        "classes": lambda y: y,
        "squares": lambda y: torch.randn(len(y), 3),
        "bits": lambda y: torch.rand(len(y), 3),
    }
    return [(x.double(), t if (t := targets[kind](y)).dtype == torch.int64 else t.double()) for x, y in pairs]


LOSSES = {
    "cross-entropy": (F.cross_entropy, "classes"),
    "weighted cross-entropy, a class ignored": (weighted(), "classes"),
    "summed cross-entropy": (nn.CrossEntropyLoss(reduction="sum"), "classes"),
    "squares": (F.mse_loss, "squares"),
    "summed squares": (nn.MSELoss(reduction="sum"), "squares"),
    "bits": (F.binary_cross_entropy_with_logits, "bits"),
}


def jacobian(model, x):
    params = {k: p.detach() for k, p in model.named_parameters()}
    parts = torch.func.jacrev(lambda p: functional_call(model, p, (x,)))(params)
    return torch.cat([j.reshape(*j.shape[:2], -1) for j in parts.values()], dim=2)  # [sample, output, P]


@pytest.mark.parametrize("name", LOSSES)
def test_written_out_curvature_equals_differentiation(name):
    loss_fn, kind = LOSSES[name]
    reduction = "sum" if "summed" in name else "mean"
    model, data = network(), batches(kind, sizes=(6,))
    G = GaussNewton(model, loss_fn, data, reduction=reduction)
    differentiated = GaussNewton(model, lambda z, y: loss_fn(z, y), data, reduction=reduction)
    torch.testing.assert_close(G.dense(), differentiated.dense(), rtol=1e-10, atol=1e-12)
    v = torch.randn(G.shape[0], dtype=torch.float64)
    torch.testing.assert_close(G @ v, G.recomputed_product(v), rtol=1e-10, atol=1e-12)
    assert torch.linalg.eigvalsh(G.dense())[0] > -1e-12


def test_classes_over_positions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Conv1d(4, 3, 1)).double()
    x, y = torch.randn(5, 2, 6).double(), torch.randint(3, (5, 4))
    y[0, :2] = -100
    G, other = (GaussNewton(model, f, [(x, y)]) for f in (F.cross_entropy, lambda z, t: F.cross_entropy(z, t)))
    torch.testing.assert_close(G.dense(), other.dense())


@pytest.mark.parametrize("name", ["cross-entropy", "squares", "bits", "another"])
def test_empirical_fisher_is_the_mean_of_outer_products(name):
    loss_fn, kind = LOSSES.get(name, (F.smooth_l1_loss, "squares"))
    model, data = network(), batches(kind)
    # Of squares and bits a term is the sum over the three outputs, and its weight a third.
    expected, total = 0.0, sum(len(x) for x, _ in data) / (3 if name in ("squares", "bits") else 1)
    for x, y in data:
        for i in range(len(x)):
            gradient = torch.autograd.grad(loss_fn(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters()))
            g = torch.cat([t.flatten() for t in gradient])
            expected = expected + torch.outer(g, g) / total
    E = EmpiricalFisher(model, loss_fn, data)
    torch.testing.assert_close(E.dense(), expected, rtol=1e-9, atol=1e-12)
    v = torch.randn(E.shape[0], dtype=torch.float64)
    torch.testing.assert_close(E.recomputed_product(v), expected @ v, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["weighted cross-entropy, a class ignored", "squares", "bits"])
def test_monte_carlo_fisher_is_an_unbiased_gauss_newton(name):
    loss_fn, kind = LOSSES[name]
    model, data = network(), batches(kind, sizes=(6,))
    G = GaussNewton(model, loss_fn, data).dense()
    one = [MonteCarloFisher(model, loss_fn, data, draw_seed=seed).dense() for seed in range(3)]
    many = MonteCarloFisher(model, loss_fn, data, draws=600).dense()
    off = [float((m - G).norm() / G.norm()) for m in (*one, many)]
    assert off[-1] < 0.2
    assert np.mean(off[:-1]) > 3 * off[-1]
    assert len({float(m.trace()) for m in one}) > 1
    again = MonteCarloFisher(model, loss_fn, data, draw_seed=2)
    v = torch.randn(len(G), dtype=torch.float64)
    torch.testing.assert_close(again @ v, one[2] @ v)
    torch.testing.assert_close(again.recomputed_product(v), one[2] @ v)


def test_all_are_the_same_where_the_model_is_linear_and_predicts_well():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3).double(), torch.randn(4000, 4).double()
    y = torch.distributions.Categorical(logits=model(x)).sample()
    H, G, E, M = (
        kind(model, F.cross_entropy, [(x, y)]).dense()
        for kind in (Hessian, GaussNewton, EmpiricalFisher, MonteCarloFisher)
    )
    torch.testing.assert_close(H, G)
    for estimate in (E, M):
        assert (estimate - G).norm() < 0.1 * G.norm()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: MonteCarloFisher(network(), F.l1_loss, batches("squares")), "this loss is none of them"),
        (lambda: MonteCarloFisher(network(), F.mse_loss, batches("squares"), draws=0), "draws must be at least 1"),
        (
            lambda: EmpiricalFisher(network(), nn.MSELoss(reduction="sum"), batches("squares"), reduction="sum"),
            "a mean over samples",
        ),
        (
            lambda: EmpiricalFisher(
                nn.Sequential(network(), nn.Flatten(0)),
                lambda z, t: ((z - t.flatten()) ** 2).mean(),
                batches("squares"),
            ),
            "leading axis counts the 6 samples",
        ),
    ],
)
def test_one_clear_error(act, message):
    with pytest.raises(InputError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
