import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from nonsingular.errors import InputError
from nonsingular.networks import INITIALISATIONS, NetworkSpec, build, initialise


def initialised(module, how, seed=0):
    initialise(module, how, torch.Generator().manual_seed(seed))
    return module


# layer -> fan in, fan out
LAYERS = {
    "wide": (lambda: nn.Linear(200, 300), 200, 300),
    "narrow": (lambda: nn.Linear(700, 50), 700, 50),
    "conv1d": (lambda: nn.Conv1d(30, 40, 5), 150, 200),
    "conv2d": (lambda: nn.Conv2d(20, 30, 3), 180, 270),
    "conv3d": (lambda: nn.Conv3d(8, 16, 2), 64, 128),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("how", ["glorot", "he"])
def test_weights_are_normal_with_the_variance_of_the_source(layer, how):
    make, fan_in, fan_out = LAYERS[layer]
    module = make()
    nn.init.ones_(module.bias)
    initialised(module, how)
    deviation = math.sqrt(2 / (fan_in + fan_out) if how == "glorot" else 2 / fan_in)
    w = module.weight.detach().flatten().numpy() / deviation
    assert stats.kstest(w, "norm").pvalue > 1e-3
    assert abs(w.var() - 1) < 4 * math.sqrt(2 / len(w))
    assert (module.bias == 0).all()


@pytest.mark.parametrize("how", INITIALISATIONS)
def test_layers_without_bias_are_initialised_too(how):
    module = initialised(nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.Linear(8, 8, bias=False)), how)
    other = initialised(nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.Linear(8, 8, bias=False)), how)
    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_malicious_is_glorot_minus_the_identity_on_square_layers(rows, columns, seed):
    glorot, malicious = (
        initialised(nn.Linear(columns, rows), how, seed).weight.detach() for how in ("glorot", "malicious")
    )
    expected = glorot - torch.eye(rows) if rows == columns else glorot
    assert torch.equal(malicious, expected)


def test_malicious_leaves_convolutions_and_other_shapes_alone():
    glorot, malicious = (
        initialised(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv1d(4, 4, 4), nn.Linear(4, 5)), how)
        for how in ("glorot", "malicious")
    )
    assert all(torch.equal(a, b) for a, b in zip(glorot.parameters(), malicious.parameters(), strict=True))


def test_malicious_start_touches_only_layers_that_have_a_skip():
    specs = [NetworkSpec(depth=3, width=8, skip="identity", init=how) for how in ("glorot", "malicious")]
    glorot, malicious = (build(spec, 8, 8, seed=1) for spec in specs)
    for name, weight in glorot.named_parameters():
        shift = torch.eye(8) if name in ("layers.1.linear.weight", "layers.2.linear.weight") else 0.0
        assert torch.equal(malicious.get_parameter(name), weight - shift), name


def test_malicious_network_is_the_residual_one_with_its_skips_cancelled():
    """W - I with an identity skip: for states where every unit is active, the layer computes W x."""
    spec = NetworkSpec(depth=3, width=8, skip="identity", activation="linear", init="malicious")
    cancelled = build(spec, 5, 3, seed=4)
    plain = build(NetworkSpec(depth=3, width=8, activation="linear"), 5, 3, seed=4)
    x = torch.randn(6, 5)
    torch.testing.assert_close(cancelled(x), plain(x), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(units=st.integers(1, 20), features=st.integers(1, 25), seed=st.integers(0, 2**31))
def test_replicated_rows_are_the_first_ones_of_he_again(units, features, seed):
    he = initialised(nn.Linear(7, units), "he", seed).weight.detach()
    found = initialised(nn.Linear(7, units), f"replicated:{features}", seed).weight.detach()
    for unit in range(units):
        assert torch.equal(found[unit], he[unit % features])
    assert len(found.unique(dim=0)) == min(units, features)


def test_the_readout_of_replicas_is_he_normal_and_no_copy():
    weight = build(NetworkSpec(1, 400, init="replicated:1"), 7, 300, seed=3).readout.weight.detach()
    assert weight.std() == pytest.approx(math.sqrt(2 / 400), rel=0.01)
    assert len(weight.unique(dim=1)[0]) == 400


def test_replicated_without_arguments_makes_all_units_identical():
    convolution = initialised(nn.Conv2d(3, 6, 3), "replicated")
    assert (convolution.weight == convolution.weight[:1]).all()
    assert convolution.weight[0].std() > 0


@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_noise_is_in_units_of_the_weights_deviation(noise):
    exact = initialised(nn.Linear(300, 200), "replicated:10").weight.detach()
    noisy = initialised(nn.Linear(300, 200), f"replicated:10:{noise}").weight.detach()
    added = (noisy - exact) / (noise * math.sqrt(2 / 300))
    # Float32 sums round to about 1e-8, far below the noise; the deviation of the weights is itself measured.
    assert abs(added.std() - 1) < 0.02
    assert abs(added.mean()) < 4 / math.sqrt(added.numel())
    assert abs(torch.corrcoef(torch.stack([added[0], added[10]]))[0, 1]) < 4 / math.sqrt(300)  # replicas drift apart
    assert len(noisy.unique(dim=0)) == 200


def test_every_layer_draws_its_own_weights():
    module = initialised(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)), "he")
    assert not torch.equal(module[0].weight, module[2].weight)


def test_a_generator_leaves_the_global_stream_alone():
    module = nn.Linear(6, 6)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    initialised(module, "replicated:2:0.1")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("how", ["", "xavier", "glorot:2", "he:", "malicious:1", "replicated:1:0.1:2"])
def test_unknown_initialisations_are_refused(how):
    with pytest.raises(InputError, match=r"there are glorot, he, malicious, replicated.*replicated:FEATURES:NOISE"):
        initialise(nn.Linear(2, 2), how)


@pytest.mark.parametrize("how", ["replicated:", "replicated:two", "replicated:1.5", "replicated:1:much"])
def test_arguments_that_are_no_numbers_are_refused(how):
    with pytest.raises(InputError, match=r"replicated:FEATURES\[:NOISE\], two numbers"):
        initialise(nn.Linear(2, 2), how)


@pytest.mark.parametrize("arguments", ["0", "-1:0.1", "1:-0.1", "1:nan", "1:inf"])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(InputError, match="at least 1 feature and finite noise of at least 0"):
        initialise(nn.Linear(2, 2), f"replicated:{arguments}")
