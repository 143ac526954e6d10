import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular.errors import InputError
from nonsingular.networks import NetworkSpec, build, named
from nonsingular.training import Population

SPECS = [named(name, depth=4, width=8) for name in ("plain", "residual", "hyper-residual", "orthogonal")]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.skip)
def test_population_computes_what_its_networks_compute(spec):
    networks = [build(spec, 5, 3, seed) for seed in range(4)]
    x = torch.randn(4, 6, 5)
    together = Population(networks)(x)
    alone = torch.stack([n(xi) for n, xi in zip(networks, x, strict=True)])
    torch.testing.assert_close(together, alone)


def test_shared_batch_is_the_same_batch_for_all():
    networks = [build(SPECS[1], 5, 3, seed) for seed in range(3)]
    x = torch.randn(6, 5)
    population = Population(networks)
    torch.testing.assert_close(population(x, shared=True), population(x.expand(3, 6, 5)))


def test_members_may_differ_in_skip_matrix():
    specs = [NetworkSpec(depth=3, width=8, skip=s) for s in ("orthogonal", "copies:2", "equalised:0.02")]
    networks = [build(s, 5, 3, seed=0) for s in specs]
    x = torch.randn(6, 5)
    together = Population(networks)(x, shared=True)
    torch.testing.assert_close(together, torch.stack([n(x) for n in networks]))
    assert not torch.allclose(together[0], together[1])


def test_convolutional_networks_stack_too():
    networks = [nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)) for _ in range(3)]
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(Population(networks)(x, shared=True), torch.stack([n(x) for n in networks]))


def test_a_member_comes_out_as_it_went_in():
    networks = [build(SPECS[3], 5, 3, seed) for seed in range(3)]
    population = Population(networks)
    out = population.network(1)
    for name, tensor in networks[1].state_dict().items():
        assert torch.equal(out.state_dict()[name], tensor)


def test_record_returns_activations_and_leaves_no_hooks():
    networks = [build(SPECS[1], 5, 3, seed) for seed in range(3)]
    population = Population(networks)
    x = torch.randn(6, 5)
    outputs, seen = population.record(x)
    torch.testing.assert_close(outputs, population(x, shared=True))
    first = torch.stack([n.layers[0](x) for n in networks])
    torch.testing.assert_close(seen["layers.0"], first)
    assert list(seen) == [f"layers.{i}" for i in range(4)]
    assert not any(m._forward_hooks for m in population.skeleton.modules())


def test_gradient_by_offsets_is_the_gradient_by_activations():
    network = build(SPECS[1], 5, 3, seed=0)
    x = torch.randn(6, 5)
    kept = []
    handles = [layer.register_forward_hook(lambda m, i, o: kept.append(o)) for layer in network.layers]
    expected = torch.autograd.grad(network(x).square().sum(), kept)
    for handle in handles:
        handle.remove()
    population = Population([network])
    offsets = {f"layers.{i}": torch.zeros(1, 6, 8, requires_grad=True) for i in range(4)}
    outputs, _ = population.record(x, offsets)
    found = torch.autograd.grad(outputs.square().sum(), list(offsets.values()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a[0], b)


def test_batch_norm_updates_every_runs_own_statistics():
    networks = [build(NetworkSpec(depth=3, width=8, batch_norm=(2,)), 5, 3, seed) for seed in range(2)]
    x = torch.randn(2, 16, 5)
    population = Population(networks)
    population.train()
    population(x)
    for k, network in enumerate(networks):
        network.train()
        network(x[k])
        name = "layers.1.norm.running_mean"
        torch.testing.assert_close(population.buffers[name][k], network.state_dict()[name])


def test_recording_in_training_mode_uses_the_batch_and_changes_nothing():
    network = build(NetworkSpec(depth=3, width=8, batch_norm=(2,)), 5, 3, 0)
    population = Population([network])
    before = {k: v.clone() for k, v in population.buffers.items()}
    x = torch.randn(16, 5)
    training, _ = population.record(x, training=True)
    evaluation, _ = population.record(x)
    assert all(torch.equal(before[k], v) for k, v in population.buffers.items())
    network.train()
    torch.testing.assert_close(training[0], network(x))
    assert not torch.allclose(training, evaluation)


def test_different_structures_are_refused():
    with pytest.raises(InputError, match="equal structure"):
        Population([build(SPECS[0], 5, 3, 0), build(SPECS[1], 5, 3, 0)])
    with pytest.raises(InputError, match="at least one"):
        Population([])


@settings(max_examples=15, deadline=None)
@given(
    runs=st.integers(1, 5), depth=st.integers(1, 4), width=st.integers(1, 9), skip=st.sampled_from(["none", "identity"])
)
def test_any_size_stacks(runs, depth, width, skip):
    networks = [build(NetworkSpec(depth, width, skip), 4, 2, seed) for seed in range(runs)]
    x = torch.randn(3, 4)
    torch.testing.assert_close(Population(networks)(x, shared=True), torch.stack([n(x) for n in networks]))
