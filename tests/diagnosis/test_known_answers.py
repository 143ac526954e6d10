"""Known answers of what single checks measure, and what must not be taken for a mistake."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

import nonsingular as ns
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.bench import data_mistakes, patients, zoo
from nonsingular.diagnosis.contract import (
    floor,
    latents,
    layout,
    near_copies,
    reading,
    reductions,
    scene,
    slopes,
    targets,
    terms,
)
from nonsingular.diagnosis.contract.edges import turned_round
from nonsingular.diagnosis.contract.samples import fewer_classes
from nonsingular.diagnosis.loop.movement import factor, some, still_there
from nonsingular.diagnosis.loop.tape import Tape
from nonsingular.diagnosis.weights import drawn


def seen(model, loss, pairs):
    return scene(problem(model, loss, pairs, 512))


def tokens(seed=0):
    return torch.randn(64, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("init", [
    lambda p: None, nn.init.xavier_uniform_, nn.init.kaiming_normal_, nn.init.trunc_normal_, nn.init.zeros_,
])  # fmt: skip
def test_drawn_weights_are_known_from_trained_ones(init):
    torch.manual_seed(0)
    weight = nn.Linear(128, 64).weight
    init(weight)
    assert drawn(weight)
    size = weight.detach().std() + 1e-3
    trained = weight.detach() + 4 * size * (torch.rand_like(weight) < 0.05) * torch.randn_like(weight)
    assert not drawn(trained)


def test_how_much_of_a_step_is_left():
    before, after = [torch.zeros(4), torch.ones(2)], [torch.ones(4), torch.full((2,), 3.0)]
    assert still_there(before, after, after) == pytest.approx(1)
    assert still_there(before, after, before) == pytest.approx(0)
    half = [(a + b) / 2 for a, b in zip(before, after, strict=True)]
    assert still_there(before, after, half) == pytest.approx(0.5)
    assert math.isnan(still_there(before, before, after))
    assert len(some(torch.randn(100, 100), 64)) <= 64


def test_the_factor_in_front_of_a_loss():
    x = torch.randn(5, requires_grad=True)
    assert factor(x.square().mean()) == 1
    assert factor(1e-6 * x.square().mean()) == pytest.approx(1e-6)
    assert factor(-x.square().mean().mul(4) / 8) == pytest.approx(-0.5)
    assert factor(x.square().mean() * 3 / 6) == pytest.approx(0.5)


@pytest.mark.parametrize(("loss", "sign"), [
    (lambda logs, rewards: (logs * rewards).sum(), 1),
    (lambda logs, rewards: -(logs * rewards).sum(), -1),
    (lambda logs, rewards: (-logs * rewards).mean(), -1),
    (lambda logs, rewards: -(logs.exp() * rewards).mean(), -1),  # a ratio of probabilities
    (lambda logs, cost: (logs * cost).sum(), None),  # what is to be small
])  # fmt: skip
def test_which_way_rewards_lead(loss, sign):
    torch.manual_seed(0)
    tape, out = Tape(), torch.randn(16, 3, requires_grad=True)
    with tape:
        tape.begin(out)
        logs = out.log_softmax(1)[:, 0]
        root = loss(logs, torch.randn(16))
        told = tape.rewarded()
    if sign is None:
        assert not told
        return
    [slope] = torch.autograd.grad(root, [told[0].log_probability])
    assert float(F.cosine_similarity(slope, told[0].wanted, dim=0)) == pytest.approx(sign)


def test_images_of_bytes_have_neighbours_that_are_alike():
    torch.manual_seed(0)
    smooth = F.interpolate(torch.rand(32, 3, 4, 4), size=16, mode="bilinear")
    bytes_ = (smooth * 255).round() / 255
    shuffled = bytes_.flatten(1)[:, torch.randperm(3 * 256)].view_as(bytes_)
    model, y = nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), torch.arange(32) % 4
    assert layout.noise(seen(model, F.cross_entropy, [(bytes_, y)])).value < 0.3
    assert layout.noise(seen(model, F.cross_entropy, [(shuffled, y)])).value > 0.8
    assert math.isnan(layout.noise(seen(model, F.cross_entropy, [(torch.randn(32, 3, 16, 16), y)])).value)


@pytest.mark.parametrize("times", [10.0, 1.0, 0.1])
def test_a_term_without_targets_is_weighed_against_the_others(times):
    """Of a linear model: the gradient of times * |w|^2 / 2 is times * w."""
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 1, bias=False), tokens(), tokens(1)[:, :1]

    def loss(model, batch):
        return F.mse_loss(model(batch[0]), batch[1]) + times * model.weight.square().sum() / 2

    data = torch.autograd.grad(F.mse_loss(model(x), y), [model.weight])[0].norm()
    expected = torch.log10(times * model.weight.detach().norm() / data)
    found = terms.one_sided(seen(model, loss, [(x, y)]))
    assert math.isnan(found.value) or found.value == pytest.approx(float(expected), abs=1e-3)

    def of_output(output, target):
        return (F.mse_loss(output, target) + times * output.square().mean()) / 3

    out = model(x)
    first, second = (
        torch.autograd.grad(part, [model.weight], retain_graph=True)[0].norm()
        for part in (F.mse_loss(out, y), times * out.square().mean())
    )
    found = terms.one_sided(seen(model, of_output, [(x, y)]))
    assert found.value == pytest.approx(float(torch.log10(second / first)), abs=1e-3)


@pytest.mark.parametrize(
    ("data", "other", "apart"),
    [
        ("sum", "mean", 64 * 6),  # a number counts 1 in the one and 1 / 384 in the other
        ("mean", "sum", 64 * 6),
        ("sum", "sum", 1),
        ("mean", "mean", 1),
    ],
)
def test_a_sum_beside_a_mean_is_told_by_what_a_number_counts(data, other, apart):
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 6), tokens(), tokens(1)

    def loss(output, target):
        squares = output.square().sum() if other == "sum" else output.square().sum(1).mean() / 6
        return F.mse_loss(output, target, reduction=data) + 2 * squares / 2

    found = reductions.unlike(seen(model, loss, [(x, y)])).value
    assert found == pytest.approx(math.log10(apart), abs=1e-3)
    penalty = lambda model, batch: loss(model(batch[0]), batch[1]) + sum(p.sum() for p in model.parameters())  # noqa: E731
    assert reductions.unlike(seen(model, penalty, [(x, y)])).value == pytest.approx(
        found, abs=1e-3
    )  # no term of the outputs


def test_terms_between_the_heaviest_and_the_lightest_are_judged_too():
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 6), tokens(), tokens(1)

    def loss(output, target):  # a number counts 0.1, 1 and 1e-5: the first and the last are means
        return 38.4 * F.mse_loss(output, target) + F.l1_loss(output, target, reduction="sum") + 384e-5 * output.mean()

    def means(output, target):
        return 38.4 * F.mse_loss(output, target) + F.l1_loss(output, target) + 384e-5 * output.mean()

    def between(output, target):
        return 384 * F.mse_loss(output, target) + 0.01 * F.l1_loss(output, target, reduction="sum") + output.mean()

    assert reductions.unlike(seen(model, loss, [(x, y)])).value == pytest.approx(5, abs=0.01)
    assert reductions.unlike(seen(model, between, [(x, y)])).value == pytest.approx(2, abs=0.01)
    assert reductions.unlike(seen(model, means, [(x, y)])).value == 0

    def divided(output, target):  # by the samples: it grows with a batch no more
        return F.mse_loss(output, target) + 0.001 * F.l1_loss(output, target, reduction="sum") / len(target)

    def weighed(output, target):
        return F.mse_loss(output, target) + 0.1 * F.l1_loss(output, target, reduction="sum") / 2

    assert reductions.unlike(seen(model, divided, [(x, y)])).value == 0
    assert reductions.unlike(seen(model, weighed, [(x, y)])).value > 1


class Code(nn.Module):
    """Returns its input, and a Gaussian code's mean and spread as the divergence takes it."""

    def __init__(self, spread):
        super().__init__()
        self.spread, self.encode, self.decode = spread, nn.Linear(16, 6), nn.Linear(3, 16)

    def forward(self, x):
        mean, log = self.encode(x).chunk(2, 1)
        return self.decode(mean), mean, self.spread(log)


