"""Gradients written out by hand against autograd's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.networks import DropoutSpec, NetworkSpec, build
from nonsingular.networks.fully_connected import ACTIVATIONS
from nonsingular.training import BiasPenalty, Population, Trainer, TrainingSpec, linear_stacks
from nonsingular.training.linear_stacks import LinearStack, cross_entropy_gradient, fits

SKIPS = ("none", "identity", "orthogonal", "hyper", "hyper:2")
SPEC = TrainingSpec(batch=30, learning_rate=1e-2)


def networks(runs, depth=4, **spec):
    return [build(NetworkSpec(depth=depth, width=8, **spec), 8, 3, seed) for seed in range(runs)]


@pytest.fixture
def two_at_a_time(monkeypatch):
    """Five runs are then computed two, two and one together."""
    monkeypatch.setattr(linear_stacks, "IN_CACHE", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autograds(skip, activation, two_at_a_time):
    population = Population([n.double() for n in networks(5, skip=skip, activation=activation)])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 20, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (5, 20), generator=generator)
    losses = F.cross_entropy(population(x).flatten(0, 1), labels.flatten(), reduction="none")
    wanted = torch.autograd.grad(losses.view(5, 20).mean(1).sum(), list(population.parameters.values()))
    stack = LinearStack(population, 20)
    assert [part.stop - part.start for part in stack.parts()] == [2, 2, 1]
    for _ in range(2):  # nothing of the first time is left in the buffers
        for part in stack.parts():
            stack.differentiate(part, x[part], lambda logits, y=labels[part]: cross_entropy_gradient(logits, y))
        for (name, p), expected in zip(population.parameters.items(), wanted, strict=True):
            torch.testing.assert_close(p.grad, expected, rtol=1e-10, atol=1e-13, msg=name)


@pytest.mark.parametrize("skip", SKIPS)
def test_mixed_precision_rounds_as_much_as_autocast(skip, two_at_a_time):
    """Both against double precision; every run's gradient of its own, in parts of two, two and one."""
    population = Population(networks(5, depth=6, skip=skip))
    exact = Population([n.double() for n in networks(5, depth=6, skip=skip)])
    x = torch.randn(5, 200, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(200).expand(5, 200) % 3

    def by_autograd(networks, inputs):
        losses = F.cross_entropy(networks(inputs).double().flatten(0, 1), labels.flatten(), reduction="none")
        return torch.autograd.grad(losses.view(5, 200).mean(1).sum(), list(networks.parameters.values()))

    reference = by_autograd(exact, x.double())
    with torch.autocast("cpu", torch.bfloat16):
        usual = by_autograd(population, x)
    stack = LinearStack(population, 200, torch.bfloat16)
    for part in stack.parts():
        stack.differentiate(part, x[part], lambda z, y=labels[part]: cross_entropy_gradient(z.float(), y))
    ours = [p.grad for p in population.parameters.values()]
    assert all(g.dtype == torch.float32 for g in ours)

    def error(gradients):
        off = sum((g.double() - r).square().flatten(1).sum(1) for g, r in zip(gradients, reference, strict=True))
        return (off / sum(r.square().flatten(1).sum(1) for r in reference)).sqrt()

    assert (error(ours) > 1e-4).all()  # they are rounded
    assert error(ours).mean() < 1.3 * error(usual).mean() < 0.2


def in_sequence(kind):
    torch.manual_seed(0)
    activations = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "leaky": nn.LeakyReLU, "none": nn.Identity}
    first = nn.Sequential(nn.Flatten(), nn.Linear(8, 12), activations[kind](), nn.Sequential(nn.Linear(12, 5)))
    return nn.Sequential(first, nn.Linear(5, 9), activations[kind](), nn.Linear(9, 3))


@pytest.mark.parametrize("kind", ["relu", "tanh", "gelu", "leaky", "none"])
def test_sequences_of_linear_layers_are_written_out_too(task, kind):
    fast, slow = (Trainer([in_sequence(kind) for _ in range(3)], range(3), task, SPEC) for _ in range(2))
    agree(fast, slow, epochs=4)


def twice(kind):
    """A subclass that computes something else."""

    class Scaled(kind):
        def forward(self, x):
            return 2 * super().forward(x)

    return Scaled


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(8, 3)),  # nothing hidden
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(-1)),
        nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Tanh(), nn.Linear(8, 3)),
        nn.Sequential(nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(8, 8), nn.GELU("tanh"), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)),
        nn.Sequential(Doubled(8, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 3)),
        *(
            nn.Sequential(nn.Linear(8, 8), twice(kind)(), nn.Linear(8, 3))
            for kind in (nn.GELU, nn.LeakyReLU, nn.ReLU, nn.Tanh)
        ),
        nn.Sequential(*[nn.Linear(8, 8)] * 2, nn.Linear(8, 3)),  # one layer twice
    ],
    ids=lambda network: "-".join(type(m).__name__ for m in network),
)
def test_other_sequences_are_left_to_autograd(task, network):
    assert not fits(Population([network]), task, SPEC)


