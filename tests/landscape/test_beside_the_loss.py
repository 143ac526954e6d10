"""Metrics beside the loss, statistics recomputed, random numbers held, batches cut: against doing it by hand."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from models_landscape import SkipNet, image_pairs, pairs, relu_net
from torch import nn
from torch.nn import functional as F

from nonsingular import landscape
from nonsingular.errors import InputError
from nonsingular.landscape.metrics import accuracy
from nonsingular.objective import Objective

POINTS = np.array([[0.0, 0.0], [1.0, -0.5], [-0.3, 0.8], [-1, -1]])


def directions(model, **options):
    return [landscape.gaussian(model, seed, **options) for seed in (0, 1)]


def at(model, point, along):
    """A copy of the model with its weights set."""
    moved = copy.deepcopy(model).eval()
    with torch.no_grad():
        for c, d in zip(point, along, strict=True):
            for name, tensor in d.items():
                moved.state_dict()[name] += c * tensor
    return moved


def over(function, model, batches):
    """A mean over the samples of all batches."""
    with torch.no_grad():
        parts = [(float(function(model(x), t)), len(t)) for x, t in batches]
    return sum(v * n for v, n in parts) / sum(n for _, n in parts)


# --- metrics ------------------------------------------------------------------------------------------------


def margin(output, target):
    """A user's own."""
    right = output.gather(1, target[:, None])[:, 0]
    return (right - output.scatter(1, target[:, None], -1e9).amax(1)).mean()


@pytest.mark.parametrize(("make", "data"), [(relu_net, pairs), (SkipNet, image_pairs)])
@pytest.mark.parametrize("options", [{}, {"vectorised": False, "folded": False}, {"microbatch": 7}])
def test_metrics_are_those_of_the_weights_that_are_set(make, data, options):
    model, batches = make(), [*data(samples=24), *data(samples=10, seed=5)]
    along = directions(model)
    metrics = {"accuracy": accuracy, "margin": margin}
    losses = landscape.Losses(model, F.cross_entropy, batches, along, metrics=metrics, **options)
    values, errors = losses.evaluate(POINTS)
    assert losses.quantities == ("loss", "accuracy", "margin")
    for column, function in enumerate((F.cross_entropy, accuracy, margin)):
        expected = [over(function, at(model, p, along), batches) for p in POINTS]
        np.testing.assert_allclose(values[:, column], expected, rtol=2e-4, atol=1e-5)
    assert (errors == 0).all()


def test_metrics_stand_on_lines_surfaces_and_runs():
    model, batches = relu_net(), pairs()
    x, y = directions(model)
    line = landscape.line(model, F.cross_entropy, batches, x, grid=5, metrics=["accuracy"])
    surface = landscape.surface(model, F.cross_entropy, batches, x, y, grid=5, metrics=["accuracy"])
    np.testing.assert_array_equal(surface.accuracy.sel(y=0), line.accuracy)
    assert surface.evaluated.all()  # what is not smooth is not interpolated
    states = [relu_net(seed=k) for k in range(3)]
    run = landscape.trajectory(model, F.cross_entropy, batches, states, grid=5, metrics={"margin": margin})
    losses = landscape.Losses(states[-1], F.cross_entropy, batches, landscape.principal(states, model).directions,
                              metrics={"margin": margin})  # fmt: skip
    corner = losses.evaluate(np.array([[run.x[0], run.y[4]]], float))[0]
    np.testing.assert_allclose([run.loss[4, 0], run.margin[4, 0]], corner[0], rtol=1e-5)


def test_a_subset_gives_metrics_their_standard_error():
    model, batches = relu_net(), pairs(samples=300)
    along = directions(model)
    truth = over(accuracy, model, batches)
    scores = []
    for seed in range(25):
        losses = landscape.Losses(model, F.cross_entropy, batches, along, metrics=["accuracy"], samples=90,
                                  subset_seed=seed)  # fmt: skip
        values, errors = losses.evaluate(POINTS[:1])
        scores.append((values[0, 1] - truth) / errors[0, 1])
    assert 0.7 < np.std(scores) < 1.4
    assert abs(np.mean(scores)) < 0.6


def test_a_metric_that_is_no_mean_over_samples_is_of_whole_batches():
    model, batches = relu_net(), pairs()

    def spread(output, target):
        return output.std()

    along = directions(model)
    found = landscape.Losses(model, F.cross_entropy, batches, along, metrics={"spread": spread}).evaluate(POINTS)[0]
    expected = [at(model, p, along)(batches[0][0]).std().item() for p in POINTS]
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-5)
    with pytest.raises(InputError, match="microbatch changes the metric spread"):
        landscape.Losses(model, F.cross_entropy, batches, along, metrics={"spread": spread}, microbatch=7)


