import copy

import pytest
import torch
import torch.nn.functional as F

from nonsingular.errors import InputError
from nonsingular.networks import NetworkSpec, build
from nonsingular.training import BiasPenalty, Trainer, TrainingSpec, runs_that_fit
from nonsingular.training.regularisers import penalty
from nonsingular.training.trainer import _permutation

SPEC = TrainingSpec(epochs=3, batch=30, learning_rate=1e-2)
NET = NetworkSpec(depth=3, width=8)


def trainer(task, seeds, spec=SPEC, net=NET, penalties=()):
    return Trainer([build(net, 8, 3, s) for s in seeds], seeds, task, spec, penalties)


def plain_loop(task, seed, spec, net=NET, bias=None):
    """The slow, obvious way: one network, one loop, stock optimiser."""
    network = build(net, 8, 3, seed)
    targets = bias.targets(network, seed) if bias else {}
    if spec.optimiser == "adam":
        optimiser = torch.optim.Adam(network.parameters(), lr=spec.learning_rate)
    else:
        optimiser = torch.optim.SGD(
            network.parameters(), lr=spec.learning_rate, momentum=spec.momentum, nesterov=spec.nesterov
        )
    network.train()
    for epoch in range(spec.epochs):
        order = _permutation(len(task.train_labels), seed, epoch)
        for i in range(len(order) // spec.batch):
            rows = order[i * spec.batch : (i + 1) * spec.batch]
            loss = F.cross_entropy(network(task.train_inputs[rows]), task.train_labels[rows])
            named = dict(network.named_parameters())
            loss = loss + sum(bias.strength * (named[k] - t).square().sum() for k, t in targets.items())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network


@pytest.mark.parametrize("bias", [None, BiasPenalty(0.5, 0.9, 0.01)], ids=["plain", "bias"])
@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        TrainingSpec(epochs=3, batch=30, optimiser="sgd", learning_rate=0.1, momentum=0.9),
        TrainingSpec(epochs=3, batch=30, optimiser="sgd", learning_rate=0.1, momentum=0.9, nesterov=True),
    ],
    ids=["adam", "sgd", "nesterov"],
)
def test_population_follows_the_plain_loop(task, spec, bias):
    t = trainer(task, [3, 4], spec, penalties=[bias, bias])
    for _ in range(spec.epochs):
        t.train_epoch()
    for k, seed in enumerate([3, 4]):
        slow = plain_loop(task, seed, spec, bias=bias)
        for name, parameter in slow.named_parameters():
            torch.testing.assert_close(t.population.parameters[name][k], parameter.detach(), rtol=1e-3, atol=1e-5)


