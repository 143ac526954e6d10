"""Both ways of computing linear layers against the formulas in double precision."""

import pytest
import torch
import torch.nn.functional as F

from nonsingular import onednn
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import Population, products
from nonsingular.training.linear_stacks import LinearStack, cross_entropy_gradient
from nonsingular.training.products import Batched, OneByOne

built = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN")
WAYS = [Batched(), pytest.param(OneByOne(), marks=built)]


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def close(ours, exact):
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_layers_are_their_formulas(way, runs):
    x, weight, bias = drawn(runs, 7, 5), drawn(runs, 4, 5), drawn(runs, 1, 4)
    skip, delta, out = drawn(runs, 4, 4), drawn(runs, 7, 4), torch.empty(runs, 7, 4)
    h = x.double() @ weight.double().mT + bias.double()
    close(way.affine(x, weight, bias, out), h)
    close(way.affine(x, weight, bias, torch.empty(runs, 4, 7).mT), h)
    through = delta.double() @ skip.double()
    close(way.product(delta, skip, out), through)
    close(way.product(delta, skip.mT, out), delta.double() @ skip.double().mT)
    close(way.product(delta, skip, out, plus=2 * delta), through + 2 * delta)
    total = delta.clone()
    close(way.product(delta, skip, total, plus=total), through + delta)
    by_weights = torch.empty(runs, 4, 5)
    way.over_samples(delta, x, by_weights)
    close(by_weights, delta.double().mT @ x.double())


@built
@pytest.mark.parametrize("skip", ["none", "identity", "orthogonal", "hyper"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_networks_of_large_products_have_autograds_gradients(skip, activation, monkeypatch):
    monkeypatch.setattr(onednn, "LARGE", 0)
    monkeypatch.setattr(onednn, "available", lambda: True)
    spec = NetworkSpec(4, 8, skip=skip, activation=activation)
    population = Population([build(spec, 8, 3, seed) for seed in range(2)])
    x, labels = drawn(2, 20, 8), torch.arange(40).view(2, 20) % 3
    losses = F.cross_entropy(population(x).flatten(0, 1), labels.flatten(), reduction="none")
    wanted = torch.autograd.grad(losses.view(2, 20).mean(1).sum(), list(population.parameters.values()))
    stack = LinearStack(population, 20)
    assert stack.runs == 1
    for part in stack.parts():
        stack.differentiate(part, x[part], lambda logits: cross_entropy_gradient(logits, labels[part]))  # noqa: B023
    for (name, p), expected in zip(population.parameters.items(), wanted, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_small_products_and_double_precision_are_batched(monkeypatch):
    monkeypatch.setattr(onednn, "available", lambda: True)
    large = torch.zeros(1, 128, 128)
    assert isinstance(products.products(500, large), OneByOne)
    assert isinstance(products.products(100, large), Batched)
    assert isinstance(products.products(500, large.double()), Batched)
    monkeypatch.setattr(onednn, "available", lambda: False)
    assert isinstance(products.products(500, large), Batched)
