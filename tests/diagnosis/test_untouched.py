"""What a look must leave as it was, a graph that waits for its backward pass among it."""

import pytest
import torch
from torch import nn

from nonsingular.diagnosis.untouched import untouched


class Aliased(nn.Module):
    """A buffer of two names, one of which is no buffer's."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(3))
        self.__dict__["same"] = self.count

    def forward(self, x):
        self.same += 1
        return x + self.count


def normalised():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("training", [True, False])
def test_a_graph_that_waits_is_followed_back_after_other_passes(training):
    model, x = normalised().train(training), torch.randn(16, 4)
    alone = torch.autograd.grad(model(x).square().sum(), [*model.parameters()])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    own = [*model.buffers()]
    loss = model(x).square().sum()
    after = {name: t.clone() for name, t in model.state_dict().items()}
    with untouched(model):
        model.train()
        model(5 + x).sum().backward()
        assert not torch.equal(model[1].running_mean, after["1.running_mean"])
    model.zero_grad()
    for one, other in zip(alone, torch.autograd.grad(loss, [*model.parameters()]), strict=True):
        torch.testing.assert_close(one, other)
    assert all(a is b for a, b in zip(own, model.buffers(), strict=True))
    assert all(torch.equal(t, after[name]) for name, t in model.state_dict().items())
    assert training or all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_shared_buffers_stay_shared_within_and_other_names_are_put_back():
    model = Aliased()
    model.twin = nn.Module()
    model.twin.register_buffer("count", model.count)
    with untouched(model):
        assert model.twin.count is model.count
        model(torch.zeros(3))
    assert model.count.tolist() == [0, 0, 0]
    assert model.twin.count is model.count is model.same


def test_buffers_of_inference_mode_are_put_back():
    with torch.inference_mode():
        model = normalised()
    with untouched(model):
        model[1].running_mean = torch.ones(8)
    assert model[1].running_mean.tolist() == [0.0] * 8