def test_nesterov_momentum_is_torchs_to_the_bit(task):
    """The population's steps from given gradients, against one optimiser a run."""
    spec = TrainingSpec(
        batch=30, optimiser="sgd", learning_rate=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )  # fmt: skip
    t = trainer(task, [0, 1], spec)
    stacked = list(t.population.parameters.values())
    alone = [[p.detach()[k].clone().requires_grad_() for p in stacked] for k in range(2)]
    optimisers = [
        torch.optim.SGD(own, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True) for own in alone
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for number, p in enumerate(stacked):
            p.grad = torch.randn(p.shape, generator=generator)
            for k in range(2):
                alone[k][number].grad = p.grad[k].clone()
        for optimiser in (t.optimiser, *optimisers):
            optimiser.step()
    for number, p in enumerate(stacked):
        for k in range(2):
            assert torch.equal(p[k], alone[k][number])


def test_nesterov_needs_momentum():
    with pytest.raises(InputError, match="nesterov needs optimiser sgd"):
        TrainingSpec(nesterov=True)
    with pytest.raises(InputError, match="momentum above 0"):
        TrainingSpec(optimiser="sgd", nesterov=True)


@pytest.mark.parametrize(
    "net", [NET, NetworkSpec(depth=3, width=8, skip="hyper", batch_norm=(2,))], ids=["plain", "hyper"]
)
def test_a_run_is_the_same_alone_and_in_company(task, net):
    together, alone = trainer(task, [0, 1, 2], net=net), trainer(task, [1], net=net)
    for t in (together, alone):
        t.train_epoch()
        t.train_epoch()
    for name, parameter in alone.population.parameters.items():
        torch.testing.assert_close(together.population.parameters[name][1], parameter[0], rtol=1e-4, atol=1e-6)


def test_runs_differ_in_their_batches(task):
    t = trainer(task, [0, 1])
    first, second = t._batches()[0]
    assert not torch.equal(first, second)
    assert sorted(torch.cat([b[0] for b in t._batches()]).tolist()) == list(range(180))


def test_training_learns(task):
    t = trainer(task, range(4))
    before = t.evaluate(task.train_inputs, task.train_labels)
    for _ in range(20):
        t.train_epoch()
    after = t.evaluate(task.train_inputs, task.train_labels)
    assert (after.accuracy > before.accuracy).all()
    assert (after.accuracy > 0.9).all()


def test_evaluate_is_the_plain_mean(task):
    t = trainer(task, [5, 6])
    found = t.evaluate(task.test_inputs, task.test_labels, batch=7)
    for k in range(2):
        logits = t.population.network(k)(task.test_inputs)
        assert found.accuracy[k] == (logits.argmax(-1) == task.test_labels).float().mean()
        torch.testing.assert_close(found.loss[k], F.cross_entropy(logits, task.test_labels).detach())


def test_a_diverged_run_is_marked_and_the_others_go_on(task):
    healthy, ill = trainer(task, [0, 1]), trainer(task, [0, 1])
    with torch.no_grad():
        ill.population.parameters["layers.0.linear.weight"][1] = torch.nan
    for t in (healthy, ill):
        t.train_epoch()
    result = ill.evaluate(task.train_inputs, task.train_labels)
    assert result.accuracy.isnan().tolist() == [False, True]
    assert ill.finite().tolist() == [True, False]
    for name, parameter in healthy.population.parameters.items():
        torch.testing.assert_close(ill.population.parameters[name][0], parameter[0])


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_resumed_training_is_uninterrupted_training_to_the_bit(task, optimiser):
    spec = TrainingSpec(epochs=4, batch=30, optimiser=optimiser, momentum=0.5 if optimiser == "sgd" else 0.0)
    whole, first = trainer(task, [0, 1], spec), trainer(task, [0, 1], spec)
    for _ in range(4):
        whole.train_epoch()
    for _ in range(2):
        first.train_epoch()
    second = trainer(task, [0, 1], spec)
    second.load(copy.deepcopy(first.state()))
    while second.epoch < 4:
        second.train_epoch()
    for name, parameter in whole.population.parameters.items():
        assert torch.equal(second.population.parameters[name], parameter)


@pytest.mark.parametrize("net", [NET, NetworkSpec(depth=3, width=8, batch_norm=(2,))], ids=["plain", "bn"])
def test_half_precision_learns_the_same_task(task, net):
    t = trainer(task, range(3), TrainingSpec(epochs=1, batch=30, learning_rate=1e-2, precision="bfloat16"), net)
    for _ in range(20):
        t.train_epoch()
    assert (t.evaluate(task.train_inputs, task.train_labels).accuracy > 0.9).all()
    assert all(p.dtype == torch.float32 for p in t.population.parameters.values())


def test_bias_targets_follow_their_distribution():
    network = build(NetworkSpec(depth=40, width=100), 8, 3, 0)
    targets = BiasPenalty(0.5, 0.9, 1.0).targets(network, 0)
    assert len(targets) == 40  # hidden layers only, not the readout
    values = torch.cat(list(targets.values()))
    assert abs(values.mean() - 0.5) < 4 * 0.9 / len(values) ** 0.5
    assert abs(values.std() / 0.9 - 1) < 0.05
    assert all((t == 0).all() for t in BiasPenalty(strength=1.0).targets(network, 0).values())


def test_penalty_is_squared_distance_by_run():
    parameters = {"a": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}
    targets = {"a": torch.tensor([[0.0, 0.0], [3.0, 0.0]])}
    assert penalty(parameters, targets, torch.tensor([2.0, 0.5])).tolist() == [10.0, 4.5]


def test_more_memory_holds_more_runs(task):
    network = build(NET, 8, 3, 0)
    few, many = (runs_that_fit(network, task, SPEC, torch.device("cpu"), share) for share in (0.01, 0.1))
    assert 1 <= few < many
    assert runs_that_fit(network, task, SPEC, torch.device("cpu"), share=1e-12) == 1


def test_memory_estimate_grows_with_depth(task):
    device = torch.device("cpu")
    shallow = runs_that_fit(build(NetworkSpec(4, 64), 8, 3, 0), task, SPEC, device, 0.1)
    deep = runs_that_fit(build(NetworkSpec(16, 64), 8, 3, 0), task, SPEC, device, 0.1)
    assert 2.5 < shallow / deep < 8  # about four times the activations and parameters


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch": -5}, "batch must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"optimiser": "lion"}, "adam, sgd"),
        ({"precision": "float8"}, "float32, bfloat16"),
    ],
)
def test_bad_protocols_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        TrainingSpec(**fields)


def test_batch_larger_than_the_data_is_refused(task):
    with pytest.raises(InputError, match="larger than the training set of 180"):
        trainer(task, [0], TrainingSpec(batch=181))
