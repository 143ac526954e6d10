"""Parts of a loss that change with the weights and have no gradient, and what is held fixed on purpose."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import scene
from nonsingular.diagnosis.contract.cut_terms import cut_term
from nonsingular.diagnosis.loop import Observer, tapped
from nonsingular.diagnosis.loop.statistics import MEASURES


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


def uncertain(model, batch):  # the same probabilities have a graph in the other term
    out = model(batch[0])
    logits, fixed = torch.cat([out, -out], 1), torch.cat([out, -out], 1).detach()
    p, q = logits.softmax(1), fixed.softmax(1)
    return F.nll_loss(p.log(), (batch[1][:, 0] > 0).long()) + 0.1 * (q * q.log()).sum(1).mean()


@pytest.mark.parametrize("loss", [no_graph, within, without, of_data, uncertain])
def test_what_changes_with_the_weights_and_has_no_gradient(loss):
    found, model = looked(loss)
    assert found.value == 1
    assert found.where.startswith("test_cut_terms.py:")
    assert ("create_graph" in found.remedy.partition(":")[0]) == (loss in (no_graph, within))
    torch.manual_seed(0)  # and the weights are as before
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), built().parameters(), strict=True))


def averaged_codes(model, batch):
    z = model(batch[0])
    q = z.detach().round()
    return error(model, batch) + F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q)


HEALTHY = [error, graph, attack, first_order, bootstrapped, shown, weighed, rewarded, averaged_codes]


@pytest.mark.parametrize("loss", HEALTHY)
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


def shifted(model, batch):  # the largest is taken out of an exponential, and put back
    z = model(batch[0])
    m = z.max().detach()
    return error(model, batch) + 0.01 * (m + (z - m).exp().mean().log())


def moving(model, batch, past=[]):  # noqa: B006
    loss = error(model, batch)
    past.append(loss.item())
    return loss - sum(past) / len(past)


def twice(model, batch):  # each part has a backward pass of its own
    loss = error(model, batch)
    loss.backward(retain_graph=True)
    return 0.01 * model(batch[0]).abs().mean() + loss.detach()


def logged(model, batch):
    loss, other = error(model, batch), model(batch[0]).abs().mean()
    _ = loss.item() + 0.1 * other.item()
    return loss + 0.1 * other + 1e-3


def of_targets(model, batch):
    return error(model, batch) + batch[1].mean()


def added(cut):
    def loss(model, batch):
        out = model(batch[0])
        return F.mse_loss(out, batch[1]) + 0.1 * cut(out)

    return loss


def without_graph(out):
    with torch.no_grad():
        return out.abs().mean()


CUTS = [
    lambda out: out.abs().mean().detach(), lambda out: out.abs().mean().item(), lambda out: out.abs().mean().data,
    lambda out: float(out.abs().mean().detach()), lambda out: torch.tensor(out.abs().mean().item()), without_graph,
    lambda out: torch.from_numpy(out.abs().mean().detach().numpy()), lambda out: (out > 0).float().mean(),
    lambda out: sum(part.mean().item() for part in out.split(8)), lambda out: F.mse_loss(out.detach(), 0.5 * out.data),
]  # fmt: skip


def cut_in_a_loop(loss, step=lambda optimiser, model: optimiser(model.parameters())):
    """Share of the steps of a watched loop with a term that is cut."""
    torch.manual_seed(0)
    model, observer = built(), Observer()
    batches = [(x, x[:, :1] * x[:, 1:]) for x in torch.randn(8, 32, 2)]
    with observer.tape, tapped(observer):
        optimiser = step(torch.optim.Adam, model)
        for batch in batches:
            optimiser.zero_grad()
            loss(model, batch).backward()
            optimiser.step()
    return MEASURES["loop-cut-terms"](observer.finish()).value


@pytest.mark.parametrize("cut", CUTS)
def test_terms_that_a_loop_adds_without_their_graph(cut):
    assert cut_in_a_loop(added(cut)) > 0.5


def at_risk(model, batch):  # the mean of the worst fifth, whose derivative by the quantile is zero
    losses = (model(batch[0]) - batch[1]).square()
    q = torch.quantile(losses, 0.8).item()
    return q + (losses - q).clamp(min=0).mean() / 0.2


def at_half_risk(model, batch):
    losses = (model(batch[0]) - batch[1]).square()
    q = torch.quantile(losses, 0.8).item()
    return 0.5 * q + (losses - q).clamp(min=0).mean() / 0.4


def shifted_by_number(model, batch):
    z = model(batch[0])
    m = z.max().item()
    return error(model, batch) + 0.01 * (m + (z - m).exp().mean().log())


def counted(model, batch):  # the value of a count, the gradient of a soft one that is computed twice
    out = model(batch[0])
    soft = torch.sigmoid(out)
    return F.mse_loss(out, batch[1]) + 0.01 * (soft.sum() + ((soft > 0.5).float().sum() - soft.sum()).detach())


def in_turn(model, batch, turns=itertools.count()):  # noqa: B008
    out = model(batch[0])
    a, b = F.mse_loss(out, batch[1]), out.abs().mean()
    return a + b.detach() if next(turns) % 2 else a.detach() + b


def later(model, batch, steps=itertools.count()):  # noqa: B008
    out = model(batch[0])
    size = out.abs().mean()
    if next(steps) < 4:
        size = size.detach()
    return F.mse_loss(out, batch[1]) + size


ON_PURPOSE = [
    error, shown, weighed, averaged_codes, shifted, moving, twice, logged, of_targets, at_risk, at_half_risk,
    shifted_by_number, counted, in_turn, later,
]  # fmt: skip


@pytest.mark.parametrize("loss", ON_PURPOSE)
def test_what_a_loop_adds_without_a_graph_on_purpose(loss):
    assert not cut_in_a_loop(loss) > 0


def test_a_term_of_what_the_optimiser_does_not_hold_is_none_of_its_loss():
    last = lambda optimiser, model: optimiser(model[-1].parameters())  # noqa: E731
    features = lambda model, batch: error(model, batch) + 0.1 * model[0](batch[0]).abs().mean().detach()  # noqa: E731
    assert cut_in_a_loop(features) > 0.5
    assert not cut_in_a_loop(features, last) > 0


def test_a_term_whose_own_weights_have_another_pass_is_not_cut():
    torch.manual_seed(0)
    trunk, one, other, observer = built()[:2], nn.Linear(8, 1), nn.Linear(8, 1), Observer()
    with observer.tape, tapped(observer):
        optimisers = [torch.optim.Adam([*trunk.parameters(), *head.parameters()]) for head in (one, other)]
        for x in torch.randn(8, 32, 2):
            h = trunk(x)
            for optimiser in optimisers:
                optimiser.zero_grad()
            (F.mse_loss(one(h), x[:, :1]) + F.mse_loss(other(h), x[:, 1:]).detach()).backward()
            optimisers[0].step()
            optimisers[1].zero_grad()
            F.mse_loss(other(trunk(x)), x[:, 1:]).backward()
            optimisers[1].step()
    assert not MEASURES["loop-cut-terms"](observer.finish()).value > 0
