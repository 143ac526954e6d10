"""Rewritten recordings: the same products as the calls that were recorded, with fewer of them."""

import copy

import pytest
import torch
from models import NAMES, case
from torch import nn
from torch.nn import functional as F

from nonsingular import onednn
from nonsingular.curvature import Hessian, Jacobian, linearise, simplify

CONV, BACKWARD = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default


def calls(module, *targets):
    return sum(node.target in targets for node in module.graph.nodes)


def as_recorded(monkeypatch, *problem):
    with monkeypatch.context() as patch:
        patch.setattr(linearise, "simplify", lambda graph, constants: None)
        patch.setattr(linearise, "join_convolutions", lambda graph: None)
        H = Hessian(*problem, mode="own")
        assert H.linearised
    return H


@pytest.mark.parametrize("name", NAMES)
def test_same_products(name, monkeypatch):
    plain, H = as_recorded(monkeypatch, *case(name)), Hessian(*case(name), mode="own")
    V = torch.randn(H.shape[0], 3, dtype=torch.float64)
    expected = torch.stack([plain @ v for v in V.T], dim=1)
    one_by_one = torch.stack([H @ v for v in V.T], dim=1)
    torch.testing.assert_close(one_by_one, expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))
    torch.testing.assert_close(H @ V, expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def normalised():
    torch.manual_seed(0)
    layers = [m for c in (3, 4, 4) for m in (nn.Conv2d(c, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 25, 3)).double().eval()
    return model, F.cross_entropy, [(torch.randn(6, 3, 5, 5).double(), torch.randint(3, (6,)))]


def test_fewer_calls(normalised, monkeypatch):
    before, after = (m._linear_maps()[0] for m in (as_recorded(monkeypatch, *normalised), Hessian(*normalised)))
    mul, addcmul = torch.ops.aten.mul.Tensor, torch.ops.aten.addcmul.default
    assert calls(after.graph, mul, addcmul) < calls(before.graph, mul, addcmul)
    # Two of three layers have a convolution of what is below them; every other pair is one call when called alone.
    assert calls(after._call, CONV) == calls(after.graph, CONV) - 2
    assert calls(after._call, BACKWARD) == calls(after.graph, BACKWARD) - 2


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("available", [True, False])
def test_large_products_are_onednns(available, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 5))
    problem = model, F.cross_entropy, [(torch.randn(120, 200), torch.arange(120) % 5)]
    exact = Hessian(copy.deepcopy(model).double(), F.cross_entropy, [(problem[2][0][0].double(), problem[2][0][1])])
    monkeypatch.setattr(onednn, "available", lambda: available)
    H = Hessian(*problem)
    large = calls(H._linear_maps()[0]._call, onednn.product, simplify._product_and)
    assert large >= 6 if available else large == 0
    assert H._linear_maps()[0].large == available
    v = torch.randn(H.shape[0])
    torch.testing.assert_close((H @ v).double(), exact @ v.double(), rtol=1e-4, atol=1e-6)
    w = torch.randn_like(v)
    torch.testing.assert_close(H @ torch.stack([v, w], 1), torch.stack([H @ v, H @ w], 1), rtol=1e-4, atol=1e-6)
    J = Jacobian(model, problem[2])
    torch.testing.assert_close(J @ torch.stack([v, w], 1), torch.stack([J @ v, J @ w], 1), rtol=1e-4, atol=1e-6)
