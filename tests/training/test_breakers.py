"""Arithmetic without rounding by place, what breaks the symmetry of identical features, and mixup."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular import measures
from nonsingular.data import Task
from nonsingular.errors import InputError
from nonsingular.networks import ConstNetSpec, LeakyNetSpec, build
from nonsingular.training import Breaker, Trainer, TrainingSpec
from nonsingular.training.arithmetic import OrderFree, RandomOrder, exact_sum
from nonsingular.training.mixup import mix, partners
from nonsingular.training.trainer import _permutation

SGD = TrainingSpec(epochs=25, batch=16, optimiser="sgd", learning_rate=0.03, momentum=0.9, weight_decay=5e-4)


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(80) % 3
    inputs = torch.randn(80, 3, 8, 8, generator=generator) + 0.5 * labels[:, None, None, None]
    return Task(inputs[:64], labels[:64], inputs[64:], labels[64:], classes=3)


def trained(spec, task, breaker, epochs=SGD.epochs, seed=0, protocol=SGD):
    trainer = Trainer([build(spec, task.shape, task.classes, seed)], [seed], task, protocol, breakers=[breaker])
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def kernels(trainer):
    return {name: p.detach()[0] for name, p in trainer.population.parameters.items() if p.ndim == 5}


def channels_equal(weight):
    """Every output channel reads the input alike, and after the first layer every input channel is read alike."""
    alike = bool((weight == weight[:1]).all())
    return alike and (weight.shape[1] == 3 or bool((weight == weight[:, :1]).all()))


@pytest.mark.parametrize(("width", "batch_norm"), [(3, True), (8, False)])
def test_without_a_breaker_features_stay_identical_to_the_bit_for_100_steps(pictures, width, batch_norm):
    spec = ConstNetSpec(depth=4, width=width, widening=2, batch_norm=batch_norm)
    trainer = trained(spec, pictures, Breaker("order-free"))
    assert trainer.epoch * trainer.steps == 100
    moved = 0
    for name, weight in kernels(trainer).items():
        assert channels_equal(weight), name
        moved += bool(weight.std() > 0)
    assert moved >= 4  # they did train
    norms = {n: p for n, p in trainer.population.parameters.items() if "norm" in n}
    assert all((p == p[:, :1]).all() for p in norms.values())


@pytest.mark.parametrize("decay", [0.0, 0.1], ids=["adam", "adamw"])
def test_adam_keeps_them_identical_too(pictures, decay):
    protocol = TrainingSpec(batch=16, learning_rate=1e-3, weight_decay=decay)
    trainer = trained(ConstNetSpec(4, 3, 1), pictures, Breaker("order-free"), epochs=4, protocol=protocol)
    assert all(channels_equal(weight) for weight in kernels(trainer).values())


def test_averages_stay_symmetric_in_a_leakynet_too(pictures):
    trainer = trained(LeakyNetSpec(7, width=3, widening=1, starts="1"), pictures, Breaker("order-free"), epochs=5)
    assert all(channels_equal(weight) for weight in kernels(trainer).values())


@pytest.mark.parametrize(
    ("dropout", "breaker"),
    [
        (0.0, Breaker("order-free", gradient_noise=1.0)),
        (0.0, Breaker("random-order")),
        (0.0, Breaker("order-free", parameter_noise=1e-6)),
        (0.05, Breaker("order-free")),
    ],
    ids=["gradient noise", "random order", "parameter noise", "dropout"],
)
def test_every_breaker_breaks_it(pictures, dropout, breaker):
    trainer = trained(ConstNetSpec(4, 8, 1, dropout=dropout, dropout_on="all"), pictures, breaker, epochs=10)
    for name, weight in kernels(trainer).items():
        # A change of rounding's size is rounded away where it meets a large weight, as those of the skips are.
        assert measures.unique_features(weight) > 1 or ".widening" in name, name


def test_order_free_training_is_close_to_the_librarys(pictures):
    spec = ConstNetSpec(4, 8, 1, start="he")
    free, library = (trained(spec, pictures, b, epochs=3) for b in (Breaker("order-free"), None))
    for name, weight in kernels(free).items():
        torch.testing.assert_close(weight, kernels(library)[name], rtol=5e-3, atol=2e-3)


def passes(module, x, mode):
    """Output and gradients of a module, in training mode, as numbers."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    with mode:
        y = module.train()(x)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in module.parameters())]


