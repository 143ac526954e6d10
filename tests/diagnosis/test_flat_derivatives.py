"""Second derivatives of networks of straight pieces, and derivatives that are right."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import scene
from nonsingular.diagnosis.contract.curvature import flat, zero_output
from nonsingular.diagnosis.flat_derivatives import Derivatives
from nonsingular.diagnosis.loop import Observer, tapped
from nonsingular.diagnosis.loop.statistics import MEASURES

STRAIGHT = [nn.ReLU, nn.LeakyReLU, nn.Hardtanh, nn.PReLU, nn.ReLU6]
CURVED = [nn.Tanh, nn.SiLU, nn.Softplus, nn.GELU, nn.ELU]


def built(activation):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 1))


def derivative(y, x, **how):
    return torch.autograd.grad(y.sum(), x, create_graph=True, **how)[0]


def residual(model, batch):
    x = batch[0].clone().requires_grad_()
    slope = derivative(model(x), x)
    return (derivative(slope[:, :1], x)[:, :1] - batch[1]).square().mean() + model(x).square().mean()


def penalty(model, batch):
    x = batch[0].clone().requires_grad_()
    out = model(x)
    return F.mse_loss(out, batch[1]) + (derivative(out, x).norm(dim=1) - 1).square().mean()


def by_weights(model, batch):
    weights = list(model.parameters())
    loss = F.mse_loss(model(batch[0]), batch[1])
    first = torch.autograd.grad(loss, weights, create_graph=True)
    size = sum(g.square().sum() for g in first)
    return loss + 1e-3 * sum(g.abs().sum() for g in torch.autograd.grad(size, weights, create_graph=True))


class Handed(nn.Module):
    """Returns its second derivative, by whatever function, beside its value."""

    def __init__(self, activation, how):
        super().__init__()
        self.body, self.how = built(activation), how

    def forward(self, x):
        if self.how == "functions":
            curvature = torch.func.vmap(torch.func.hessian(lambda p: self.body(p).squeeze()))(x)
            return self.body(x), curvature.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
        x = x.clone().requires_grad_()
        value = self.body(x)
        return value, derivative(derivative(value, x), x).sum(1, keepdim=True)


def both(output, target):
    return F.mse_loss(output[1], target) + output[0].square().mean()


def looked(model, loss):
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    return scene(problem(model, loss, [(x, x[:, :1].sin())], 512))


def watched(activation, loss):
    model, observer = built(activation), Observer()
    optimiser = torch.optim.Adam(model.parameters())
    with observer.tape, tapped(observer):
        for x in torch.randn(6, 32, 2):
            optimiser.zero_grad()
            loss(model, (x, x[:, :1].sin())).backward()
            optimiser.step()
    return MEASURES["loop-flat-derivative"](observer.finish())


@pytest.mark.parametrize("activation", STRAIGHT)
def test_second_derivatives_of_straight_pieces_are_flat(activation):
    found = flat(looked(built(activation), residual))
    assert found.value == 1
    assert found.where.startswith("test_flat_derivatives.py:")
    assert watched(activation, residual).value == 1


@pytest.mark.parametrize("activation", CURVED)
def test_those_of_curved_ones_are_not(activation):
    assert flat(looked(built(activation), residual)).value == 0
    assert watched(activation, residual).value == 0


@pytest.mark.parametrize("loss", [penalty, by_weights])
def test_first_derivatives_and_those_by_weights_are_none(loss):
    assert not flat(looked(built(nn.ReLU), loss)).value > 0
    assert not watched(nn.ReLU, loss).value > 0


def test_a_last_layer_that_begins_with_zeros_is_not_flat():
    model = built(nn.Tanh)
    nn.init.zeros_(model[-1].weight)

    def lifted(model, batch):  # a solution with its boundary values, whose network begins as nothing
        x = batch[0].clone().requires_grad_()
        slope = derivative(x[:, :1] + x[:, :1] * (1 - x[:, :1]) * model(x), x)
        return (derivative(slope[:, :1], x) - 1).square().mean()

    assert flat(looked(model, lifted)).value == 0


@pytest.mark.parametrize("how", ["autograd", "functions"])
def test_an_output_that_is_zero_whatever_the_weights_is_told(how):
    seen = looked(Handed(nn.ReLU, how), both)
    assert [flat(seen).value == 1, zero_output(seen).value == 1] == [how == "autograd", how == "functions"]
    seen = looked(Handed(nn.Tanh, how), both)
    assert not flat(seen).value > 0
    assert not zero_output(seen).value > 0


def test_what_is_linear_in_an_input_on_purpose_is_not_flat_by_its_activation():
    kept, net = Derivatives(), built(nn.Tanh)
    x, y = torch.randn(8, 2).requires_grad_(), torch.randn(8, 1).requires_grad_()
    u = net(x) + y * net(x + 1)
    first = derivative(u, y)
    assert kept.is_flat(u, y, first) is None
    assert kept.is_flat(first, y, derivative(first, y, materialize_grads=True)) is False


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_derivatives_within_vmap_are_passed_over(activation):
    kept, net = Derivatives(), built(activation)
    x = torch.randn(8, 2).requires_grad_()
    u = net(x)
    [g] = torch.autograd.grad(u.sum(), x, create_graph=True)
    kept.is_flat(u, x, g)

    def row(v):
        [second] = torch.autograd.grad(g, x, v.expand_as(g), create_graph=True)
        assert kept.is_flat(g, x, second) is None
        return second

    assert torch.vmap(row)(torch.eye(2)).shape == (2, 8, 2)
