"""Blocks of layers as a table, and the partner that factors them."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from models import case
from torch import nn
from torch.nn import functional as F

from nonsingular.curvature import KFAC, GaussNewton, Hessian, by_layer
from nonsingular.errors import InputError


def test_blocks_by_layer_are_those_of_the_matrix():
    H = Hessian(*case("residual tanh"))
    dense, table = H.dense(), by_layer(H)
    assert list(table.block.values) == ["stem", "layers.0", "layers.1", "layers.2", "head"]
    start = 0
    for block in table.block.values:
        row = table.sel(block=block)
        part = slice(start, start := start + int(row.parameters))
        values = torch.linalg.eigvalsh(dense[part, part])
        assert float(row.trace) == pytest.approx(float(values.sum()))
        assert float(row.smallest) == pytest.approx(float(values[0]), abs=1e-12)
        assert float(row.largest) == pytest.approx(float(values[-1]))
    assert start == H.shape[0]


def test_large_blocks_are_estimated_with_intervals():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 3)).double()
    H = GaussNewton(model, F.cross_entropy, [(torch.randn(40, 30).double(), torch.randint(3, (40,)))])
    dense, table = H.dense(), by_layer(H, {"first": "0", "biases": "*.bias"})
    first = dense[:620, :620]
    row = table.sel(block="first")
    assert float(row.trace_low) <= float(first.trace()) <= float(row.trace_high)
    assert float(row.largest) == pytest.approx(float(torch.linalg.eigvalsh(first)[-1]), abs=float(row.residual) + 1e-12)
    assert int(table.parameters.sel(block="biases")) == 23


def test_tables_need_parameters():
    with pytest.raises(InputError, match="no 'neck'"):
        by_layer(Hessian(*case("residual tanh")), {"neck": "neck"})


def test_kfac_without_its_partner_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(InputError, match=r"pip install '?curvlinops"):
        KFAC(*case("relu mlp"))


def test_kfac_takes_a_singular_factor_for_that_and_refuses_broken_ones():
    found = object.__new__(KFAC)
    found._partner = SimpleNamespace(logdet=math.nan, frobenius_norm=1.0, trace=2.0)
    assert found.logdet() == -math.inf
    assert found.trace(products=7).value == 2
    for act in (lambda: found.trace(prodcuts=7), lambda: found.frobenius(method="xtrace")):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            act()
    found._partner = SimpleNamespace(logdet=math.nan, frobenius_norm=math.nan, trace=math.nan)
    for act in (found.logdet, found.trace, found.frobenius):
        with pytest.raises(InputError, match="NaN or infinite"):
            act()


def test_kfac_is_gauss_newton_of_one_linear_layer_and_one_sample():
    pytest.importorskip("curvlinops", reason="the extra kfac is not installed")
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    batch = (torch.randn(1, 4).double(), torch.randint(3, (1,)))
    K, G = (
        KFAC(model, F.cross_entropy, [batch], params="weight"),
        GaussNewton(model, F.cross_entropy, [batch], "weight"),
    )
    torch.testing.assert_close(K.dense(), G.dense())
    assert (K + 0.1).solve(torch.ones(12, dtype=torch.float64)).converged
    with pytest.raises(InputError, match="a loss that curvlinops knows"):
        KFAC(model, F.l1_loss, [(batch[0], torch.randn(1, 3).double())])
