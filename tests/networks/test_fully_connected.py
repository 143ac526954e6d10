import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular.errors import InputError
from nonsingular.networks import NAMED, FullyConnected, Layer, NetworkSpec, build, named
from nonsingular.networks.fully_connected import ACTIVATIONS

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 5).map(lambda n: 4 * n), st.integers(1, 6), st.integers(1, 4))


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    "skip", ["none", "identity", "hyper", "orthogonal", "copies:4", "equalised:0.01", "covariance:0.01"]
)
@pytest.mark.parametrize(
    ("inputs", "depth", "width", "count"),
    [(3072, 20, 128, 709_652), (3072, 30, 128, 874_772), (128, 10, 16, 4_852), (128, 10, 32, 14_292)],
)
def test_parameter_counts_are_those_of_the_papers(inputs, depth, width, count, skip):
    network = build(NetworkSpec(depth=depth, width=width, skip=skip), inputs, 20, seed=0)
    assert parameters(network) == count  # skips are fixed: they add none


def matrix(skip, width):
    if skip == "identity":
        return torch.eye(width, dtype=torch.float64)
    return torch.zeros(width, width, dtype=torch.float64) if skip is None else skip.double()


def literal(network, x, f=torch.relu):
    """orhan2018 §2.3, sample by sample and equation by equation, with the double sum over Q_k x_k."""
    W = [layer.linear.weight.detach().double() for layer in network.layers]
    b = [layer.linear.bias.detach().double() for layer in network.layers]
    L, width = len(W), W[0].shape[0]
    S = [matrix("identity" if layer.identity else layer.skip, width) for layer in network.layers]
    outputs = []
    for sample in x.double():
        states = {0: sample, 1: f(W[0] @ sample + b[0])}
        for l in range(1, L):  # noqa: E741
            states[l + 1] = f(W[l] @ states[l] + b[l]) + S[l] @ states[l]
            if network.earlier is not None and l >= 2:
                total = torch.zeros(width, dtype=torch.float64)
                for k in range(1, l):
                    Q = network.earlier[k - 1].double()
                    for i in range(width):
                        total[i] += sum(Q[i, j] * states[k][j] for j in range(width))
                states[l + 1] = states[l + 1] + total / (l - 1)
        outputs.append(network.readout.weight.detach().double() @ states[L] + network.readout.bias.detach().double())
    return torch.stack(outputs)


