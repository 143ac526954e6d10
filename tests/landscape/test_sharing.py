"""Layers of the data whose outputs are added up, against the losses that setting the weights gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models_landscape import POINTS, directions, obvious, pairs, relu_net
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from nonsingular import landscape, onednn
from nonsingular.landscape import sharing

WIDE = (70, 10, 8, 3)


def wide_pairs(**options):
    return pairs(70, **options)


def shared(losses):
    return 0 if losses._shared is None else len(losses._shared.layers)


def agree(model, loss_fn, batches, d, layers, points=POINTS, **options):
    losses = landscape.Losses(model, loss_fn, batches, d, **options)
    assert shared(losses) == layers
    np.testing.assert_allclose(losses(points)[0], obvious(model, loss_fn, batches, d, points), rtol=2e-5)
    assert all("forward" not in vars(m) for m in losses.objective.model.modules())
    return losses


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{"vectorised": True}, {"vectorised": False}, {"microbatch": 7}])
def test_added_up_outputs_give_what_setting_the_weights_gives(bias, options):
    model = relu_net(WIDE, bias=bias)
    batches = wide_pairs(samples=40) + wide_pairs(samples=13, seed=2)
    found = agree(model, F.cross_entropy, batches, directions(model), 1, **options)
    assert "first layer shared" in found.how


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(-2, 2), st.booleans())
def test_at_any_point_of_any_network(seed, a, b, vectorised):
    model = nn.Sequential(nn.Flatten(), *relu_net(WIDE, seed=seed))
    batches = pairs(image=(2, 5, 7), seed=seed)
    agree(model, F.cross_entropy, batches, directions(model), 1, np.array([[a, b]]), vectorised=vectorised)


@pytest.mark.parametrize("names", [["0.bias"], ["0.weight"], ["2.weight"]])
def test_directions_that_move_some_weights_only(names):
    model = relu_net(WIDE)
    some = {n: torch.randn_like(p) for n, p in model.named_parameters() if n in names}
    agree(model, F.cross_entropy, wide_pairs(), [*directions(model)[:1], some], 1)


class Towers(nn.Module):
    """One layer of two inputs, another of the first, and a third of what no data are."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.both, self.one, self.third = (nn.Linear(70, 5) for _ in range(3))
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        a, b = x[:, :70], x[:, 70:]
        return self.head((self.both(a) * self.both(b) + self.one(a)).relu() + self.third(a.square()))


def test_several_layers_and_inputs():
    model = Towers()
    losses = agree(model, F.cross_entropy, pairs(140), directions(model), 2)
    assert [len(places) for places in losses._shared.layers.values()] == [2, 1]


def test_a_loss_that_reads_the_layers_weights_sees_them():
    def penalised(model, batch):
        x, t = batch
        return F.cross_entropy(model(x), t) + model[0].weight.square().mean() + model[0](2 * x).square().mean()

    model, (batch,) = relu_net(WIDE), wide_pairs()
    d = directions(model)
    found, plain = (
        landscape.Losses(model, penalised, [batch], d, form="model", shared=s)(POINTS)[0] for s in (True, False)
    )
    np.testing.assert_allclose(found, plain, rtol=1e-5)


def test_what_overwrites_its_inputs_is_computed_plainly():
    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.scale = relu_net(WIDE), nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            return self.net(x.mul_(self.scale.detach()))

    model, (batch,) = Scaling(), wide_pairs()
    d = directions(model)
    found, plain = (landscape.Losses(model, F.cross_entropy, [batch], d, shared=s)(POINTS)[0] for s in (True, False))
    np.testing.assert_allclose(found, plain, rtol=1e-5)


class Inner(nn.Module):
    """Layers that are called by name, under function transforms, and differentiated by the data."""

    def __init__(self):
        super().__init__()
        self.net = relu_net((70, 6, 1))

    def forward(self, x):
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.net(y).sum(), y, create_graph=True)
        other = torch.func.vmap(torch.func.grad(lambda z: self.net(z)[0]))(x)
        hidden = (self.net[0](x) + self.net[0](input=x)).relu()
        return torch.vmap(self.net)(x) + self.net[2](hidden) + (slope - 2 * other).square().sum(1, keepdim=True)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("make", [lambda: relu_net((6, 10, 8, 1)), lambda: relu_net((70, 8, 1), bias=False), Inner])
def test_layers_by_onednn(make, monkeypatch):
    monkeypatch.setattr(onednn, "available", lambda: True)
    monkeypatch.setattr(onednn, "LARGE", 1)
    model = make()
    width = next(m for m in model.modules() if isinstance(m, nn.Linear)).in_features
    batches, d = [(x, x[:, :1]) for x, _ in pairs(width)], directions(model)
    losses = landscape.Losses(model, F.mse_loss, batches, d, vectorised=False)
    assert losses._by_onednn
    np.testing.assert_allclose(losses(POINTS)[0], obvious(model, F.mse_loss, batches, d, POINTS), rtol=2e-5)


def test_a_model_that_differentiates_by_the_data_or_transforms_its_layers():
    model, batches = Inner(), [(x, x[:, :1]) for x, _ in pairs(70)]
    agree(model, F.mse_loss, batches, directions(model), 1)


def test_a_layer_with_few_inputs_or_too_little_memory_is_not_shared(monkeypatch):
    model = relu_net()
    agree(model, F.cross_entropy, pairs(), directions(model), 0)
    monkeypatch.setattr(sharing, "MEMORY", 0.0)
    monkeypatch.setattr(sharing, "_outputs", lambda *_: pytest.fail("computed before there was known to be room"))
    model = relu_net(WIDE)
    agree(model, F.cross_entropy, wide_pairs(), directions(model), 0)


def test_outputs_take_all_the_room_that_is_left_and_no_more(monkeypatch):
    model, batches = relu_net(WIDE), wide_pairs(samples=40)
    d = directions(model)
    size = (1 + len(d)) * sum(len(x) for x, _ in batches) * 10 * 4  # of ten units in float32
    monkeypatch.setattr(sharing, "available_bytes", lambda device: size / sharing.MEMORY)
    agree(model, F.cross_entropy, batches, d, 1)
    monkeypatch.setattr(sharing, "available_bytes", lambda device: (size - 1) / sharing.MEMORY)
    agree(model, F.cross_entropy, batches, d, 0)


@pytest.mark.parametrize("made", [nn.utils.weight_norm, lambda m: prune.l1_unstructured(m, "weight", 0.3)])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
def test_a_layer_whose_weights_are_made_of_others_is_left_to_itself(made):
    model = relu_net(WIDE)
    made(model[0])
    direction = landscape.gaussian(model, 0)
    found = [
        landscape.Losses(model, F.cross_entropy, wide_pairs(), [direction], shared=s)(np.array([[0.0], [0.5]]))[0]
        for s in (False, True)
    ]
    np.testing.assert_allclose(*found, rtol=2e-5)