MODULES = {
    "convolution": lambda: nn.Conv2d(3, 5, 3, 2, 1),
    "grouped": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
    "batch norm": lambda: nn.BatchNorm2d(4),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 5)),
    "mean": lambda: nn.Sequential(nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("mode", [OrderFree, RandomOrder])
def test_both_modes_compute_what_float64_computes(name, mode):
    torch.manual_seed(0)
    module = MODULES[name]()
    x = torch.randn(8, 3 if name == "convolution" else 4, 6, 6)
    found = passes(module, x, mode())
    module.double()
    expected = passes(module, x.double(), torch.enable_grad())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_running_statistics_and_evaluation_follow_the_library():
    torch.manual_seed(0)
    ours, theirs = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    for _ in range(3):
        x = 3 + 2 * torch.randn(8, 4, 5, 5)
        with OrderFree():
            ours(x)
        theirs(x)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    with OrderFree():
        found = ours.eval()(x)
    torch.testing.assert_close(found, theirs.eval()(x))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 300), spread=st.floats(0, 10))
def test_exact_sums_do_not_depend_on_the_order(seed, count, spread):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, generator=generator) * torch.exp(spread * torch.randn(count, generator=generator))
    total = exact_sum(x, [0])
    for _ in range(3):
        assert torch.equal(exact_sum(x[torch.randperm(count, generator=generator)], [0]), total)
    torch.testing.assert_close(total[0], x.double().sum(), rtol=1e-9, atol=float(x.abs().max()) * 1e-9)


def test_products_do_not_depend_on_the_order():
    a, b = torch.randn(5, 300), torch.randn(300, 7)
    order = torch.randperm(300)
    with OrderFree():
        assert torch.equal(a @ b, a[:, order] @ b[order])
    assert not torch.equal(a @ b, a[:, order] @ b[order])


def test_random_order_differs_in_the_last_bits_and_follows_the_seed():
    layer, x = nn.Conv2d(4, 8, 3), torch.randn(16, 4, 8, 8)
    torch.manual_seed(1)
    first, second = (passes(layer, x, RandomOrder())[2] for _ in range(2))
    torch.manual_seed(1)
    again = passes(layer, x, RandomOrder())[2]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_gradient_noise_has_the_size_of_rounding():
    gradient = torch.randn(200_000)
    noisy = Breaker(gradient_noise=1000.0).perturb(gradient, torch.float32, torch.Generator().manual_seed(0))
    relative = ((noisy - gradient) / gradient).double()
    assert relative.std() == pytest.approx(1000 * torch.finfo(torch.float32).eps, rel=0.01)
    assert Breaker().perturb(gradient, torch.float32, torch.Generator()) is gradient


def test_parameter_noise_leaves_the_callers_network_alone():
    network = build(ConstNetSpec(4, 16, 2), (3, 8, 8), 3, 0)
    noisy = Breaker(parameter_noise=0.1).started(network, 3)
    weight = noisy.layers[3].conv.weight
    assert weight.detach().std() == pytest.approx(0.1 * weight[0].numel() ** -0.5, rel=0.02)
    assert (network.layers[3].conv.weight == 0).all()
    assert Breaker().started(network, 3) is network