DIVERGENCES = {
    "variance": (lambda log: log, lambda m, v: -(1 + v - m**2 - v.exp()) / 2),
    "deviation": (lambda log: log / 2, lambda m, v: (m.square() + (2 * v).exp() - 2 * v - 1).mul(0.5)),
    "torch": (
        lambda log: (log / 2).exp(),
        lambda m, s: kl_divergence(Normal(m, s), Normal(0.0, 1.0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", DIVERGENCES)
@pytest.mark.parametrize("weight", [1.0, 0.01])
def test_a_code_may_cost_no_more_than_is_gained_by_it(how, weight):
    """Of standardised numbers the best constant has a mean square of one."""
    spread, divergence = DIVERGENCES[how]
    torch.manual_seed(0)
    model, x = Code(spread), torch.randn(64, 16)
    x = (x - x.mean(0)) / x.std(0, correction=0)

    def means(output, target):
        return F.mse_loss(output[0], target) + weight * divergence(*output[1:]).sum(1).mean()

    def sums(output, target):
        return ((output[0] - target) ** 2).sum() + weight * divergence(*output[1:]).sum()

    def samples(output, target):
        return ((output[0] - target).square().mean(1) + weight * divergence(*output[1:]).sum(1)).mean()

    def free(output, target):
        return F.mse_loss(output[0], target) + divergence(*output[1:]).mean(0).clamp(min=0.5).sum()

    def ridge(output, target):
        return F.mse_loss(output[0], target) + weight * output[1].square().mean()

    for loss, share in ((means, 1), (samples, 1), (sums, 1 / 16)):
        assert latents.too_dear(seen(model, loss, [(x, x)])).value == pytest.approx(share * weight, rel=1e-3)
    for loss in (free, ridge):
        assert math.isnan(latents.too_dear(seen(model, loss, [(x, x)])).value)


def test_rows_of_the_rare_class_are_looked_for_where_the_first_batch_has_none():
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 2), torch.randn(256, 6), (torch.arange(256) == 200).long()
    for weights, name in (([1.0, 255.0], "balanced"), ([255.0, 1.0], "enlarged")):
        loss = nn.CrossEntropyLoss(weight=torch.tensor(weights))
        shown = seen(model, loss, list(zip(x.split(32), y.split(32), strict=True)))
        assert targets.balanced(shown) == (name == "balanced")
        assert (targets.weighed(shown)["enlarged-lead"].value > 1) == (name == "enlarged")


def test_what_a_loss_does_not_look_at():
    model, x = nn.Linear(6, 4), tokens()
    y = torch.arange(64) % 4
    plain = targets.ignored(seen(model, F.cross_entropy, [(x, y)]))
    assert plain.value < 1
    none = targets.ignored(seen(model, lambda o, t: F.cross_entropy(o, t, label_smoothing=1.0), [(x, y)]))
    assert none.value > 5
    padded = torch.where(torch.arange(5) < 3, torch.randint(1, 4, (16, 5)), 0)
    sequences = nn.Sequential(nn.Linear(6, 20), nn.Unflatten(1, (4, 5)))
    left = targets.left_out(seen(sequences, nn.CrossEntropyLoss(ignore_index=0), [(x[:16], padded)]))
    assert left.value == 0  # padding


@pytest.mark.parametrize(("hard", "trained", "value"), [(True, False, 0), (False, False, 1), (False, True, 0.5)])
def test_a_hinge_that_no_sample_reaches_is_at_its_floor_and_not_blind(hard, trained, value):
    """Of each class samples come one after the other: from the last to the first, the targets say the same."""
    torch.manual_seed(0)
    model = nn.Linear(20, 16)
    if trained:
        model.weight.data = torch.eye(16, 20) + 0.01 * torch.randn(16, 20)
    one = seen(model, data_mistakes._mined(hard), [(torch.randn(64, 20), torch.arange(64) // 8)])
    assert floor.at_floor(one).value == value
    assert targets.ignored(one).value < 1


def test_a_loss_without_a_slope_anywhere_is_not_at_its_floor():
    one = seen(nn.Linear(6, 4), lambda o, t: 0 * F.cross_entropy(o, t), [(tokens(), torch.arange(64) % 4)])
    assert floor.at_floor(one).value == 0


@pytest.mark.parametrize("turn", [lambda x: x + 0.02 * torch.randn(x.shape), lambda x: x.flip(-1)])
@pytest.mark.parametrize("classes", [True, False])
def test_copies_are_told_from_neighbours_and_their_targets_compared(turn, classes):
    torch.manual_seed(0)
    x = torch.randn(64, 1, 6, 6)
    y = torch.arange(64) % 4 if classes else x.mean((1, 2, 3))[:, None]
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4 if classes else 1))

    def share(x, y):
        return near_copies.contradicting(seen(model, F.cross_entropy if classes else F.mse_loss, [(x, y)])).value

    assert share(x, y) == 0
    both = torch.cat([x, turn(x)])
    assert share(both, torch.cat([y, y])) == 0
    assert share(both, torch.cat([y, y[torch.randperm(64)]])) > 0.9
    # A mirrored input may have a mirrored target: an angle with the other sign, a turn for its opposite.
    assert share(both, torch.cat([y, (y + 2) % 4 if classes else -y])) == 0
    order = torch.randperm(128)
    assert share(both[order], torch.cat([y, y])[order]) == 0


def test_edges_are_turned_round_where_targets_depend_on_the_others():
    [((x, edges), y)] = data_mistakes._sent(0)
    model = data_mistakes.Messages(True)

    def value(edges, y=y):
        return turned_round(seen(model, F.cross_entropy, [((x, edges), y)])).value

    assert value(edges) == 0
    assert value(edges.flip(0)) > 0.1
    assert not value(torch.cat([edges, edges.flip(0)], 1)) > 0  # there is no way round
    assert value(edges.flip(0), torch.arange(300) % 3) == 0  # no neighbour tells anything


@pytest.mark.parametrize(
    ("times", "layers"), [((1, 1, 30), ("4",)), ((60, 1, 1), ("0",)), ((6, 6, 6), ("0", "2", "4"))]
)
def test_weights_that_start_too_large_are_named(times, layers):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
    with torch.no_grad():
        for layer, factor in zip(model[::2], times, strict=True):
            layer.weight.mul_(1.5 * factor)
    x, y = torch.randn(128, 64), torch.arange(128) % 10
    found = ns.diagnose(model, F.cross_entropy, [(x, y)], curvature=False).findings[0]
    assert found.kind == "saturated-output"
    assert set(found.layers) == set(layers)
    assert found.where == f"{found.layers[0]}.weight"
    assert sum("weights" in e["measure"] for e in found.evidence) == len(layers)


class Reversed(torch.autograd.Function):
    """Gradient reversal: not the slope, on purpose."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Rounded(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Cube(torch.autograd.Function):
    """With its slope, or with twice that."""

    times = 3.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return Cube.times * x.square() * gradient


def test_backward_passes_are_held_against_forward_passes(monkeypatch):
    class Own(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.first, self.function = nn.Linear(6, 4), function

        def forward(self, x):
            return self.function.apply(self.first(x))

    pairs = [(tokens(), torch.arange(64) % 4)]
    assert slopes.wrong(seen(Own(Cube), F.cross_entropy, pairs)).value < 1e-6
    assert not slopes.wrong(seen(Own(Reversed), F.cross_entropy, pairs)).value > 0.005
    assert not slopes.wrong(seen(Own(Rounded), F.cross_entropy, pairs)).value > 0.005
    monkeypatch.setattr(Cube, "times", 6.0)
    found = slopes.wrong(seen(Own(Cube), F.cross_entropy, pairs))
    assert found.value == pytest.approx(1, abs=1e-3)
    assert found.where.startswith("Cube at test_known_answers.py:")
    assert Cube.forward(type("C", (), {"save_for_backward": lambda self, x: None})(), torch.tensor(2.0)) == 8


def test_a_mean_over_time_reads_everything_and_a_slice_does_not():
    class Some(nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.rows, self.head = rows, nn.Linear(6, 4)

        def forward(self, x):
            return self.head(x[:, self.rows].mean(1))

    x, y = torch.randn(32, 8, 6), torch.arange(32) % 4
    all_of_them, two = (reading.unread(seen(Some(r), F.cross_entropy, [(x, y)])) for r in (slice(None), slice(2)))
    assert all_of_them["unread-inputs"].value == 0
    assert two["unread-inputs"].value == 0.75
    assert math.isnan(two["cut-inputs"].value)
    assert two["unread-inputs"].where.startswith("test_known_answers.py:")


def test_padding_beyond_the_longest_sample_is_not_unread():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.gru, self.head = nn.Embedding(9, 6), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, x):
            hidden, _ = self.gru(self.table(x))
            return self.head(hidden[torch.arange(len(x)), (x > 0).sum(1) - 1])

    x = torch.zeros(32, 40, dtype=torch.long)
    x[:, :6] = torch.randint(1, 9, (32, 6))
    found = reading.unread(seen(Last(), F.cross_entropy, [(x, torch.arange(32) % 4)]))
    assert found["unread-inputs"].value == 0


def test_a_model_with_a_table_of_its_samples_is_looked_at_whole():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
            self.register_buffer("a", torch.eye(40))

        def forward(self, x):
            return self.last(torch.relu(self.a @ self.first(x)))

    x, y = torch.randn(40, 6), torch.arange(40) % 3
    found = ns.diagnose(Graph(), F.cross_entropy, [(x, y)])
    assert (found.look.samples, found.findings) == (40, ())


def test_plain_steps_of_the_given_optimiser_are_rehearsed():
    torch.manual_seed(0)
    x = torch.randn(256, 6)
    pairs = [(a, a[:, :1] * 2) for a in x.split(32)]
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    kept = [p.detach().clone() for p in model.parameters()]
    decay = lambda m: torch.optim.SGD(m.parameters(), lr=0.01, weight_decay=30.0)  # noqa: E731
    found = ns.diagnose(model, F.mse_loss, pairs, optimiser=decay, curvature=False).findings
    assert found[0].kind == "decay-dominates"
    assert found[0].where.endswith(f"test_known_answers.py:{decay.__code__.co_firstlineno}")
    assert all(torch.equal(a, b) for a, b in zip(kept, model.parameters(), strict=True))
    usual = ns.diagnose(model, F.mse_loss, pairs, optimiser=torch.optim.Adam(model.parameters(), 1e-2), curvature=False)
    assert usual.findings == ()


def test_batches_are_sorted_when_they_lack_classes_that_chance_would_give_them():
    torch.manual_seed(0)
    ten, rare = torch.randint(0, 10, (384,)), (torch.rand(3000) < 0.04).long()
    assert fewer_classes(ten.split(32)) < 0.1
    assert fewer_classes(ten.sort().values.split(32)) > 0.8  # most hold two
    assert fewer_classes(rare.split(16)) < 0.1  # half of them lack the rare class, by chance
    assert math.isnan(fewer_classes(torch.zeros(3, 8).long().unbind()))


@pytest.mark.parametrize(
    ("optimiser", "said"),
    [
        ("adam", "must be a torch.optim.Optimizer, or a function of the model that returns one, got str"),
        (lambda m: (torch.optim.SGD(m.parameters(), 0.1), 1), "must return a torch.optim.Optimizer, got tuple"),
        (lambda m: m.nothing, r"optimiser\(model\) fails: AttributeError"),
    ],
)
@pytest.mark.parametrize("steps", [0, 5])
def test_what_is_no_optimiser_is_refused(optimiser, said, steps):
    pairs = [(torch.randn(8, 3), torch.randn(8, 1))] * 4
    with pytest.raises(ns.InputError, match=said):
        ns.diagnose(nn.Linear(3, 1), F.mse_loss, pairs, steps=steps, optimiser=optimiser, curvature=False)


def test_why_no_plain_steps_were_rehearsed_is_told():
    pairs, told = [(torch.randn(8, 3), torch.randn(8, 1))] * 4, []
    found = ns.diagnose(
        nn.Linear(3, 1), F.mse_loss, pairs, optimiser=lambda m: torch.optim.LBFGS(m.parameters()), curvature=False,
        on_progress=told.append,
    )  # fmt: skip
    (note,) = [n for n in found.look.notes if "rehearsed" in n]
    assert "no plain steps of your optimiser were rehearsed" in note
    assert "closure" in note
    assert told[-1] == note


@pytest.mark.parametrize(("rate", "said"), [(0.05, "and they learn"), (1e-4, "no better than a constant")])
def test_what_came_of_the_plain_steps_is_told(rate, said):
    torch.manual_seed(0)
    x, told = torch.randn(64, 4), []
    y = x @ torch.randn(4, 1) if rate > 1e-3 else torch.randn(64, 1)
    pairs = [(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)]
    found = ns.diagnose(
        nn.Linear(4, 1), F.mse_loss, pairs, optimiser=lambda m: torch.optim.SGD(m.parameters(), rate), curvature=False,
        on_progress=told.append,
    )  # fmt: skip
    assert re.search(r"rehearsed 100 plain steps of your optimiser: loss [\d.]+ at first, [\d.e-]+ at last", told[-1])
    assert said in told[-1]
    assert told[-1] in found.look.notes


def test_large_outputs_are_laid_to_the_embeddings_that_make_them():
    torch.manual_seed(0)
    (x, y) = patients.ratings(0)[0]
    model = zoo.Factors(100, 1.0)
    before = {name: p.clone() for name, p in model.named_parameters()}
    both = [ns.diagnose(model, F.mse_loss, [(x, y)], curvature=False)]
    both.append(ns.diagnose(Wide(model), F.mse_loss, [(x, y[:, None])], curvature=False))
    for found, prefix in zip(both, ("", "inner."), strict=True):
        assert (found.look.outputs.task, found.look.outputs.outputs) == ("regressor", 1)
        first = found.findings[0]
        assert first.kind == "saturated-output"
        assert first.layers == (f"{prefix}users", f"{prefix}items")
        assert "shrink_embeddings" in first.treatments
        assert f"{prefix}users.weight, std=0." in first.remedy
    assert both[0].look.outputs.excess == pytest.approx(both[1].look.outputs.excess)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    # Behind a normalisation their scale is not the cause.
    torch.manual_seed(0)
    other = nn.Sequential(nn.Embedding(30, 16), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 1), nn.Flatten(0))
    with torch.no_grad():
        other[2].weight.mul_(20)
    found = ns.diagnose(other, F.mse_loss, [(x, y)], curvature=False).findings[0]
    assert found.kind == "saturated-output"
    assert "embeddings (" not in found.remedy


class Wide(nn.Module):
    """The same numbers as a column."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[:, None]
