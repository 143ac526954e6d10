"""Products by oneDNN against double precision, whatever lies in memory how, and what is taken by it."""

import pytest
import torch

from nonsingular import onednn

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
LAYOUTS = {
    "rows": lambda t: t,
    "columns": lambda t: t.mT,
    "one row": lambda t: t[:1].expand(*t.shape),
    "one column": lambda t: t[:, :1].expand(*t.shape),
    "one number": lambda t: t[0, 0].expand(*t.shape),
    "every second column": lambda t: t.repeat(1, 2)[:, ::2],
    "every second row": lambda t: t.repeat(2, 1)[::2],
    "part of columns": lambda t: t.repeat(1, 2)[:, 3:15].mT,
    "overlapping": lambda t: t.flatten()[: 2 * len(t)].as_strided(t.shape, (1, 1)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", range(3))
def test_products_are_right_in_every_layout(layout, which):
    matrices = [torch.randn(12, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    matrices[which] = LAYOUTS[layout](matrices[which])
    a, b, c = matrices
    exact = a.double() @ b.double()
    torch.testing.assert_close(onednn.product(a, b).double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(onednn.product_and(a, b, c).double(), exact + c, rtol=1e-5, atol=1e-5)
    exact = a.double() @ b.double().mT + c[0]
    torch.testing.assert_close(onednn.affine(a, b, c[0]).double(), exact, rtol=1e-5, atol=1e-5)


def test_what_is_no_number_stays_none():
    x, weight, bias = torch.randn(5, 4), torch.randn(3, 4), torch.randn(3)
    x[1, 2], x[3, 0] = torch.nan, torch.inf
    torch.testing.assert_close(onednn.affine(x, weight, bias), x @ weight.mT + bias, equal_nan=True)
    assert onednn.product(x, weight.mT)[1].isnan().all()
    assert onednn.product_and(x, weight.mT, torch.zeros(5, 3))[1].isnan().all()


def test_large_products_of_single_precision_are_taken():
    a, b = torch.zeros(200, 200), torch.zeros(200, 100)
    assert onednn.large(a, b)
    assert not onednn.large(a[:100], b)
    assert not onednn.large(a.double(), b.double())
    assert not onednn.large(a.to("meta"), b.to("meta"))  # nor of any other device


@pytest.mark.parametrize(("name", "taken"), [("AMD EPYC 9V74", True), ("Intel(R) Xeon(R) Processor", False)])
def test_it_is_taken_where_the_other_library_is_not_at_home(name, taken, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(onednn, "processor", lambda: name)
    assert onednn.available() == taken


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (4,), (0, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_give_what_they_give(shape, bias, monkeypatch):
    monkeypatch.setattr(onednn, "LARGE", 1)
    layer, x = torch.nn.Linear(4, 3, bias=bias), torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(onednn.forward(layer, x), layer(x))
    onednn.forward(layer, x).square().sum().backward()  # what is differentiated has its graph
    slope = layer.weight.grad.clone()
    layer.zero_grad()
    layer(x).square().sum().backward()
    torch.testing.assert_close(slope, layer.weight.grad)
