"""Ctrl-C at any time leaves a user's model as it was: values, modes, hooks, gradients."""

import random
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular import landscape

TIMES = 2  # of each door


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model[0].bias.requires_grad_(False)
    model[1].eval()
    return model.train()


def as_it_is(model):
    """All of a model that its user may notice."""
    hooks = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    return (
        {n: t.clone() for n, t in model.state_dict().items()},
        {n: (p.requires_grad, None if p.grad is None else p.grad.clone()) for n, p in model.named_parameters()},
        [
            (name, type(m), m.training, [len(getattr(m, h)) for h in hooks], sorted(vars(m)))
            for name, m in model.named_modules()
        ],
    )


BATCH = torch.randn(24, 6, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3


def diagnosed(model):
    ns.diagnose(model, F.cross_entropy, [BATCH])


def proved(model):
    protocol = ns.diagnosis.Protocol(seeds=2, batch=8)
    ns.diagnose(model, F.cross_entropy, [BATCH], steps=2, protocol=protocol)


def counted(model):
    ns.spectrum(ns.Hessian(model, F.cross_entropy, [BATCH]), method="lanczos", max_steps=4)


def drawn(model):
    x, y = (landscape.gaussian(model, seed) for seed in (0, 1))
    landscape.surface(model, F.cross_entropy, [BATCH], x, y, grid=3)


CLEANING = ("__exit__", "close", "remove", "restore", "_restore", "__del__")
"""What puts things back is not cut short: a second Ctrl-C may always be one too many."""


def interrupted_at(call, work):
    """How many functions of ours were called, and whether Ctrl-C came in the one with this number or soon after."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        if event != "call" or "/nonsingular/" not in frame.f_code.co_filename:
            return
        count += 1
        if 0 < call <= count and not cleans_up(frame):
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        work()
    except KeyboardInterrupt:
        return count, True
    finally:
        sys.setprofile(None)
    return count, False


def cleans_up(frame):
    while frame is not None:
        if frame.f_code.co_name in CLEANING:
            return True
        frame = frame.f_back
    return False


@pytest.mark.filterwarnings("ignore")  # torch turns what is raised within its own compilers into other errors
@pytest.mark.parametrize("door", [diagnosed, proved, counted, drawn], ids=lambda door: door.__name__)
def test_the_model_is_as_it_was(door):
    model = network()
    calls, _ = interrupted_at(0, lambda: door(model))
    assert calls > 20
    draw = random.Random(door.__name__)
    for _ in range(TIMES):
        model = network()
        before, number = as_it_is(model), draw.randint(1, calls)
        _, cut = interrupted_at(number, lambda model=model: door(model))
        now = as_it_is(model)
        torch.testing.assert_close(now[:2], before[:2], rtol=0, atol=0)
        assert now[2] == before[2], (number, cut)