def with_biases(network, seed=0):
    """Biases start at 0, where an error in them would not show."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p, std=0.3, generator=generator)
    return network


@pytest.mark.parametrize(
    "skip", ["none", "identity", "hyper", "orthogonal", "copies:2", "equalised:0.3", "covariance:0.3"]
)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
def test_forward_is_the_equations_of_the_paper(skip, depth):
    network = with_biases(build(NetworkSpec(depth=depth, width=8, skip=skip), 5, 3, seed=1))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(network(x).double(), literal(network, x), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(sizes=SIZES, skip=st.sampled_from(["none", "identity", "hyper", "orthogonal"]), seed=st.integers(0, 2**31))
def test_forward_is_the_equations_for_any_size(sizes, skip, seed):
    inputs, width, depth, classes = sizes
    network = with_biases(build(NetworkSpec(depth=depth, width=width, skip=skip), inputs, classes, seed=seed)).double()
    x = torch.randn(2, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(network(x), literal(network, x), rtol=1e-9, atol=1e-9)


def test_hyper_residual_written_out():
    """Layers of one unit whose weights are 0 after the first: only the skips speak."""
    network = FullyConnected(1, 1, 4, 1, skips=["identity"] * 3, earlier=torch.tensor([[[3.0]], [[5.0]]]))
    for p in network.parameters():
        nn.init.zeros_(p)
    nn.init.ones_(network.layers[0].linear.weight)
    nn.init.ones_(network.readout.weight)
    # x1 = 2, x2 = x1 = 2, x3 = x2 + 3 x1 = 8, x4 = x3 + (3 x1 + 5 x2) / 2 = 8 + 8
    assert network(torch.tensor([[2.0]])).item() == 16


def test_skip_vectors_are_the_rows():
    skip = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # unit 0 adds what unit 1 sent, unit 1 adds nothing
    layer = Layer(2, 2, skip=skip)
    for p in layer.parameters():
        nn.init.zeros_(p)
    assert layer(torch.tensor([[3.0, 7.0]])).tolist() == [[7.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("leaky-relu", lambda x: x if x > 0 else 0.01 * x),
        ("linear", lambda x: x),
        ("tanh", lambda x: torch.tensor(x).tanh().item()),
        ("erf", lambda x: torch.special.erf(torch.tensor(x)).item()),
        ("gelu", lambda x: x * 0.5 * (1 + torch.special.erf(torch.tensor(x) / 2**0.5).item())),
    ],
)
def test_activations_follow_their_definitions(name, definition):
    for x in (-2.0, -0.3, 0.0, 0.4, 3.0):
        assert ACTIVATIONS[name](torch.tensor(x)).item() == pytest.approx(definition(x), abs=1e-6)


def test_every_activation_is_used():
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    outputs = []
    for name, f in ACTIVATIONS.items():
        network = with_biases(build(NetworkSpec(depth=3, width=8, activation=name), 5, 3, seed=0))
        torch.testing.assert_close(network(x).double(), literal(network, x, f), rtol=1e-4, atol=1e-4)
        outputs.append(network(x))
    assert all(not torch.allclose(a, b, atol=1e-3) for i, a in enumerate(outputs) for b in outputs[:i])


def test_batch_norm_sits_at_the_named_layer():
    network = build(NetworkSpec(depth=4, width=8, skip="identity", batch_norm=(3,)), 5, 3, seed=0)
    assert [i + 1 for i, layer in enumerate(network.layers) if layer.norm is not None] == [3]
    assert parameters(network) - parameters(build(NetworkSpec(depth=4, width=8), 5, 3, seed=0)) == 8  # scale
    x = torch.randn(50, 5)
    states = [x]
    for layer in network.layers:
        states.append(layer(states[-1]))
    before = network.layers[2].linear(states[2])
    normal = (before - before.mean(0)) / (before.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(states[3], torch.relu(normal) + states[2], rtol=1e-4, atol=1e-5)


def test_images_are_flattened_and_the_output_has_a_row_a_sample():
    network = build(NetworkSpec(depth=2, width=8), 3 * 4 * 5, 7, seed=0)
    x = torch.randn(6, 3, 4, 5)
    assert network(x).shape == (6, 7)
    torch.testing.assert_close(network(x), network(x.flatten(1)))


def test_skips_are_kept_with_the_weights_but_not_trained():
    network = build(NetworkSpec(depth=4, width=8, skip="hyper"), 5, 3, seed=0)
    assert "earlier" in network.state_dict()
    assert "earlier" not in dict(network.named_parameters())
    other = build(NetworkSpec(depth=4, width=8, skip="hyper"), 5, 3, seed=1)
    other.load_state_dict(network.state_dict())
    x = torch.randn(2, 5)
    assert torch.equal(other(x), network(x))


@pytest.mark.parametrize("name", NAMED)
def test_same_seed_same_network_to_the_bit(name):
    torch.manual_seed(1)
    first = build(named(name, depth=5, width=16), 7, 3, seed=11).state_dict()
    torch.manual_seed(2)  # the global stream has no say
    second = build(named(name, depth=5, width=16), 7, 3, seed=11).state_dict()
    other = build(named(name, depth=5, width=16), 7, 3, seed=12).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    weights = [k for k in first if k.endswith("weight") or k == "earlier" or k.endswith("skip")]
    assert weights
    assert all(not torch.equal(first[k], other[k]) for k in weights)


@pytest.mark.parametrize("skip", ["identity", "hyper", "orthogonal", "copies:4", "equalised:0.02", "covariance:0.02"])
def test_networks_that_differ_in_skips_start_from_equal_weights(skip):
    plain = dict(build(NetworkSpec(depth=5, width=16), 7, 3, seed=3).named_parameters())
    skipping = dict(build(NetworkSpec(depth=5, width=16, skip=skip), 7, 3, seed=3).named_parameters())
    assert plain.keys() == skipping.keys()
    assert all(torch.equal(plain[k], skipping[k]) for k in plain)


def test_layers_of_a_network_have_skips_of_their_own():
    network = build(NetworkSpec(depth=4, width=8, skip="orthogonal"), 5, 3, seed=0)
    first, second, third = (layer.skip for layer in network.layers[1:])
    assert network.layers[0].skip is None  # none from the inputs
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    Q = build(NetworkSpec(depth=5, width=8, skip="hyper"), 5, 3, seed=0).earlier
    assert Q.shape == (3, 8, 8)
    assert not torch.equal(Q[0], Q[1])
    for q in Q:  # four copies of width / 4 orthonormal vectors (Note 2)
        torch.testing.assert_close(q[:2] @ q[:2].T, torch.eye(2), rtol=0, atol=1e-6)
        assert torch.equal(q, q[:2].repeat(4, 1))


def test_named_networks_are_those_of_the_paper():
    assert (NAMED["plain"].depth, NAMED["plain"].width, NAMED["plain"].activation) == (20, 128, "relu")
    assert named("residual", depth=30) == NetworkSpec(depth=30, width=128, skip="identity")
    assert named("hyper-residual", width=16).width == 16
    assert named("malicious").init == "malicious"


def built(**fields):
    return build(NetworkSpec(**fields), 3, 3, seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: named("resnet"), "unknown network 'resnet'; there are plain, residual, hyper-residual"),
        (lambda: named("plain", depth=0), "depth must be at least 1, got 0"),
        (lambda: NetworkSpec(width=-8, skip="orthogonal"), "width must be at least 1, got -8"),
        (lambda: build(NetworkSpec(), 0, 3, 0), "inputs must be at least 1, got 0"),
        (lambda: build(NetworkSpec(), 3, 0, 0), "classes must be at least 1, got 0"),
        (lambda: built(activation="swish"), "unknown activation 'swish'; there are relu, tanh, erf, gelu"),
        (
            lambda: built(skip="dense"),
            "unknown skip 'dense'; there are none, identity, hyper, hyper:N, orthogonal, copies:N",
        ),
        (lambda: built(skip="identity:2"), "unknown skip 'identity:2'; there are none, identity"),
        (lambda: built(skip="copies:many"), "unknown skip 'copies:many'; there are none, identity"),
        (lambda: built(skip="copies:3"), "skip vectors must divide the width 128, got 3"),
        (lambda: built(skip="copies:0"), "skip vectors must divide the width 128, got 0"),
        (lambda: built(skip="equalised:-1"), "tau must lie between 0 and 0.109 for 128 units, got -1"),
        (lambda: built(skip="equalised:nan"), "tau must lie between 0 and 0.109 for 128 units, got nan"),
        (lambda: built(skip="equalised:0.5"), "tau must lie between 0 and 0.109 for 128 units, got 0.5"),
        (lambda: built(skip="covariance:0.5"), "tau must lie between 0 and 0.109 for 128 units, got 0.5"),
        (lambda: built(batch_norm=(21,)), "batch_norm names layers 1 to 20, got (21,)"),
        (lambda: built(batch_norm=(0,)), "batch_norm names layers 1 to 20, got (0,)"),
        (lambda: built(init="orthogonal"), "unknown initialisation 'orthogonal'; there are glorot, he, malicious"),
        (lambda: FullyConnected(3, 3, 3, 4, skips=["dense"]), "a matrix, or 'identity' if equal; got 'dense'"),
        (lambda: FullyConnected(3, 3, 3, 4, skips=[torch.eye(3)]), "must have shape (4, 4) here, got (3, 3)"),
        (lambda: FullyConnected(3, 3, 3, 4, skips=["identity"] * 3), "3 layers have at most 2 skips, got 3"),
        (lambda: FullyConnected(3, 3, 4, 4, earlier=torch.zeros(1, 4, 4)), "must have shape (2, 4, 4), got (1, 4, 4)"),
        (lambda: Layer(3, 4, "swish"), "unknown activation 'swish'; there are relu"),
        (lambda: Layer(3, 4, skip="identity"), "a skip to 4 units from 3 is a matrix"),
    ],
)
def test_what_makes_no_network_is_refused(make, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        make()
    assert "\n" not in str(caught.value)
