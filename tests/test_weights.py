"""Weights are the same whichever way they are kept."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from nonsingular.errors import InputError
from nonsingular.weights import read_weights, state_of


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(7, 3), nn.BatchNorm1d(3)
        self.out = nn.Linear(3, 7, bias=False)
        self.out.weight = self.embedding.weight


def test_every_way_of_keeping_weights_gives_one_state(tmp_path):
    torch.manual_seed(0)
    model, other = Tied(), Tied()
    state = other.state_dict()
    torch.save({"model_state_dict": state}, tmp_path / "weights.pt")
    vector = parameters_to_vector(other.parameters())
    wrapped = {f"module._orig_mod.{name}": t for name, t in state.items()}
    for kept in (other, state, tmp_path / "weights.pt", str(tmp_path / "weights.pt"), vector, vector.detach().numpy(),
                 nn.DataParallel(other), torch.compile(other), wrapped):  # fmt: skip
        found = state_of(kept, model)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], t) for name, t in state.items())
    assert state_of(other).keys() == state.keys()


def test_a_flat_vector_may_hold_the_trained_weights_only():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    found = state_of(np.arange(4.0), model)
    assert found["1.weight"].tolist() == [[0, 1, 2]]
    assert found["1.bias"].tolist() == [3]
    assert found["1.bias"].dtype == torch.float32
    assert torch.equal(found["0.weight"], model[0].weight)


@pytest.mark.parametrize(
    ("weights", "model", "message"),
    [
        (torch.zeros(3), None, "give the model too"),
        (torch.zeros(3), nn.Linear(2, 2), "each of the model's 6 weights, got shape .3,."),
        (torch.zeros(2, 3), nn.Linear(2, 2), "got shape .2, 3."),
        ("nowhere.pt", None, "no checkpoint at nowhere.pt"),
        (3, None, "a checkpoint file or a flat vector, got int"),
    ],
)
def test_bad_weights_are_one_line(weights, model, message):
    with pytest.raises(InputError, match=message):
        state_of(weights, model)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"model.state_dict\(\)"):
        read_weights(tmp_path / "list.pt")
