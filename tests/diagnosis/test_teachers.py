"""Who teaches whom, where a loss trains one model to be like another that learns labels too."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.diagnosis.loop import Observer, tapped
from nonsingular.diagnosis.loop.statistics import MEASURES


def taught(loaded=(), evaluated=(), steps=4, then=()):
    """Share of the steps that train a teacher, of a loop in which ``big`` learns labels and ``small`` to be like it."""
    torch.manual_seed(0)
    observer = Observer()
    with observer.tape, tapped(observer):
        nets = {
            name: nn.Sequential(nn.Linear(8, n), nn.Tanh(), nn.Linear(n, 3)) for name, n in (("big", 64), ("small", 40))
        }
        optimiser = torch.optim.Adam([p for net in nets.values() for p in net.parameters()], 1e-3)
        restore(nets, loaded)
        for name in evaluated:
            nets[name].eval()
        for x in torch.randn(steps, 32, 8):
            out = {name: net(x) for name, net in nets.items()}
            loss = F.cross_entropy(out["big"], (x[:, 0] > 0).long()) + F.mse_loss(out["small"], out["big"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        restore(nets, then)
    return MEASURES["loop-taught"](observer.finish()).value


def restore(nets, names):
    for name in names:
        nets[name].load_state_dict({key: value.clone() for key, value in nets[name].state_dict().items()})


BOTH = ("big", "small")


@pytest.mark.parametrize(
    "how", [{"loaded": ("small",)}, {"evaluated": ("small",)}, {"loaded": BOTH, "evaluated": ("small",)}]
)
def test_a_teacher_is_known_by_what_its_student_is_not(how):
    assert taught(**how) == 1


@pytest.mark.parametrize(
    "how",
    [{}, {"loaded": BOTH}, {"loaded": ("big",)}, {"evaluated": BOTH}, {"loaded": BOTH, "evaluated": BOTH},
     {"then": ("small",)}],
)  # fmt: skip
def test_of_two_that_are_alike_nobody_knows_who_teaches(how):  # as where both are resumed
    assert not taught(**how) > 0
