"""What must be kept apart: answers from questions, tests from training, a variance from a deviation."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import answers, noising, scene
from nonsingular.diagnosis.contract.held_out import held_out_scale, unlike
from nonsingular.diagnosis.contract.meanings import held_out_ids, held_out_meaning


def seen(model, loss, x, y):
    return scene(problem(model, loss, [(x, y)], 512))


class Causal(nn.Module):
    def __init__(self, causal=True):
        super().__init__()
        self.causal, self.body = causal, nn.Conv1d(4, 4, 3, padding=0 if causal else 1)

    def forward(self, x):
        x = x.transpose(1, 2)
        return self.body(F.pad(x, (2, 0)) if self.causal else x).transpose(1, 2)


@pytest.mark.parametrize(("ahead", "causal", "value"), [(1, True, 0), (1, False, 1), (0, True, 1), (-1, True, 1)])
def test_series_of_numbers_are_sequences_too(ahead, causal, value):
    torch.manual_seed(0)
    series = torch.randn(16, 14, 4)
    x, y = series[:, 2:12], series[:, 2 + ahead : 12 + ahead]
    assert answers.seen_answers(seen(Causal(causal), F.mse_loss, x, y)).value == value


def test_labels_that_do_not_count_are_not_compared():
    torch.manual_seed(0)
    text = torch.randint(0, 9, (16, 12))
    hidden = torch.where(torch.rand(text.shape) < 0.3, 9, text)
    wanted = torch.where(hidden == 9, text, -100)
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 9))

    def loss(output, target):
        return F.cross_entropy(output.flatten(0, 1), target.flatten())

    assert answers.seen_answers(seen(model, loss, hidden, wanted)).value == 0
    assert answers.seen_answers(seen(model, loss, text, torch.where(hidden == 9, -100, text))).value == 1


def test_what_is_returned_whole_or_has_few_values_is_no_copied_answer():
    torch.manual_seed(0)
    loose, x = torch.randn(32, 6), torch.randn(40).unfold(0, 6, 1)[torch.randperm(35)[:32]]
    wide, one = nn.Linear(6, 6), nn.Linear(6, 1)
    assert answers.copied(seen(one, F.mse_loss, x, x[:, 2:3])).value == 1
    assert "inputs[:, 2]" in answers.copied(seen(one, F.mse_loss, x, x[:, 2:3])).remedy
    assert answers.copied(seen(one, F.mse_loss, x, x.sum(1, keepdim=True))).value == 0
    assert not answers.copied(seen(wide, F.mse_loss, x, x)).value > 0
    assert not answers.copied(seen(one, F.mse_loss, loose, loose[:, 2:3])).value > 0  # in no order
    signs = x.sign()
    assert not answers.copied(seen(one, F.mse_loss, signs, signs[:, 2:3])).value > 0


@pytest.mark.parametrize(("signal", "noise", "wrong"), [
    (lambda a: a.sqrt(), lambda a: (1 - a).sqrt(), False),  # keeps the variance
    (lambda a: torch.ones_like(a), lambda a: 5 * a, False),  # lets it grow
    (lambda a: a, lambda a: 1 - a, False),  # a straight line
    (lambda a: a.sqrt(), lambda a: 1 - a, True),
    (lambda a: a, lambda a: (1 - a).sqrt(), True),
])  # fmt: skip
def test_factors_of_signal_and_noise(signal, noise, wrong):
    torch.manual_seed(0)
    a, x, e = torch.rand(16, 1), torch.randn(16, 20), torch.randn(16, 20)
    found = noising.mixture(signal(a) * x + noise(a) * e, x, e)
    assert torch.allclose(found.noise.float(), noise(a)[:, 0], atol=1e-3)
    assert (noising.wrong_power([found]) is not None) == wrong
    assert noising.mixture(signal(a) * x + noise(a) * e + 0.1 * x**2, x, e) is None


def test_a_straight_line_is_known_from_variances_by_the_table_of_their_factors():
    betas = torch.linspace(1e-3, 0.2, 50)
    left = (1 - betas).cumprod(0)
    a = left[torch.arange(0, 50, 3)].double()
    line = [noising.Mixture(a, 1 - a)]
    assert noising.wrong_power(line, [left, betas]) > 0.1
    assert noising.wrong_power(line, [left]) is None


def test_tests_are_unlike_beyond_what_batches_differ_by():
    torch.manual_seed(0)
    train = [(float(b.mean()), float(b.std())) for b in torch.randn(10, 64)]
    same, raw = torch.randn(64), 0.3 * torch.randn(64) + 0.13
    assert unlike(train, [(float(same.mean()), float(same.std()))]) < 0.1
    assert unlike(train, [(float(raw.mean()), float(raw.std()))]) > 0.4


def test_held_out_images_that_are_not_normalised():
    torch.manual_seed(0)
    pixels, y = torch.rand(192, 12), torch.randint(0, 3, (192,))
    x = (pixels - 0.5) / 0.29
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    parts = [(x[:64], y[:64]), (x[64:128], y[64:128])]

    def kinds(held_out):
        return [f.kind for f in ns.diagnose(model, F.cross_entropy, parts, held_out=[(held_out, y[128:])]).findings]

    assert kinds(pixels[128:]) == ["unlike-tests"]
    assert kinds(x[128:]) == []


def test_held_out_columns_and_classes_mean_what_they_mean_in_training():
    torch.manual_seed(0)
    x = torch.randn(400, 12)
    y = x[:, :4].argmax(1)
    [train] = ns.objective.read([(x[:300], y[:300])])

    def lost(x, y):
        [test] = ns.objective.read([(x, y)])
        return held_out_meaning([train], [test]).value

    order = torch.tensor([1, 2, 3, 0])
    assert abs(lost(x[300:], y[300:])) < 0.2
    assert abs(lost(0.2 * x[300:] + 1, y[300:])) < 0.2  # another scale is another finding
    assert lost(x[300:], order[y[300:]]) > 0.8
    assert lost(x[300:].flip(1), y[300:]) > 0.8
    [noise] = ns.objective.read([(torch.randn(300, 12), y[:300])])
    assert math.isnan(held_out_meaning([noise], [noise]).value)  # nothing is said of targets


@pytest.mark.parametrize("whole", [torch.int32, torch.int64])
@pytest.mark.parametrize("labels", ["of samples", "of tokens"])
def test_targets_that_are_ignored_mean_nothing(labels, whole):
    torch.manual_seed(0)

    def data(samples, ignored):
        x = torch.randint(1, 9, (samples, 10)) if labels == "of tokens" else torch.randn(samples, 8)
        y = (x + 1 if labels == "of tokens" else x.argmax(1)).to(whole)
        y[torch.rand(len(y)) < ignored] = -100
        return ns.objective.read([(x, y)])

    assert abs(held_out_meaning(list(data(400, 0.05)), list(data(200, 0.6))).value) < 0.05


@pytest.mark.parametrize("mask", [(-1, 0, 1), (0, 1), (-10_000, 0)])
def test_ids_are_told_from_masks_and_may_be_padded_with_negatives(mask):
    torch.manual_seed(0)
    masks = torch.tensor(mask)[torch.randint(len(mask), (96, 10))]
    ids = torch.randint(2, 9, (96, 10)).where(torch.rand(96, 10) < 0.7, -100)

    def apart(test, *train):
        return held_out_ids(*(list(ns.objective.read([(x, torch.zeros(len(x[0])))])) for x in (train, test))).value

    others = ids.where(ids < 0, ids + 7)
    assert apart((masks[64:], ids[64:]), masks[:64], ids[:64]) < 0.05
    assert apart((masks[64:], others[64:]), masks[:64], ids[:64]) > 0.5
    assert math.isnan(apart((masks[64:], masks[64:]), masks[:64], masks[:64]))


class OfWholeNumbers(nn.Module):
    """Takes whole numbers for ids of a table, or for numbers."""

    def __init__(self, table):
        super().__init__()
        self.table, self.head = nn.Embedding(64, 8) if table else None, nn.Linear(8 if table else 10, 3)

    def forward(self, x):
        return self.head(self.table(x).mean(1) if self.table is not None else x.float() / 16)


@pytest.mark.parametrize("table", [True, False])
def test_whole_numbers_are_ids_where_they_choose_rows_of_a_table(table):
    torch.manual_seed(0)
    train, test = torch.randint(0, 20, (8, 32, 10)), torch.randint(30, 50, (2, 32, 10))
    batches, held_out = ([(x, x[:, 0] % 3) for x in part] for part in (train, test))

    model = OfWholeNumbers(table)
    seen = ns.diagnose(model, F.cross_entropy, batches, held_out=held_out, curvature=False).numbers["held-out-ids"]
    assert (seen.value > 0.5) == table

    def step(model, batch, optimiser):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimiser.step()
        if batch is batches[-1]:
            with torch.no_grad():
                F.cross_entropy(model(held_out[0][0]), held_out[0][1])
        return loss

    found = ns.rehearse(model, step, batches, torch.optim.SGD(model.parameters(), 0.05))
    assert (found.numbers["loop-other-ids"].value > 0.5) == table


def test_held_out_inputs_that_are_no_tensors_say_nothing_of_scale():
    batches = [ns.objective.Batch({"text": ["a"] * 4}, torch.zeros(4), 4)]
    assert math.isnan(held_out_scale(batches, batches).value)


@pytest.mark.parametrize(("copies", "kinds"), [("parameters", ["stale-statistics"]), ("state", [])])
def test_a_teacher_whose_statistics_stay(copies, kinds):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    teacher = copy.deepcopy(model).eval()
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    batches = [(3 + 2 * torch.randn(32, 8), torch.randint(0, 3, (32,))) for _ in range(4)]

    def step(model, batch, optimiser):
        with torch.no_grad():
            wanted = teacher(batch[0]).softmax(1)
        loss = F.cross_entropy(model(batch[0]), batch[1]) + F.cross_entropy(model(batch[0]), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            if copies == "state":
                teacher.load_state_dict(copy.deepcopy(model.state_dict()))
            for t, p in zip(teacher.parameters(), model.parameters(), strict=True):
                t.lerp_(p, 0.3)
        return loss

    found = ns.rehearse(model, step, batches, optimiser)
    assert [f.kind for f in found.findings] == kinds


class Channels(nn.Module):
    """Convolutions over the last axis, padded on the left alone, or on both sides."""

    def __init__(self, inputs, outputs, causal, late=False):
        super().__init__()
        self.pad, self.late, self.body = (2, 0) if causal else (1, 1), late, nn.Conv1d(inputs, outputs, 3)

    def forward(self, x):
        found = self.body(F.pad(x, self.pad))
        return found[..., -1:] if self.late else found


@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("whole", [True, False])
def test_time_may_be_the_last_axis_and_the_target_one_of_the_channels(ahead, channels, whole):
    torch.manual_seed(0)
    series = torch.randn(16, channels, 20)
    x, y = series[..., :14], series[..., ahead : 14 + ahead]
    y = y if whole else y[:, -1:]
    for causal, value in ((True, 0), (False, ahead == 1)):  # a kernel of three sees one position ahead
        model = Channels(channels, y.shape[1], causal)
        assert answers.seen_answers(seen(model, F.mse_loss, x, y)).value == value
        assert answers.seen_answers(seen(model, lambda o, t: F.mse_loss(o[..., -1], t[..., -1]), x, y)).value == 0
        late = torch.cat([series[:, : y.shape[1], :ahead], y], 2)  # that the loss takes the targets of
        of_part = lambda o, t: ((o - t[..., ahead:]) ** 2).mean()  # noqa: E731
        assert answers.seen_answers(seen(model, of_part, x, late)).value == value


def test_what_several_channels_return_as_it_was_is_the_task():
    torch.manual_seed(0)
    x = torch.randn(16, 5, 12)
    assert not answers.seen_answers(seen(Channels(5, 5, True), F.mse_loss, x, x)).value > 0
