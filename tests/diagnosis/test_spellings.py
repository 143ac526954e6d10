"""Arithmetic by all its names: a program is read alike however it is spelled."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import nonsingular as ns
from nonsingular.diagnosis import arithmetic
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import finite, reductions, scene, terms

SPELLED = {
    "SUMS": ("a + b", "1 + a", "a.add(b)", "torch.add(a, b)", "sum([a, b])"),
    "DIFFERENCES": ("a - b", "a.sub(b)", "torch.subtract(a, b)"),
    "TURNED_DIFFERENCES": ("1 - a", "torch.rsub(a, b)"),
    "PRODUCTS": ("a * b", "2 * a", "torch.mul(a, b)", "a.multiply(b)"),
    "QUOTIENTS": ("a / b", "torch.div(a, b)", "a.divide(b)", "torch.true_divide(a, b)"),
    "TURNED_QUOTIENTS": ("1 / a",),
    "NEGATIONS": ("-a", "torch.neg(a)", "a.negative()"),
    "POWERS": ("a**2", "torch.pow(a, 2)", "a.float_power(2)"),
    "MATRIX_PRODUCTS": ("a @ b", "torch.mm(a, b)", "F.linear(a, b)", "torch.addmm(a, b, b)"),
}
CHANGED = {
    "SUMS": ("a += b", "a.add_(b)"),
    "DIFFERENCES": ("a -= b", "a.subtract_(b)"),
    "PRODUCTS": ("a *= b", "a.multiply_(b)"),
    "QUOTIENTS": ("a /= b", "a.true_divide_(b)"),
    "NEGATIONS": ("a.negative_()",),
    "POWERS": ("a **= 2", "a.float_power_(2)"),
}


class Names(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def called(program):
    a, b = (torch.rand(3, 3, dtype=torch.float64) for _ in range(2))
    with Names() as names:
        exec(program, {"a": a, "b": b, "torch": torch, "F": F})
    return set(names.seen)


@pytest.mark.parametrize(("kind", "program"), [(k, p) for k, programs in SPELLED.items() for p in programs])
def test_every_spelling_has_its_name_in_one_set(kind, program):
    names = called(program)
    assert [k for k in SPELLED if names <= getattr(arithmetic, k)] == [kind]


@pytest.mark.parametrize(("kind", "program"), [(k, p) for k, programs in CHANGED.items() for p in programs])
def test_what_changes_its_argument_has_the_name_of_what_does_not(kind, program):
    names = called(program)
    assert [k for k in CHANGED if names <= arithmetic.in_place(getattr(arithmetic, k))] == [kind]


def written_out(one, other):
    return one + other


def changed(one, other):
    one += other
    return one


def from_a_zero(one, other):
    total = torch.zeros(())
    total += one
    total += other
    return total


def from_a_list(one, other):
    return sum([one, other])


def scaled_later(one, other):
    total = 0.5 * one
    total -= -0.5 * other
    total *= 2
    return total


WAYS = [written_out, changed, from_a_zero, from_a_list, scaled_later]


@pytest.mark.parametrize("way", WAYS)
def test_terms_are_those_that_were_added_however_that_is_written(way):
    torch.manual_seed(0)
    x, model = torch.rand(64, 8), nn.Linear(8, 8)

    def loss(output, target):
        return way(F.mse_loss(output, target, reduction="sum"), output.abs().mean())

    found = scene(problem(model, loss, [(x, x)], 512))
    factor, output = 0.5 if way is scaled_later else 1.0, model(x).detach()
    expected = [factor * float(F.mse_loss(output, x, reduction="sum")), factor * float(output.abs().mean())]
    assert [abs(float(t.detach())) for t in terms.terms_of(found, found.loss)] == pytest.approx(expected)
    assert reductions.unlike(found).value > 2  # decades: a sum of 512 numbers, and their mean
    mine = torch.autograd.grad(found.loss, model.weight)[0]
    assert torch.allclose(mine, torch.autograd.grad(loss(model(x), x), model.weight)[0], rtol=1e-5)


class Variational(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(32, 16), nn.Linear(8, 32)

    def forward(self, x):
        mean, log_variance = self.encode(x).chunk(2, 1)
        return self.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean)), mean, log_variance


@pytest.mark.parametrize("way", WAYS)
def test_a_divergence_that_is_too_dear_is_found_however_it_is_added(way):
    torch.manual_seed(0)
    x = torch.rand(256, 32)

    def loss(output, target):
        image, mean, log_variance = output
        return way(F.mse_loss(image, target), (-0.5 * (1 + log_variance - mean**2 - log_variance.exp())).sum(1).mean())

    found = ns.diagnose(Variational(), loss, [(x, x)], curvature=False)
    assert [f.kind for f in found.findings] == ["lopsided-loss"]


@pytest.mark.parametrize("divided", [lambda x: 1 / x, lambda x: x / x, lambda x: torch.divide(1, x), torch.reciprocal])
def test_a_division_by_zero_is_said_to_be_one(divided):
    x = torch.rand(16, 4)

    def loss(output, target):
        return divided(output.relu() * 0).mean() + F.mse_loss(output, target)

    task = problem(nn.Linear(4, 4), loss, [(x, x)], 512)
    [found] = [s for s in finite.not_finite(task, task.batches[0]).values() if s.value == 1]
    assert found.remedy.startswith("Keep the divisor away from zero")


def kept(output, target):
    mse = F.mse_loss(output, target)
    half, kept = 0.5 * output.abs().mean(), 2 * mse
    mse += half
    return kept + half + mse


def added_to_itself(output, target):
    loss = F.mse_loss(output, target)
    extra = 0.1 * loss
    loss += extra
    return loss


def tried(output, target):
    loss = F.mse_loss(output, target)
    try:
        loss += output[:2, 0]
    except RuntimeError:
        loss += output.abs().mean()
    return loss


@pytest.mark.parametrize(("loss", "parts"), [(kept, 4), (added_to_itself, 2), (tried, 2)])
def test_what_read_a_number_before_it_changed_keeps_what_it_read(loss, parts):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1), torch.randn(32, 4)
    y = x[:, :1] + 1
    seen = scene(problem(model, loss, [(x, y)], 32))
    found = [float(t) for t in terms.terms_of(seen, seen.loss)]
    assert len(found) == parts
    assert sum(found) == pytest.approx(float(loss(model(x), y)), rel=1e-5)
    ns.diagnose(model, loss, [(x, y)], curvature=False)
