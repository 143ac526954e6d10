"""Designs that share much with mistakes, and the mistakes beside them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import scene, targets, terms
from nonsingular.diagnosis.findings import findings
from nonsingular.diagnosis.healthy import limits
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.tokens import chance_of_tokens


def seen(model, loss, pairs):
    return scene(problem(model, loss, pairs, 512))


def kinds(model, loss, pairs):
    return [f.kind for f in ns.diagnose(model, loss, pairs, curvature=False).findings]


@pytest.mark.parametrize("kind", [nn.SmoothL1Loss(), nn.L1Loss(), nn.HuberLoss()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("size", [1.0, 1e5])
def test_losses_with_one_slope_far_from_their_targets_do_not_ignore_them(kind, size):
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    y = size * (3 + x[:, :1])
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
    assert targets.ignored(seen(model, kind, [(x, y)])).value < 1
    assert targets.ignored(seen(model, lambda out, y: kind(out, y * 0), [(x, y)])).value > 4


def triples(near=0.3):
    g = torch.Generator().manual_seed(0)
    anchor, other = torch.randn(2, 64, 6, generator=g)
    return torch.stack([anchor, anchor + near * torch.randn(64, 6, generator=g), other], 1)


class Alike(nn.Module):
    """Embeddings of three points a sample, in one tensor or in three."""

    def __init__(self, apart):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.apart = nn.Linear(6, 4), apart

    def forward(self, x):
        return tuple(self.body(x).unbind(1)) if self.apart else self.body(x)


def hinge(sign):
    def loss(output, target):
        anchor, one, other = output if isinstance(output, tuple) else output.unbind(1)
        gap = (anchor - one).square().sum(1) - (anchor - other).square().sum(1)
        return F.relu(sign * gap + 1).mean()

    return loss


@pytest.mark.parametrize("apart", [True, False])
def test_what_a_loss_by_hand_draws_together_is_known_by_its_slope(apart):
    data = [(triples(), torch.zeros(64))]
    right, wrong = (terms.near_and_far(seen(Alike(apart), hinge(sign), data)) for sign in (1, -1))
    assert right.value < -3 < 3 < wrong.value
    assert wrong.value == pytest.approx(-right.value, rel=1e-6)  # the same two distances
    channels = nn.Sequential(nn.Linear(6, 12), nn.Unflatten(1, (3, 4)))
    assert math.isnan(terms.near_and_far(seen(channels, hinge(-1), [(triples()[:, 0], torch.zeros(64))])).value)
    together = terms.near_and_far(seen(Alike(False), lambda output, target: output.var(1).mean(), data))
    assert math.isnan(together.value)  # nothing is driven apart


class Gan(nn.Module):
    """A judge, and a generator that ``forward`` does not call."""

    def __init__(self):
        super().__init__()
        self.generator, self.judge = nn.Linear(2, 8), nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.judge(x)


class Drawn(Gan):
    """Its generator has a method of its own."""

    def drawn(self, count):
        return self.generator(torch.randn(count, 2))


class Begun(Gan):
    """Its generator is only begun."""

    def begin(self):
        nn.init.zeros_(self.generator.bias)


class Helped(Gan):
    """Its generator is called by a helper of ``forward``, in a case that does not come."""

    def forward(self, x):
        return self.judge(self.ready(x))

    def ready(self, x):
        return self.generator(x) if x.ndim == 3 else x


class Renewed(Drawn):
    """Its method no longer calls the generator."""

    def drawn(self, count):
        return torch.randn(count, 8)


@pytest.mark.parametrize(
    ("kind", "told"), [(Gan, True), (Begun, True), (Drawn, False), (Helped, True), (Renewed, True)]
)
def test_parts_that_another_method_calls_are_not_forgotten(kind, told):
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    found = kinds(kind(), nn.BCEWithLogitsLoss(), [(x, x[:, :1].gt(0).float())])
    assert ("untrained-parameters" in found) is told


class AtMark(nn.Module):
    """Attention over a mark and inputs, read at the mark alone."""

    def __init__(self, batch_first):
        super().__init__()
        torch.manual_seed(0)
        self.mark, self.head = nn.Parameter(torch.randn(8)), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

    def forward(self, x):
        x = torch.cat([self.mark.expand(len(x), 1, 8), x], 1)
        return self.head(self.attention(x, x, x)[0][:, 0])


def test_samples_that_see_one_another_are_told_where_no_output_shows_it():
    x = torch.randn(24, 5, 8, generator=torch.Generator().manual_seed(0))
    data = [(x, x[:, 0, :3].argmax(1))]
    first, *rest = ns.diagnose(AtMark(False), F.cross_entropy, data, curvature=False).findings
    assert first.kind == "samples-mixed"
    assert "batch_first=True" in first.remedy
    assert first.evidence[0]["value"] != 1
    assert all(f.because == "samples-mixed" for f in rest)
    assert "samples-mixed" not in kinds(AtMark(True), F.cross_entropy, data)


class Asking(nn.Module):
    """Questions of its own, asked of what stands along the samples' axis."""

    def __init__(self, questions):
        super().__init__()
        torch.manual_seed(0)
        self.question, self.head = nn.Parameter(torch.randn(questions, 8)), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        if x.ndim == 2:
            return self.head(self.attention(self.question, x, x)[0].mean(0)).expand(len(x), 3)
        return self.head(self.attention(self.question.expand(len(x), -1, 8), x, x)[0].mean(1))