def test_metrics_of_losses_that_take_the_model_take_it_too():
    model, [batch] = relu_net(), pairs()

    def penalised(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1]) + 0.1 * model[0].weight.square().sum()

    def norm(model, batch):
        return model[0].weight.norm()

    along = directions(model)
    found = landscape.Losses(model, penalised, [batch], along, metrics={"norm": norm}).evaluate(POINTS)[0]
    for point, values in zip(POINTS, found, strict=True):
        moved = at(model, point, along)
        np.testing.assert_allclose(values, [float(penalised(moved, batch)), float(norm(moved, batch))], rtol=1e-5)


def test_a_models_own_loss_and_scores():
    @dataclass
    class Output:
        loss: torch.Tensor
        logits: torch.Tensor

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = relu_net()

        def forward(self, x, labels):
            logits = self.net(x)
            return Output(F.cross_entropy(logits, labels), logits)

    model, [(x, t)] = Own(), pairs()
    along = directions(model)
    found = landscape.Losses(model, None, [{"x": x, "labels": t}], along, metrics=["accuracy"]).evaluate(POINTS)[0]
    for point, values in zip(POINTS, found, strict=True):
        logits = at(model, point, along)(x, t).logits
        np.testing.assert_allclose(
            values, [float(F.cross_entropy(logits, t)), float((logits.argmax(1) == t).float().mean())], rtol=1e-5
        )


def test_accuracy_of_a_model_that_predicts_the_next_token_is_left_to_the_user():
    torch.manual_seed(0)
    model, words = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7)), torch.randint(7, (8, 6))

    def shifted(output, target):
        return F.cross_entropy(output[:, :-1].flatten(0, 1), target[:, 1:].flatten())

    def beside(output, target):
        return F.cross_entropy(output.flatten(0, 1), target.flatten())

    def right(output, target):
        return accuracy(output[:, :-1], target[:, 1:])

    direction = directions(model)[0]
    with pytest.raises(InputError, match="shifts one against the other"):
        landscape.line(model, shifted, [(words, words)], direction, metrics=["accuracy"])
    line = landscape.line(model, shifted, [(words, words)], direction, span=(0, 1), grid=2, metrics={"right": right})
    assert line.right[0].item() == pytest.approx(right(model(words), words).item())
    line = landscape.line(model, beside, [(words, words)], direction, span=(0, 1), grid=2, metrics=["accuracy"])
    assert line.accuracy[0].item() == pytest.approx(accuracy(model(words), words).item())


@pytest.mark.parametrize(
    ("output", "target", "share"),
    [
        (torch.tensor([[1.0, 2], [3, 0], [0, 1]]), torch.tensor([1, 1, -100]), 0.5),  # ignored
        (torch.tensor([[1.0], [-1], [2]]), torch.tensor([1.0, 1, 0]), 1 / 3),  # one logit, an axis of 1
        (torch.tensor([1.0, -1, 2]), torch.tensor([1, 0, 1]), 1.0),  # one logit
        (torch.eye(4)[None, :, :3], torch.tensor([[0, 1, 0]]), 2 / 3),  # [sample, class, token]
        (torch.eye(4)[None, :3], torch.tensor([[0, 1, 0]]), 2 / 3),  # [sample, token, class]
        (torch.eye(2), torch.tensor([[0.9, 0.1], [0.8, 0.2]]), 0.5),  # probabilities
        ({"logits": torch.eye(2)}, torch.tensor([0, 0]), 0.5),
    ],
)
def test_accuracy_is_told_from_any_form_of_targets(output, target, share):
    assert float(accuracy(output, target)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("output", "target", "message"),
    [
        (torch.zeros(2, 3, 3), torch.zeros(2, 3, dtype=torch.int64), "whether the second or the last axis"),
        (torch.zeros(2, 3), torch.zeros(5, dtype=torch.int64), "cannot tell classes in scores of shape .2, 3."),
        ((torch.zeros(2, 3),), torch.zeros(2, dtype=torch.int64), "needs a tensor of scores, got tuple"),
    ],
)
def test_accuracy_that_cannot_be_told_is_refused(output, target, message):
    with pytest.raises(InputError, match=message):
        accuracy(output, target)


# --- batch normalisation ------------------------------------------------------------------------------------


