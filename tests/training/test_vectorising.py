"""Which way populations of convolutional networks go, and that both ways train alike."""

import pytest
import torch
from torch import nn

from nonsingular.data import Task
from nonsingular.networks import ConstNetSpec, NetworkSpec, build, resnet
from nonsingular.training import Breaker, Trainer, TrainingSpec, vectorising
from nonsingular.training.vectorising import vectorises

CPU = torch.device("cpu")


def images(size, channels=3, samples=128):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, channels, size, size, generator=generator)
    y = torch.arange(samples) % 4
    return Task(x, y, x, y, 4)


def choice(spec, size=8, runs=2, device=CPU, **training):
    task = images(size)
    networks = [build(spec, task.shape, 4, seed) for seed in range(runs)]
    return vectorises(networks, task, TrainingSpec(**({"batch": 128} | training)), torch.device(device))


SMALL = [(4, 8, 128), (4, 32, 128), (8, 8, 128), (8, 16, 128), (16, 8, 128), (16, 16, 32)]
LARGE = [(8, 32, 128), (16, 16, 128), (16, 32, 128), (16, 16, 64)]


@pytest.mark.parametrize(
    ("width", "size", "batch", "expected"), [*((*case, True) for case in SMALL), *((*case, False) for case in LARGE)]
)
def test_small_convolutions_are_vectorised(width, size, batch, expected):
    assert choice(resnet(20, width=width), size, batch=batch) == expected


def test_very_deep_thin_networks_are_vectorised():
    assert choice(resnet(164, block="bottleneck", width=8), batch=50)


def test_what_decides_besides_the_work():
    thin = resnet(8, width=4)
    assert choice(thin)
    assert not choice(thin, runs=1)
    assert not choice(thin, precision="bfloat16")
    assert not choice(ConstNetSpec(4, 4, 1, dropout=0.1)), "a run's dropout would depend on its neighbours"
    assert choice(resnet(20), size=32, device="cuda")
    assert choice(NetworkSpec(2, 8), runs=1)


def test_what_counts_is_the_multiply_adds_of_the_mean_convolution(monkeypatch):
    """Against the products written out: samples, places, channels out, channels in of one group, places of a kernel."""
    network = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), nn.ReLU(), nn.Conv2d(6, 5, 1))
    by_hand = (7 * (4 * 4) * 6 * 2 * 9 + 7 * (4 * 4) * 5 * 6 * 1) / 2
    for limit, expected in ((by_hand, True), (by_hand - 1, False)):
        monkeypatch.setattr(vectorising, "MOST_WORK", limit)
        assert vectorises([network, network], images(8, channels=4), TrainingSpec(batch=7), CPU) == expected


def test_looking_changes_neither_network_nor_random_numbers():
    network = build(ConstNetSpec(4, 8, 1, dropout=0.5), (3, 8, 8), 4, 0).eval()
    task, before = images(8), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    vectorises([network, network], task, TrainingSpec(batch=4), CPU)
    assert not network.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Signs(torch.autograd.Function):
    """A function in the old style, for which vmap has no rule."""

    @staticmethod
    def forward(context, x):
        return x.sign()

    @staticmethod
    def backward(context, gradient):
        return gradient


class Stubborn(nn.Module):
    """Cannot be computed in a vectorised call: it looks at its own numbers, or has a function of its own."""

    def __init__(self, looks):
        super().__init__()
        self.conv, self.readout, self.looks = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), looks

    def forward(self, x):
        x = self.conv(x)
        x = (x if x.max() > 1 else -x) if self.looks else Signs.apply(x)
        return self.readout(x.mean((2, 3)))


@pytest.mark.parametrize("looks", [True, False])
def test_what_cannot_be_vectorised_goes_one_after_another(looks):
    task, spec = images(8), TrainingSpec(batch=32)
    trainer = Trainer([Stubborn(looks), Stubborn(looks)], [0, 1], task, spec)
    assert not trainer.population.vectorised
    trainer.train_epoch()


def test_a_breaker_with_its_own_arithmetic_goes_one_after_another():
    task, spec = images(8), TrainingSpec(batch=32)
    networks = [build(resnet(8, width=4), task.shape, 4, seed) for seed in range(2)]
    assert Trainer(networks, [0, 1], task, spec).population.vectorised
    assert not Trainer(networks, [0, 1], task, spec, breakers=[None, Breaker("order-free")]).population.vectorised


@pytest.mark.parametrize(
    "spec", [resnet(20, width=4), resnet(11, block="bottleneck", width=4), ConstNetSpec(7, 4, 1, start="he")]
)
def test_both_ways_train_alike(spec):
    task, training = images(8), TrainingSpec(batch=32, optimiser="sgd", learning_rate=0.01, momentum=0.9)
    trainers = []
    for vectorised in (None, False):
        networks = [build(spec, task.shape, 4, seed) for seed in range(3)]
        trainer = Trainer(networks, [0, 1, 2], task, training, vectorised=vectorised)
        trainer.train_epoch()
        trainers.append(trainer)
    fast, slow = trainers
    assert fast.population.vectorised
    for name, parameter in slow.population.parameters.items():
        # 20 layers multiply what the two ways round differently, most on processors without AVX-512.
        torch.testing.assert_close(fast.population.parameters[name], parameter, rtol=1e-3, atol=3e-4)


def test_a_resumed_vectorised_run_is_an_uninterrupted_one_to_the_bit():
    task, spec = images(8), TrainingSpec(batch=32, learning_rate=1e-3)

    def fresh():
        return Trainer([build(resnet(8, width=4), task.shape, 4, seed) for seed in range(3)], range(3), task, spec)

    whole, stopped, resumed = fresh(), fresh(), fresh()
    for trainer, epochs in ((whole, 4), (stopped, 2)):
        for _ in range(epochs):
            trainer.train_epoch()
    resumed.load(stopped.state())
    for _ in range(2):
        resumed.train_epoch()
    assert resumed.population.vectorised
    for kind, tensors in whole.population.state().items():
        for name, tensor in tensors.items():
            assert torch.equal(resumed.population.state()[kind][name], tensor), name
