"""The fast ways of computing losses against the slow, obvious one; and what they must leave alone."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models_landscape import POINTS, SkipNet, directions, image_pairs, obvious, pairs, relu_net
from torch import nn
from torch.nn import functional as F

from nonsingular import landscape
from nonsingular.errors import InputError
from nonsingular.landscape.folding import fold

CASES = {
    "fully-connected": (relu_net, pairs),
    "convolutional": (SkipNet, image_pairs),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("keep", [(), ("bias", "norm")])
@pytest.mark.parametrize("options", [{}, {"vectorised": True}, {"folded": False}, {"microbatch": 7}])
def test_fast_ways_give_what_setting_the_weights_gives(name, keep, options):
    make, data = CASES[name]
    model, batches = make(), data()
    d = directions(model, keep=keep)
    losses, errors = landscape.Losses(model, F.cross_entropy, batches, d, **options)(POINTS)
    np.testing.assert_allclose(losses, obvious(model, F.cross_entropy, batches, d, POINTS), rtol=2e-5)
    assert (errors == 0).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(-2, 2))
def test_folding_keeps_the_function_at_any_weights(seed, a, b):
    model = SkipNet(seed=seed).double()
    folded = fold(model)
    assert set(folded.layers) == {"stem", "conv"}  # the last normalises a sum
    state = {n: t.clone() for n, t in model.state_dict().items()}
    for c, d in zip((a, b), directions(model, keep=("bias", "norm")), strict=True):
        for n, t in d.items():
            state[n] = state[n] + c * t
    x = image_pairs()[0][0].double()
    plain = torch.func.functional_call(model, state, (x,))
    torch.testing.assert_close(torch.func.functional_call(folded.module, folded.state(state), (x,)), plain)


def test_a_model_that_looks_different_when_traced_is_not_folded(capfd):
    """Tracing takes the way that an argument which is given here does not."""

    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)

        def forward(self, x, scale=None):
            return self.norm(self.layer(x if scale is None else x * scale))

    torch.manual_seed(0)
    model = Optional().eval()
    batches = [(torch.randn(8, 3), torch.randint(0, 2, (8,)))]
    d = directions(model)
    losses, _ = landscape.Losses(model, F.cross_entropy, batches, d)(POINTS)
    np.testing.assert_allclose(losses, obvious(model, F.cross_entropy, batches, d, POINTS), rtol=2e-5)
    assert capfd.readouterr().err == ""


def test_folding_takes_in_what_follows_a_layer_at_once_and_nothing_else():
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten(),
                          nn.Linear(108, 4, bias=False), nn.BatchNorm1d(4, affine=False)).eval()  # fmt: skip
    assert set(fold(chain).layers) == {"0", "5"}
    assert fold(relu_net()) is None
    twice = nn.Sequential(chain[0], chain[1], nn.Conv2d(3, 2, 1), chain[0], chain[1]).eval()
    assert fold(twice) is None  # one layer and normalisation in two places

    class Branching(SkipNet):
        def forward(self, x):
            return super().forward(x) if x.sum() > -1e9 else x

    assert fold(Branching()) is None


def test_a_model_that_cannot_be_traced_or_vectorised_is_computed_all_the_same():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = relu_net()

        def forward(self, x):
            return self.net(x) if x.sum().item() > -1e9 else x

    model, batches = Branching(), pairs()
    d = directions(model)
    found = landscape.Losses(model, F.cross_entropy, batches, d, vectorised=True)
    np.testing.assert_allclose(found(POINTS)[0], obvious(model, F.cross_entropy, batches, d, POINTS), rtol=2e-5)


def test_batches_weigh_by_their_samples_and_sums_add_up():
    model = relu_net()
    [(x, t)] = pairs(samples=30)
    d = directions(model)
    parts = [(x[:4], t[:4]), (x[4:], t[4:])]
    whole, cut = (landscape.Losses(model, F.cross_entropy, b, d)(POINTS)[0] for b in ([(x, t)], parts))
    np.testing.assert_allclose(whole, cut, rtol=1e-5)

    def total(output, target):
        return F.cross_entropy(output, target, reduction="sum")

    summed = landscape.Losses(model, total, parts, d, reduction="sum", microbatch=3)(POINTS)[0]
    np.testing.assert_allclose(summed, 30 * whole, rtol=1e-5)


def test_a_loss_that_mixes_samples_is_not_cut():
    model, batches = relu_net(), pairs()

    def mixed(output, target):
        return output.std(0).sum() + F.cross_entropy(output, target)

    d = directions(model)
    found = landscape.Losses(model, mixed, batches, d)(POINTS)[0]
    np.testing.assert_allclose(found, obvious(model, mixed, batches, d, POINTS), rtol=2e-5)
    with pytest.raises(InputError, match="microbatch changes the loss"):
        landscape.Losses(model, mixed, batches, d, microbatch=5)


def test_the_standard_error_of_a_subset_covers_the_truth():
    model = relu_net()
    batches = pairs(samples=600)
    d = directions(model)
    truth = landscape.Losses(model, F.cross_entropy, batches, d)(POINTS[:1])[0]
    scores = []
    for seed in range(60):
        part, error = landscape.Losses(model, F.cross_entropy, batches, d, samples=200, subset_seed=seed)(POINTS[:1])
        assert error[0] > 0
        scores.append((part[0] - truth[0]) / error[0])
    assert 0.7 < np.std(scores) < 1.4
    assert abs(np.mean(scores)) < 0.5
    two = [landscape.Losses(model, F.cross_entropy, batches, d, samples=50, subset_seed=s)(POINTS)[0] for s in (1, 1)]
    np.testing.assert_array_equal(*two)  # one seed, one subset
    alone = landscape.Losses(model, F.cross_entropy, batches, d, samples=1)(POINTS[:1])
    assert np.isnan(alone[1]).all()


def test_bfloat16_is_near_and_chosen_only_when_right():
    model, batches = SkipNet(), image_pairs()
    d = directions(model)
    exact, rough = (
        landscape.Losses(model, F.cross_entropy, batches, d, precision=p)(POINTS)[0] for p in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(exact, rough, rtol=0.05)
    losses = landscape.Losses(model, F.cross_entropy, batches, d, precision="auto")
    losses.choose_precision(POINTS, tolerance=0.0)
    assert losses.precision == "float32"


def test_the_model_is_left_to_the_bit_and_in_its_mode():
    model = SkipNet().train()
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(i % 2 == 0)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    landscape.surface(model, F.cross_entropy, image_pairs(), *directions(model, keep=("bias", "norm")), grid=9)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == [i % 2 == 0 for i in range(len(list(model.parameters())))]
    assert all(p.grad is None for p in model.parameters())
    assert all(m.bias is None for m in [model.stem])


def test_overflow_is_a_value_and_not_an_error():
    model, batches = relu_net(), pairs()
    far = [{n: 1e30 * t for n, t in d.items()} for d in directions(model)]
    losses, _ = landscape.Losses(model, F.cross_entropy, batches, far)(POINTS)
    assert np.isfinite(losses[0])
    assert not np.isfinite(losses[1:]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "no batches"),
        ({"samples": 0}, "between 1 and the 40 given"),
        ({"samples": 41}, "between 1 and the 40 given, got 41"),
        ({"precision": "float8"}, "float32, bfloat16, auto"),
        ({"microbatch": 0}, "microbatch must be at least 1"),
        ({"loss_fn": lambda o, t: F.cross_entropy(o, t, reduction="none")}, "must return a scalar"),
        ({"loss_fn": lambda o, t: F.cross_entropy(o, t) * torch.nan}, "loss on the first batch is nan"),
        ({"batches": pairs(inputs=5)}, "failed on the first batch"),
        ({"directions": [{"0.weight": torch.zeros(10, 6)}]}, "direction 1 is zero"),
        ({"directions": [{"9.weight": torch.ones(3)}]}, "9.weight, which the model does not have"),
        ({"directions": [{"0.weight": torch.ones(3)}]}, r"shape \(3,\) for 0.weight, the model \(10, 6\)"),
    ],
)
def test_bad_input_says_what_would_be_right(change, message):
    model = relu_net()
    given = {"loss_fn": F.cross_entropy, "batches": pairs(), "directions": directions(model), **change}
    with pytest.raises(InputError, match=message):
        landscape.Losses(model, given.pop("loss_fn"), given.pop("batches"), given.pop("directions"), **given)


@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_the_same_to_the_bit_whichever_points_it_is_asked_with(name):
    make, data = CASES[name]
    model = make()
    losses = landscape.Losses(model, F.cross_entropy, data(), directions(model), vectorised=name == "fully-connected")
    points = np.random.default_rng(0).uniform(-1, 1, (70, 2))
    together = losses(points)[0]
    order = np.random.default_rng(1).permutation(70)
    np.testing.assert_array_equal(losses(points[order])[0], together[order])
    np.testing.assert_array_equal(np.concatenate([losses(points[k : k + 1])[0] for k in range(9)]), together[:9])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_a_cuda_device_gives_the_same_losses(name):
    make, data = CASES[name]
    model = make()
    d = directions(model)
    expected = obvious(model, F.cross_entropy, data(), d, POINTS)
    on_device = make().cuda()
    there = [landscape.gaussian(on_device, seed) for seed in (0, 1)]
    np.testing.assert_allclose(
        landscape.Losses(on_device, F.cross_entropy, data(), there)(POINTS)[0], expected, rtol=1e-3
    )


def test_models_that_do_not_fit_twice_are_refused_in_one_line(monkeypatch):
    from nonsingular.objective import failures

    model = relu_net()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    direction = landscape.gaussian(model, 0)
    monkeypatch.setattr(failures, "available_bytes", lambda device: 4 * size)
    with pytest.raises(InputError, match=r"a copy of weights and directions needs .* GiB, and .* GiB are free"):
        landscape.line(model, F.cross_entropy, pairs(), direction, grid=3)
    monkeypatch.setattr(failures, "available_bytes", lambda device: 5 * size)
    landscape.line(model, F.cross_entropy, pairs(), direction, grid=3)


def test_auto_keeps_float32_where_a_model_fails_in_bfloat16(monkeypatch):
    from nonsingular.landscape import surface

    class Puts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 8)

        def forward(self, x):
            h = torch.zeros(len(x), 8)
            h[torch.arange(len(x))] = self.a(x)  # of two types under autocast
            return h

    torch.manual_seed(0)
    monkeypatch.setattr(sys.modules["nonsingular.landscape.grid"], "known", lambda device: None)
    monkeypatch.setattr(sys.modules["nonsingular.landscape.grid"], "emulates_bfloat16", lambda device: False)
    model, batch = Puts(), (torch.randn(16, 4), torch.arange(16) % 8)
    x, y = (landscape.gaussian(model, seed) for seed in (0, 1))
    found, exact = (
        surface(model, F.cross_entropy, [batch], x, y, grid=5, settings=landscape.Settings(0.1, precision=precision))
        for precision in ("auto", "float32")
    )
    assert "float32" in found.how
    assert "in bfloat16 the model fails: Index put requires" in found.notes
    assert exact.notes == ""
    with pytest.raises(InputError, match=r"in bfloat16 the model fails: Index put requires .*; take precision float32"):
        landscape.Losses(model, F.cross_entropy, [batch], [x], precision="bfloat16")
    assert np.array_equal(found.loss, exact.loss)


def test_no_rates_are_read_where_the_precision_is_named(monkeypatch):
    monkeypatch.setattr(sys.modules["nonsingular.landscape.grid"], "known", lambda device: 1 / 0)
    model, batch = nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    found = landscape.line(model, F.cross_entropy, [batch], landscape.gaussian(model, 0), grid=3)
    assert "float32" in found.how