@pytest.mark.parametrize("shape", [(64, 4, 8), (64, 8)])
def test_answers_that_are_the_same_for_all_samples_are_mixed_samples(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    data = [(x, x.flatten(1)[:, :3].argmax(1))]
    assert "samples-mixed" in kinds(Asking(4), F.cross_entropy, data)


def test_flat_directions_alone_are_no_illness_and_stand_beside_what_brings_them_about():
    flat = Statistic(0.999, ("a",), "share")
    assert findings({"flat": flat}, limits()) == []
    both = findings({"flat": flat, "signal-decades": Statistic(-9.0, ("a",), "decades")}, limits())
    assert [(f.kind, f.because) for f in both] == [
        ("vanishing-signal", ""),
        ("degenerate-curvature", "vanishing-signal"),
    ]
    beside = findings({"flat": flat, "constant-goal": Statistic(1.0, (), "goal")}, limits())
    assert [f.kind for f in beside] == ["invalid-targets"]


@pytest.mark.parametrize(("grown", "first"), [(2.0, "exploding-signal"), (1.6, "saturated-output")])
def test_outputs_that_are_large_because_the_signal_grows_are_told_by_that(grown, first):
    large = Statistic(1.8, ("a",), "decades")
    found = findings({"output-scale": large, "signal-decades": Statistic(grown, ("a",), "decades")}, limits())
    assert found[0].kind == first
    assert found[0].severity == pytest.approx(0.9)


def test_large_outputs_of_bytes_are_not_put_down_to_the_signals_growth():
    bytes_, grown = Statistic(1.8, ("a",), "decades"), Statistic(2.0, ("a",), "decades")
    missing = Statistic(math.nan, (), "")
    numbers = {"raw-bytes": bytes_, "signal-decades": grown, "output": missing, "output-scale": missing}
    assert findings(numbers, limits())[0].kind == "saturated-output"


def test_nothing_is_said_of_ids_that_may_mean_something_only_together():
    """What a user makes of an item hangs on both: counts and places of ids cannot tell."""
    g = torch.Generator().manual_seed(0)
    pairs = torch.stack([torch.randint(60, (512,), generator=g), torch.randint(60, 100, (512,), generator=g)], 1)
    user, item = torch.randn(60, generator=g), torch.randn(100, generator=g)
    together = user[pairs[:, 0]] * item[pairs[:, 1]]
    assert not chance_of_tokens(pairs, together) > 0.1
    liked = item[pairs[:, 1]]
    assert chance_of_tokens(pairs, liked) <= 0.01
