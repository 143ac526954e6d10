"""Axes exchanged by a view, and data that only look like it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import scene
from nonsingular.diagnosis.contract.layout import torn


def generator():
    return torch.Generator().manual_seed(0)


def looked(x):
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2))
    y = torch.arange(len(x)) % 2
    return torn(scene(problem(model, F.cross_entropy, [(x.contiguous(), y)], 512)))


def images(channels=3, height=20, width=28):
    return F.avg_pool2d(torch.randn(48, channels, height, width, generator=generator()), 5, 1, 2)


def waves():
    """Noisy waves along one of both axes, in three colours of other sizes: neighbours are little alike."""
    phase, along = 6.28 * torch.rand(48, 1, 1, generator=generator()), torch.arange(48) % 2 == 0
    x = (1.3 * torch.arange(20.0) + phase).sin().expand(-1, 20, -1)
    x = torch.where(along[:, None, None], x, x.transpose(1, 2))[:, None] * torch.tensor([0.25, 0.3, 0.8])[:, None, None]
    return x + 0.35 * torch.randn(x.shape, generator=generator())


def walks(places=40, features=5):
    return torch.randn(48, places, features, generator=generator()).cumsum(1)


EXCHANGED = {
    "last for first": lambda: images().permute(0, 2, 3, 1).reshape(48, 3, 20, 28),
    "last for first, of waves": lambda: waves().permute(0, 2, 3, 1).reshape(48, 3, 20, 20),
    "last for first, two channels": lambda: images(2).permute(0, 2, 3, 1).reshape(48, 2, 20, 28),
    "first for last": lambda: images().reshape(48, 20, 28, 3),
    "height for width": lambda: images().reshape(48, 3, 28, 20),
    "height for width, one channel": lambda: images(1).reshape(48, 1, 28, 20),
    "height for width, no channel": lambda: images(1).reshape(48, 28, 20),
    "height for width, channels last": lambda: images().permute(0, 2, 3, 1).reshape(48, 28, 20, 3),
    "time for features": lambda: walks().reshape(48, 5, 40),
}


@pytest.mark.parametrize("name", EXCHANGED)
def test_axes_that_a_view_has_exchanged_are_told(name):
    found = looked(EXCHANGED[name]())
    assert found.value > 0.9
    assert "permute(" in found.remedy


STRAIGHT = {
    "first": images,
    "waves": waves,
    "last": lambda: images().permute(0, 2, 3, 1),
    "transposed": lambda: images().transpose(2, 3),
    "no channel": lambda: images()[:, 0],
    "noise": lambda: torch.randn(48, 3, 20, 28, generator=generator()),
    "noise, last": lambda: torch.randn(48, 20, 28, 3, generator=generator()),
    "sequences": walks,
    "sequences, features first": lambda: walks().transpose(1, 2),
    "as many places as features": lambda: walks(12, 12),
    "twice as many places as features": lambda: walks(24, 12),
    "a pattern of as many places as channels": lambda: _repeated(3, 2),
    "squares of a board": lambda: _repeated(2, 2),
    "a week of days in seven features": lambda: torch.randn(48, 7, 7, generator=generator())[:, :, torch.arange(28) % 7]
    + 0.5 * torch.randn(48, 7, 28, generator=generator()),
    "letters": lambda: F.one_hot(torch.randint(0, 4, (48, 20), generator=generator()), 4).float(),
    "masks": lambda: (images() > 0).float(),
    "nothing": lambda: torch.zeros(48, 3, 20, 28),
}  # fmt: skip


def _repeated(channels, axes):
    places = torch.arange(24) % channels == 0
    pattern = (places[:, None] ^ places[None]).float() if axes == 2 else places.float().expand(24, 24)
    size = torch.randn(48, channels, 1, 1, generator=generator())
    return size * pattern + 0.3 * torch.randn(48, channels, 24, 24, generator=generator())


@pytest.mark.parametrize("name", STRAIGHT)
def test_axes_that_are_right_are_not_accused(name):
    assert not looked(STRAIGHT[name]()).value > 0


@pytest.mark.parametrize(("patches", "length", "period"), [(48, 16, 48), (48, 16, 47), (12, 20, 12), (24, 10, 24)])
def test_one_signal_cut_in_patches_is_not_torn_whatever_its_period(patches, length, period):
    time = torch.arange(float(patches * length))
    phase = 6.28 * torch.rand(48, 1, generator=generator())
    x = (6.2832 * time / period + phase).sin() + 0.05 * torch.randn(48, len(time), generator=generator())
    assert not looked(x.reshape(48, patches, length)).value > 0