def by_update_bn(model, batches):
    """PyTorch's own way."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    return model.eval()


@pytest.mark.parametrize("parts", [1, 3])
def test_recomputed_statistics_are_those_of_update_bn(parts):
    a, b = SkipNet(seed=0), SkipNet(seed=1)
    [(x, t)] = image_pairs(30)
    batches = list(zip(x.chunk(parts), t.chunk(parts), strict=True))
    settings = landscape.Settings(tolerance=0, statistics="recomputed", microbatch=5)
    direction = landscape.between(a, b)
    line = landscape.line(a, F.cross_entropy, batches, direction, span=(0, 1), grid=3, settings=settings,
                          metrics=["accuracy"])  # fmt: skip
    given = landscape.line(a, F.cross_entropy, batches, direction, span=(0, 1), grid=3)
    for k, point in enumerate((0, 0.5, 1)):
        moved = by_update_bn(at(a, [point], [direction]), batches)
        assert line.loss[k].item() == pytest.approx(over(F.cross_entropy, moved, batches), rel=1e-4)
        assert line.accuracy[k].item() == pytest.approx(over(accuracy, moved, batches), abs=1e-6)
        as_given = over(F.cross_entropy, at(a, [point], [direction]), batches)
        assert given.loss[k].item() == pytest.approx(as_given, rel=1e-4)
        assert abs(as_given - line.loss[k].item()) > 0.01
    assert (line.attrs["statistics"], given.attrs["statistics"]) == ("recomputed", "given")


def test_statistics_are_recomputed_where_there_are_some():
    model, batches = relu_net(), pairs()
    recompute = landscape.Settings(statistics="recomputed")
    with pytest.raises(InputError, match="no batch normalisation with running statistics"):
        landscape.line(model, F.cross_entropy, batches, directions(model)[0], settings=recompute)
    norm = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
    with pytest.raises(InputError, match="statistics cannot be recomputed: Expected more than 1 value"):
        landscape.line(norm, F.cross_entropy, pairs(samples=1), directions(norm)[0], settings=recompute)
    with pytest.raises(InputError, match="there are given, recomputed"):
        landscape.Settings(statistics="batch")


# --- random losses ------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """Noise in evaluation mode too, as a variational autoencoder has it; a zero readout hides it at the centre."""

    def __init__(self):
        super().__init__()
        self.net, self.out = relu_net((6, 10, 8)), nn.Linear(8, 3)
        nn.init.zeros_(self.out.weight)

    def forward(self, x):
        z = self.net(x)
        return self.out(z + torch.randn_like(z))


def test_random_losses_are_named_and_drawn_alike_on_request():
    model, [(x, t)] = Noisy(), pairs()
    direction = directions(model)[0]
    with pytest.raises(InputError, match=r"random, so the loss is no function of the weights.*seed="):
        landscape.line(model, F.cross_entropy, [(x, t)], direction)
    lines = [landscape.line(model, F.cross_entropy, [(x, t)], direction, grid=21, seed=s) for s in (3, 3, 4)]
    assert lines[0].identical(lines[1])
    assert not np.array_equal(lines[0].loss, lines[2].loss)
    for k in (0, 20):
        moved = at(model, [lines[0].x.values[k]], [direction])
        torch.manual_seed(3)
        assert lines[0].loss[k].item() == pytest.approx(F.cross_entropy(moved(x), t).item(), rel=1e-5)
    loss = lines[0].loss.values
    assert np.abs(np.diff(loss, 2)).max() < 0.2 * np.ptp(loss)  # the same noise everywhere: a smooth line
    before = torch.get_rng_state()
    landscape.line(model, F.cross_entropy, [(x, t)], direction, grid=3, seed=3)
    assert torch.equal(before, torch.get_rng_state())


# --- cutting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [False, True])
def test_losses_over_pixels_are_those_of_the_whole_set_wherever_ignored_ones_lie(zero):
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    images, classes = torch.randn(96, 1, 6, 6), torch.randint(3, (96, 6, 6))
    classes[64:80][torch.rand(16, 6, 6) < 0.95] = -100  # in the second batch, and there in some pieces
    centre = copy.deepcopy(conv)
    if zero:  # every pixel's loss is log 3 at the centre, whatever is cut
        nn.init.zeros_(centre[2].weight)
        nn.init.zeros_(centre[2].bias)
    other = copy.deepcopy(conv)
    with torch.no_grad():
        for p in other.parameters():
            p += 0.3 * torch.randn_like(p)
    direction = landscape.between(centre, other)
    loss_fn = nn.CrossEntropyLoss(ignore_index=-100)
    whole = [loss_fn(at(centre, [c], [direction])(images), classes).item() for c in (0, 0.5, 1)]
    right = [accuracy(at(centre, [c], [direction])(images), classes).item() for c in (0, 0.5, 1)]
    for batches in ([(images, classes)], [(images[:64], classes[:64]), (images[64:], classes[64:])]):
        for size in (None, 16):
            settings = landscape.Settings(tolerance=0, microbatch=size)
            line = landscape.line(centre, loss_fn, batches, direction, span=(0, 1), grid=3, settings=settings,
                                  metrics=["accuracy"])  # fmt: skip
            np.testing.assert_allclose(line.loss, whole, rtol=1e-5)
            np.testing.assert_allclose(line.accuracy, right, atol=1e-3)


class TimeFirst(nn.Module):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.rnn, self.out = nn.LSTM(3, 5), nn.Linear(5, 1)

    def forward(self, x):
        return self.out(self.rnn(x)[0][-1]).squeeze(-1)


def test_batches_whose_first_axis_is_time_weigh_by_their_targets_and_give_no_subset():
    model, x, t = TimeFirst(), torch.randn(20, 20, 3), torch.randn(20)
    batches = [(x[:, :16], t[:16]), (x[:, 16:], t[16:])]
    direction = directions(model)[0]
    line = landscape.line(model, F.mse_loss, batches, direction, span=(0, 1), grid=3)
    for k, c in enumerate((0, 0.5, 1)):
        assert line.loss[k].item() == pytest.approx(F.mse_loss(at(model, [c], [direction])(x), t).item(), rel=1e-5)
    with pytest.raises(InputError, match="subset of the samples needs a loss that is a mean over samples"):
        # time and samples are equally many here: rows would be taken of the wrong axis
        landscape.line(model, F.mse_loss, (x, t), direction, settings=landscape.Settings(samples=8))


# --- the door -----------------------------------------------------------------------------------------------


def test_an_objective_stands_for_model_loss_and_batches():
    model, batches = relu_net(), pairs()
    x, y = directions(model)
    objective = Objective(model, F.cross_entropy, batches)
    for call in (
        lambda *what: landscape.line(*what, x, grid=3),
        lambda *what: landscape.surface(*what, x, y, grid=3),
        lambda *what: landscape.trajectory(*what, [relu_net(seed=k) for k in range(4)], grid=3),
        lambda *what: landscape.convexity(*what, x, y, grid=3, steps=10),
    ):
        assert call(objective, None, None).identical(call(model, F.cross_entropy, batches))
    one, two = landscape.eigenvectors(objective, None, None), landscape.eigenvectors(model, F.cross_entropy, batches)
    np.testing.assert_array_equal(one[1], two[1])
    with pytest.raises(InputError, match="an Objective has its loss_fn already"):
        landscape.line(objective, F.cross_entropy, None, x)


def test_a_wrapped_models_directions_fit():
    model, batches = relu_net(), pairs()
    plain = landscape.line(model, F.cross_entropy, batches, landscape.gaussian(model, 0), grid=3)
    for wrap in (nn.DataParallel, torch.compile):
        wrapped = wrap(model)
        for direction in (landscape.gaussian(wrapped, 0), landscape.gaussian(model, 0)):
            line = landscape.line(wrapped, F.cross_entropy, batches, direction, grid=3)
            np.testing.assert_allclose(line.loss, plain.loss, rtol=1e-6)


def test_a_loss_that_looks_past_the_model_is_refused():
    model, [(x, t)] = relu_net(), pairs()
    with pytest.raises(InputError, match=r"reaches the model's 0\.weight by itself"):
        landscape.line(model, lambda o, t: F.cross_entropy(model(x), t), [(x, t)], directions(model)[0])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["f1"], "unknown metric 'f1'; there is accuracy, or give"),
        ({"loss": margin}, "cannot be called loss"),
        ({"margin": 3}, "must be a function of .output, target., got int"),
        ({"scores": lambda o, t: o}, r"metric scores must return a number, got shape \(40, 3\)"),
        ({"wrong": lambda o, t: o[:, 7].mean()}, "metric wrong failed on the first batch"),
        ({"words": lambda o, t: "good"}, "metric words failed on the first batch"),
        ({"noise": lambda o, t: torch.randn(())}, "metric noise gives another number each time"),
    ],
)
def test_bad_metrics_say_what_would_be_right(metrics, message):
    model = relu_net()
    with pytest.raises(InputError, match=message):
        landscape.line(model, F.cross_entropy, pairs(), directions(model)[0], metrics=metrics)
