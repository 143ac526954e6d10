"""Losses that raise on values: a finding with the call and the value, no ending; other errors stay as they are."""

import pytest
import torch
import torch.nn.functional as F
from torch import distributions, nn

import nonsingular as ns
from nonsingular.diagnosis.contract.finite import _forward_remedy
from nonsingular.diagnosis.contract.refusals import of_call
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.errors import InputError

torch.manual_seed(0)
X, Y = torch.randn(64, 6), torch.randn(64, 1)
SIGNS = (Y > 0).float()


def net(outputs, *after):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, outputs), *after)


def unlikely(distribution, target, *parameters):
    """Minus the log-likelihood, checked: a process that has used torch.compile has the checks turned off."""
    return -distribution(*parameters, validate_args=True).log_prob(target).mean()


def own(output, target):
    if (output < 0).any():
        raise ValueError("no rate is negative")
    return (output - target).square().mean()


@pytest.mark.parametrize(("model", "loss", "target", "kind", "what"), [
    (net(2), lambda o, t: F.gaussian_nll_loss(o[:, :1], t, o[:, 1:]), Y, "output-range", "Column 1 of the output"),
    (net(1), F.binary_cross_entropy, SIGNS, "output-range", "The output must be between 0 and 1"),
    (net(2), lambda o, t: unlikely(distributions.Normal, t, o[:, :1], o[:, 1:]), Y, "output-range", "Column 1"),
    (net(1), lambda o, t: unlikely(distributions.Bernoulli, t, o), SIGNS, "output-range", "between 0 and 1"),
    (net(4), lambda o, t: torch.linalg.cholesky(o.view(-1, 2, 2)).sum() + t.mean(), Y, "output-range", "definite"),
    (net(1, nn.Softplus()), lambda o, t: unlikely(distributions.Poisson, t, o), Y, "invalid-targets", "whole"),
    (net(1), own, Y, "output-range", "positive"),
])  # fmt: skip
def test_what_raises_on_values_is_a_finding(model, loss, target, kind, what):
    first = ns.diagnose(model, loss, [(X, target)], curvature=False).findings[0]
    assert first.kind == kind
    assert what in first.remedy
    assert "raises" in first.evidence[0]["measure"]
    assert first.evidence[1]["value"] < 0


def test_a_batch_behind_the_first_may_be_the_one():
    outputs = torch.cat([torch.full((64, 1), 0.4), torch.full((64, 1), -0.4)])

    class Given(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 0 + x[:, :1]

    found = ns.diagnose(Given(1, 1), F.binary_cross_entropy, list(zip(outputs.split(64), SIGNS.repeat(2, 1).split(64),
                        strict=True)), curvature=False)  # fmt: skip
    assert "output-range" in [f.kind for f in found.findings]


def test_with_steps_no_copy_is_trained_and_that_is_said():
    found = ns.diagnose(net(1), F.binary_cross_entropy, [(X, SIGNS)], curvature=False, steps=5)
    assert found.learns is None
    assert any("no copies were trained" in note for note in found.look.notes)


def test_errors_of_shapes_and_types_end_as_before():
    with pytest.raises(InputError, match="cannot be multiplied"):
        ns.diagnose(net(3), lambda o, t: (o @ t).mean(), [(X, Y)], curvature=False)
    with pytest.raises(InputError, match="Long"):
        ns.diagnose(net(1), F.cross_entropy, [(X, torch.zeros(64))], curvature=False)


def test_of_a_call_the_argument_is_named():
    assert of_call(F.gaussian_nll_loss, [X, X, X], {}).words == "the var of gaussian_nll_loss"
    assert of_call(F.binary_cross_entropy, [X.sigmoid(), X[:3]], {}) is None


def test_a_step_that_stops_there_is_told_why():
    def step(model, batch, optimiser):
        out = model(batch[0])
        return F.gaussian_nll_loss(out[:, :1], batch[1], out[:, 1:])

    (found,) = ns.rehearse(net(2), step, [(X, Y)]).findings
    assert found.kind == "output-range"
    assert "test_refusals.py" in found.where
    assert "var of gaussian_nll_loss must be positive" in found.remedy


@pytest.mark.parametrize(("name", "given", "words"), [
    ("log", [-1.0, 2.0], "negative"), ("log", [0.0, 2.0], "away from zero"), ("log2", [-1e-3], "negative"),
    ("sqrt", [-1.0], "negative"), ("rsqrt", [0.0], "away from zero"), ("pow", [-2.0], "whole powers"),
    ("exp", [1e3], "subtract its maximum"), ("log1p", [-2.0], "above -1"), ("acos", [2.0], "inside its domain"),
])  # fmt: skip
def test_remedies_are_for_the_numbers_that_were_given(name, given, words):
    x = torch.tensor(given)
    assert words in _forward_remedy(Op(name, (x,), {}, x, "", "", True))
