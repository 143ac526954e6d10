"""Parts of a loss that change with the weights and have no gradient, and what is held fixed on purpose."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import scene
from nonsingular.diagnosis.contract.cut_terms import cut_term


def slope(model, x, **how):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x, **how)[0]


def error(model, batch):
    return F.mse_loss(model(batch[0]), batch[1])


def no_graph(model, batch):
    return error(model, batch) + (slope(model, batch[0]).norm(dim=1) - 1).square().mean()


def within(model, batch):
    return (model(batch[0]) - batch[1] + slope(model, batch[0]).sum(1, keepdim=True)).square().mean()


def without(model, batch):
    with torch.no_grad():
        size = model(batch[0]).square().mean()
    return error(model, batch) + 0.1 * size


def of_data(model, batch):
    return error(model, batch) + 0.01 * sum(p.data.square().sum() for p in model.parameters())


def graph(model, batch):
    return error(model, batch) + slope(model, batch[0], create_graph=True).norm(dim=1).mean()


def attack(model, batch):
    return error(model, (batch[0] + 0.1 * slope(model, batch[0]), batch[1]))


def first_order(model, batch):
    fast = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    inner = F.mse_loss(torch.func.functional_call(model, fast, (batch[0],)), batch[1])
    steps = torch.autograd.grad(inner, list(fast.values()))
    fast = {name: p - 0.1 * g for (name, p), g in zip(model.named_parameters(), steps, strict=True)}
    return F.mse_loss(torch.func.functional_call(model, fast, (batch[0],)), batch[1])


def bootstrapped(model, batch):
    with torch.no_grad():
        goal = batch[1] + 0.9 * model(batch[0])
    return F.mse_loss(model(batch[0]), goal)


def shown(model, batch):  # the value of one loss, the gradient of another
    loss, other = error(model, batch), model(batch[0]).abs().mean()
    return loss + (other - loss).detach()


def weighed(model, batch):
    loss, other = error(model, batch), model(batch[0]).abs().mean()
    return loss + loss.detach() / other.detach() * other


def rewarded(model, batch):
    value = model(batch[0])
    return -(value * (batch[1] - value.detach())).mean()


@pytest.mark.parametrize("loss", [no_graph, within, without, of_data])
def test_what_changes_with_the_weights_and_has_no_gradient(loss):
    found, model = looked(loss)
    assert found.value == 1
    assert found.where.startswith("test_cut_terms.py:")
    assert ("create_graph" in found.remedy.partition(":")[0]) == (loss in (no_graph, within))
    torch.manual_seed(0)  # and the weights are as before
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), built().parameters(), strict=True))


@pytest.mark.parametrize("loss", [error, graph, attack, first_order, bootstrapped, shown, weighed, rewarded])
def test_what_is_held_fixed_on_purpose(loss):
    assert looked(loss)[0].value == 0


def built():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def looked(loss):
    torch.manual_seed(0)
    model = built()
    x = torch.randn(32, 2)
    return cut_term(scene(problem(model, loss, [(x, x[:, :1] * x[:, 1:])], 512))), model


class Derived(nn.Module):
    """Returns its derivative by its input, too, if it is asked to."""

    def __init__(self, derives):
        super().__init__()
        self.body, self.derives = built(), derives

    def forward(self, x):
        x = x.clone().requires_grad_()
        value = self.body(x)
        if self.derives:
            torch.autograd.grad(value.sum(), x, create_graph=True)
        return value


def test_derivatives_within_a_model_are_no_gradients_of_the_loss():
    x, seen = torch.randn(32, 2, generator=torch.Generator().manual_seed(0)), []
    for derives in (False, True):
        torch.manual_seed(0)
        found = ns.diagnose(Derived(derives), F.mse_loss, [(x, x[:, :1] * x[:, 1:])], curvature=False)
        seen.append([layer.gradient for layer in found.look.layers])
    assert seen[0] == seen[1]


def test_gradients_are_seen_where_a_loss_calls_parts_of_the_model():
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    parts = lambda model, batch: F.mse_loss(model.body(batch[0]), batch[1])  # noqa: E731
    for loss in (F.mse_loss, parts):
        torch.manual_seed(0)
        found = ns.diagnose(Derived(False), loss, [(x, x[:, :1] * x[:, 1:])], curvature=False)
        assert all(layer.gradient > 0 for layer in found.look.layers)
