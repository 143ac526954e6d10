"""Branches that begin switched off, outputs that nobody uses, treatments that a network cannot take."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.prove import prove


class Gated(nn.Module):
    """Residual blocks whose branch is switched off at the start: by a zero gate, or by zero weights."""

    def __init__(self, gate):
        super().__init__()
        self.first, self.out = nn.Linear(6, 16), nn.Linear(16, 3)
        self.a, self.b = (nn.ModuleList(nn.Linear(16, 16) for _ in range(4)) for _ in range(2))
        self.gates = nn.ParameterList(torch.zeros(1) for _ in range(4)) if gate else None
        if not gate:
            for layer in self.b:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.first(x)
        for i, (a, b) in enumerate(zip(self.a, self.b, strict=True)):
            branch = b(torch.relu(a(x)))
            x = x + (branch if self.gates is None else self.gates[i] * branch)
        return self.out(x)


def data(count=96):
    torch.manual_seed(0)
    x = torch.randn(count, 6)
    return [(x, x[:, :3].argmax(1))]


@pytest.mark.parametrize("gate", [True, False])
def test_branches_that_begin_switched_off_are_healthy(gate):
    torch.manual_seed(1)
    found = ns.diagnose(Gated(gate), F.cross_entropy, data(), curvature=False)
    assert [f.kind for f in found.findings] == []


def test_without_activations_the_same_network_is_affine():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3))
    found = ns.diagnose(model, F.cross_entropy, data(), curvature=False)
    assert "affine-network" in [f.kind for f in found.findings]


class LastState(nn.Module):
    """Time first, as PyTorch has it; the sequence of outputs is not used."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.rnn(x.view(3, -1, 2).movedim(1, 1).repeat(1, 1, 3))[1][0][-1])


def test_outputs_that_nobody_uses():
    torch.manual_seed(1)
    assert ns.diagnose(LastState(), F.cross_entropy, data(), curvature=False).look.samples == 96


class Categories(nn.Module):
    """The first column holds numbers of categories."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(4, 5), nn.Linear(10, 1)

    def forward(self, x):
        return self.out(torch.cat([self.table(x[:, 0].long()), x[:, 1:]], 1))


def test_a_treatment_that_the_network_cannot_take_does_not_apply():
    torch.manual_seed(0)
    x = torch.cat([torch.randint(0, 4, (96, 1)).float(), torch.randn(96, 5)], 1)
    protocol = ns.diagnosis.Protocol(steps=3, seeds=2, batch=16)
    [trial] = prove(Categories(), F.mse_loss, [(x, x[:, 1:2])], ["rescale_input"], protocol).trials
    assert trial.verdict == "does not apply"
    assert "fail" in trial.what


def test_losses_of_model_and_batch_have_no_shapes_to_match():
    def loss(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    protocol = ns.diagnosis.Protocol(steps=3, seeds=2, batch=16)
    names = ["match_shapes", "another_loss", "remove_last_activation"]
    proof = prove(nn.Linear(6, 3), loss, data(), names, protocol)
    assert {t.verdict for t in proof.trials} == {"does not apply"}