def test_hardware_noise_is_the_gpus_own_and_stood_in_for_on_a_cpu(pictures):
    noise = Breaker("hardware", gradient_noise=0.5, parameter_noise=0.1)
    assert noise.on(torch.device("cuda", 1)) == Breaker("library", 0.5, 0.1)
    assert noise.on(torch.device("cpu")) == Breaker("random-order", 0.5, 0.1)
    for other in ("library", "order-free", "random-order"):
        assert Breaker(other).on(torch.device("cuda")) == Breaker(other)
    spec = ConstNetSpec(4, 8, 1)
    hardware, random = (trained(spec, pictures, Breaker(how), epochs=2) for how in ("hardware", "random-order"))
    assert not hardware.population.vectorised  # on a GPU too: plain convolutions, not grouped ones
    for name, weight in kernels(hardware).items():
        assert torch.equal(weight, kernels(random)[name])
    assert any(measures.unique_features(weight) > 1 for weight in kernels(hardware).values())


def test_order_free_passes_leave_cudnn_out():
    before = torch.backends.cudnn.enabled
    with Breaker("order-free").mode():
        assert not torch.backends.cudnn.enabled
    assert torch.backends.cudnn.enabled == before
    with Breaker("hardware").on(torch.device("cuda")).mode():
        assert torch.backends.cudnn.enabled == before


def test_runs_of_one_population_keep_their_own_breakers(pictures):
    spec = ConstNetSpec(4, 8, 1)
    breakers = [Breaker("order-free"), Breaker("order-free", gradient_noise=1.0)]
    networks = [build(spec, pictures.shape, 3, s) for s in (0, 1)]
    trainer = Trainer(networks, [0, 1], pictures, SGD, breakers=breakers)
    for _ in range(3):
        trainer.train_epoch()
    weight = trainer.population.parameters["layers.3.conv.weight"].detach()
    assert measures.unique_features(weight, stacked=True)[0] == 1
    assert measures.unique_features(weight, stacked=True)[1] > 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arithmetic": "sloppy"}, "there are library, order-free, random-order, hardware"),
        ({"gradient_noise": -1.0}, "gradient_noise must be finite"),
        ({"parameter_noise": float("inf")}, "parameter_noise must be finite"),
    ],
)
def test_wrong_breakers_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Breaker(**wrong)


# --- mixup --------------------------------------------------------------------------------------------------


def test_partners_are_permutations_and_shares_follow_beta():
    keys = [np.random.SeedSequence([s]) for s in range(4000)]
    partner, share = partners(5, 0.4, keys)
    assert (partner.sort(1).values == torch.arange(5)).all()
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.var() == pytest.approx(0.25 / (2 * 0.4 + 1), rel=0.05)


@pytest.mark.parametrize("vectorised", [True, False])
def test_a_mixed_step_is_the_slow_one(pictures, vectorised):
    spec = TrainingSpec(epochs=1, batch=64, optimiser="sgd", learning_rate=0.1, mixup=0.5)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(192, 3)) for _ in range(2)]
    trainer = Trainer(networks, [5, 6], pictures, spec, vectorised=vectorised)
    trainer.train_epoch()
    for run, (network, seed) in enumerate(zip(networks, (5, 6), strict=True)):
        rows = _permutation(64, seed, 0)
        x, y = pictures.train_inputs[rows], pictures.train_labels[rows]
        partner, share = partners(64, 0.5, [np.random.SeedSequence([seed, 0, 0, 2])])
        output = network(mix(x[None], partner, share)[0])
        loss = share[0] * F.cross_entropy(output, y) + (1 - share[0]) * F.cross_entropy(output, y[partner[0]])
        expected = network[1].weight - 0.1 * torch.autograd.grad(loss, network[1].weight)[0]
        torch.testing.assert_close(trainer.population.network(run)[1].weight, expected, rtol=1e-4, atol=1e-6)


def test_negative_mixup_is_refused():
    with pytest.raises(InputError, match="mixup must be finite and at least 0"):
        TrainingSpec(mixup=-0.1)