def test_images_are_flattened_only_by_a_network_that_does(task):
    x = task.train_inputs[:, None]  # [sample, 1, 8]: a linear layer alone would see the last axis
    rows = type(task)(x, task.train_labels, x, task.train_labels, 3)
    bare = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    assert fits(Population([bare]), task, SPEC)
    assert not fits(Population([bare]), rows, SPEC)
    assert fits(Population([nn.Sequential(nn.Flatten(), bare)]), rows, SPEC)
    assert not fits(Population([nn.Sequential(nn.Flatten(0), bare)]), rows, SPEC)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("skip", ["none", "hyper"])
def test_shallow_networks_too(task, depth, skip):
    fast, slow = (Trainer(networks(2, depth, skip=skip), range(2), task, SPEC) for _ in range(2))
    agree(fast, slow, epochs=1)


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        TrainingSpec(batch=30, optimiser="sgd", learning_rate=0.05, momentum=0.9, weight_decay=1e-3),
    ],
    ids=["adam", "sgd"],
)
def test_twenty_steps_end_where_autograds_end(task, skip, spec):
    penalties = [BiasPenalty(0.5, 0.9, 0.01), None]
    fast, slow = (Trainer(networks(2, skip=skip), range(2), task, spec, penalties) for _ in range(2))
    agree(fast, slow, epochs=4)
    assert fast.epoch * fast.steps >= 20


LOSSES = {
    "mean square": F.mse_loss,
    "cross-entropy of shares": F.cross_entropy,
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
    "weighted": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])),
    "a module": nn.CrossEntropyLoss(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_other_losses_take_autograds_gradient_by_the_outputs(task, name):
    shares = 0.8 * F.one_hot(task.train_labels, 3).float() + 0.2 / 3
    labels = shares if name in ("mean square", "cross-entropy of shares") else task.train_labels
    other = type(task)(task.train_inputs, labels, task.test_inputs, task.test_labels, 3)
    fast, slow = (Trainer(networks(2), range(2), other, SPEC, loss=LOSSES[name]) for _ in range(2))
    agree(fast, slow, epochs=2)
    assert (fast.loss is F.cross_entropy) == (name in ("cross-entropy of shares", "a module"))


def agree(fast, slow, epochs):
    assert fast._stack
    slow._stack = None
    start = {name: p.detach().clone() for name, p in fast.population.parameters.items()}
    for _ in range(epochs):
        fast.train_epoch()
        slow.train_epoch()
    for name, p in fast.population.parameters.items():
        assert not torch.equal(p, start[name])
        torch.testing.assert_close(p, slow.population.parameters[name], rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize(
    ("spec", "protocol", "expected"),
    [
        (NetworkSpec(3, 8), SPEC, True),
        (NetworkSpec(3, 8, skip="hyper", activation="gelu"), SPEC, True),
        (NetworkSpec(3, 8, batch_norm=(2,)), SPEC, False),
        (DropoutSpec(3, 8), SPEC, False),
        (NetworkSpec(3, 8), TrainingSpec(batch=30, precision="bfloat16"), True),
        (NetworkSpec(3, 8), TrainingSpec(batch=30, mixup=0.2), False),
    ],
)
def test_what_is_written_out(task, spec, protocol, expected):
    assert fits(Population([build(spec, 8, 3, 0)]), task, protocol) == expected


@pytest.mark.parametrize(
    "register",
    ["forward_pre_hook", "forward_hook", "full_backward_pre_hook", "full_backward_hook"],
)
def test_hooks_are_run(task, register):
    (network,) = networks(1)
    assert fits(Population([network]), task, SPEC)
    getattr(network.readout, f"register_{register}")(lambda *_: None)
    assert not fits(Population([network]), task, SPEC)
    with getattr(nn.modules.module, f"register_module_{register}")(lambda *_: None):
        assert not fits(Population(networks(1)), task, SPEC)
    assert fits(Population(networks(1)), task, SPEC)


def with_its_own_forward():
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    network[1].forward = lambda x: 2 * torch.relu(x)
    return network


def test_what_is_left_to_autograd(task):
    hooked, frozen, own = networks(3)
    hooked.layers[1].register_forward_hook(lambda *_: None)
    frozen.readout.bias.requires_grad_(False)
    own.readout = torch.nn.Sequential(torch.nn.Linear(8, 3))
    for network in (hooked, frozen, own):
        assert not fits(Population([network]), task, SPEC)
    assert not fits(Population(networks(1), vectorised=False), task, SPEC)
    assert not fits(Population([with_its_own_forward()]), task, SPEC)
    unknown = type(task)(task.train_inputs, task.train_labels - 1, task.test_inputs, task.test_labels, 3)
    assert not fits(Population(networks(1)), unknown, SPEC)
