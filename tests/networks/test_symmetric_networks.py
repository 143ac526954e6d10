"""ConstNet, LeakyNet and stacks: identical features, signals that keep their size, and the tangent kernel."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.errors import InputError
from nonsingular.measures import capture, forward_correlation, layer_names, symmetry_breaking, unique_features
from nonsingular.networks import ConstNetSpec, LeakyNetSpec, StackSpec, build, initialise
from nonsingular.networks.stacks import KINDS
from nonsingular.papers.blumenfeld2020.parts.kernels import linear_kernel, tangent_kernel
from nonsingular.papers.blumenfeld2020.parts.signals import signals
from nonsingular.training import Population

SMALL = {
    "constnet": ConstNetSpec(7, 6, 2),
    "constnet without norm": ConstNetSpec(7, 5, 2, batch_norm=False),
    "leakynet 1": LeakyNetSpec(7, 6, 2, "1"),
    "leakynet 1I": LeakyNetSpec(7, 6, 2, "1IIIIII"),
}


def features(network, x):
    with torch.no_grad(), capture(network, layer_names(network)) as seen:
        network(x)
    return [seen.activations[name] for name in layer_names(network)]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("training", [True, False])
def test_at_the_start_all_channels_are_equal_to_the_bit(name, training):
    network = build(SMALL[name], (3, 16, 16), 10, 0).train(training)
    for layer in features(network, torch.randn(4, 3, 16, 16)):
        assert (layer == layer[:, :1]).all()
    assert (network(torch.randn(4, 3, 16, 16)) == 0).all()  # the classifier starts at zero


def test_identities_keep_apart_what_is_apart():
    network = build(LeakyNetSpec(7, 6, 2, "I"), (3, 8, 8), 10, 0)
    for layer in features(network, torch.randn(4, 3, 8, 8)):
        distinct = len(layer.transpose(0, 1).flatten(1).unique(dim=0))
        assert distinct == 3  # the image's channels, copied


def test_constnets_size_is_a_wide_resnets():
    network = build(ConstNetSpec(), (3, 32, 32), 10, 0)
    parameters = sum(p.numel() for p in network.parameters())
    kernels = 3 * 16 * 9 + 9 * (16 * 160 + 3 * 160**2 + 160 * 320 + 3 * 320**2 + 320 * 640 + 3 * 640**2)
    skips = 16 * 160 + 160 * 320 + 320 * 640
    norms = 2 * (16 + 4 * 160 + 4 * 320 + 3 * 640)
    assert parameters == kernels + skips + norms + 640 * 10 + 10
    assert 17e6 < parameters < 18e6  # Wide-ResNet-16-10 has 17.1 million


@pytest.mark.parametrize(("width", "depth"), [(4, 7), (4, 31), (16, 13), (64, 13), (256, 7)])
@pytest.mark.parametrize("kind", ["constnet", "leakynet-1", "leakynet-I", "isometric"])
def test_signals_and_gradients_do_not_change_with_depth(kind, width, depth):
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    network = build(StackSpec(depth, width, kind), (1, 4, 4), 3, 0).double()
    found = signals(network, x, torch.tensor([0, 1, 2, 0]))
    pairs = slice(None, None, 2) if kind.startswith("leakynet") else slice(None)
    for name in ("cosine", "norm"):
        values = found[name][pairs]
        torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-6, atol=1e-6)
    gradients = found["gradient_norm"][pairs][:-1]  # the last one's comes from the random readout
    torch.testing.assert_close(gradients, gradients[:1].expand_as(gradients), rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", [4, 16, 64, 256])
def test_constnets_own_layers_keep_signals_and_gradients_to_rounding(width):
    """Of the network that is trained, stage by stage: where it widens, every gradient is shared by more channels."""
    torch.manual_seed(0)
    network = build(ConstNetSpec(13, width, 1, batch_norm=False), (1, 8, 8), 3, 0).double()
    nn.init.normal_(network.readout.weight)
    found = signals(network, torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0]))
    for stage in (slice(0, 5), slice(5, 9), slice(9, 13)):  # the input layer is as wide as the first stage
        for name in ("cosine", "norm", "gradient_norm"):
            values = found[name][stage]
            torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["he", "delta-orthogonal"])
def test_the_others_do_change(kind):
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    found = signals(build(StackSpec(15, 32, kind), (1, 4, 4), 3, 0).double(), x, torch.tensor([0, 1, 2, 0]))
    assert (found["cosine"][-1] - found["cosine"][0]).abs().mean() > 0.1


def test_an_isometric_stack_keeps_pre_activations_and_their_negatives():
    network = build(StackSpec(9, 8, "isometric"), (2, 4, 4), 3, 0)
    x = torch.randn(3, 2, 4, 4)
    for layer in features(network, x):
        torch.testing.assert_close(layer[:, :4], -layer[:, 4:])
        torch.testing.assert_close(layer[:, :4].flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_fixups_inner_convolutions_have_no_gradient_at_the_start():
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    found = signals(build(StackSpec(5, 8, "fixup"), (1, 4, 4), 3, 0).double(), x, torch.tensor([0, 1, 2, 0]))
    assert found["inner_gradient_norm"][0].isnan()
    assert (found["inner_gradient_norm"][1:] == 0).all()
    assert (found["weight_gradient_norm"] > 0).all()


@pytest.mark.parametrize("width", [4, 16])
def test_the_tangent_kernel_is_a_linear_models_in_the_images_mean(width):
    x = torch.randn(6, 3, 16, 16)
    network = build(ConstNetSpec(13, width, 2, batch_norm=False), (3, 16, 16), 3, 0)
    kernel = tangent_kernel(network, x)
    # The linear model itself, differentiated: f = w s(x) + b with one weight for each copy of the scalar s.
    s = x.double()[:, :, ::4, ::4].mean((1, 2, 3))
    copies = nn.Linear(8 * width, 3).double()
    rows = []
    for value in s:
        out = copies(value.expand(8 * width))[0]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(out, list(copies.parameters()))]))
    expected = torch.stack(rows) @ torch.stack(rows).T
    # A third, what the first layer weighs the image's channels with, is rounded to float32.
    torch.testing.assert_close(kernel[..., 0].detach(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(linear_kernel(x, 8 * width), expected, rtol=1e-10, atol=1e-12)
    assert torch.linalg.matrix_rank(expected) == 2


def test_a_perturbation_passes_identities_and_not_averages():
    for how, left in (("identity", 1.0), ("average", 0.0)):
        conv = nn.Conv2d(16, 16, 3, padding=1, bias=False).double()
        initialise(conv, how)
        x = torch.randn(1, 1, 4, 4, dtype=torch.float64) + 0.01 * torch.randn(2, 16, 4, 4, dtype=torch.float64)
        before, after = (symmetry_breaking(y.detach().movedim(1, -1).flatten(0, 2)) for y in (x, conv(x)))
        assert after / before == pytest.approx(left, abs=1e-12)


def test_layers_start_as_their_letter_says():
    network = build(LeakyNetSpec(7, 6, 1, "1I1HI1H"), (3, 8, 8), 10, 0)
    for letter, layer in zip("1I1HI1H", network.layers, strict=True):
        weight = layer.conv.weight
        assert (unique_features(weight) == 1) == (letter == "1")
        if letter == "H":
            assert abs(forward_correlation(weight)) < 0.1


def test_the_he_starts_keep_norms_on_average():
    network = build(ConstNetSpec(4, 64, 1, start="he"), (3, 8, 8), 10, 0)
    conv = network.layers[2].conv.weight
    assert conv.detach().var() == pytest.approx(2 / conv[0].numel(), rel=0.05)
    widening = network.layers[2].widening.weight
    assert widening.detach().var() == pytest.approx(1 / widening[0].numel(), rel=0.05)
    leaky = build(LeakyNetSpec(7, 64, 1, "H", slope=0.5), (3, 8, 8), 10, 0).layers[3].conv.weight
    assert leaky.detach().var() == pytest.approx(2 / (1 + 0.25) / leaky[0].numel(), rel=0.05)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_constnet_computes_its_formula(batch_norm):
    torch.manual_seed(0)
    network = build(ConstNetSpec(4, 8, 1, start="he", batch_norm=batch_norm), (3, 8, 8), 5, 0).eval()
    nn.init.normal_(network.readout.weight)
    x = torch.randn(2, 3, 8, 8)
    y = F.conv2d(x, network.layers[0].conv.weight, padding=1)
    for layer, stride in zip(network.layers[1:], (1, 2, 2), strict=True):
        normal = y / (1 + 1e-5) ** 0.5 if batch_norm else y
        skip = y if layer.widening is None else F.conv2d(y, layer.widening.weight, stride=stride)
        y = skip + F.conv2d(normal.relu(), layer.conv.weight, stride=stride, padding=1)
    torch.testing.assert_close(network(x), network.readout(y.mean((2, 3))), rtol=1e-4, atol=1e-5)


def test_dropout_reaches_the_layers_it_is_asked_for():
    rates = {
        where: [m.p for m in build(ConstNetSpec(4, 8, 1, dropout=0.1, dropout_on=where), (1, 8, 8), 3, 0).modules()
                if isinstance(m, nn.Dropout)]
        for where in ("skipped", "all")
    }  # fmt: skip
    assert rates == {"skipped": [0.0, 0.1, 0.1, 0.1], "all": [0.1] * 4}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstNetSpec(12), r"the depth is 3n \+ 1, got 12; the nearest is 13"),
        (lambda: ConstNetSpec(width=0), "width must be at least 1"),
        (lambda: ConstNetSpec(start="ones"), "unknown start 'ones'; there are zero, he"),
        (lambda: ConstNetSpec(dropout=1.0), "dropout must be at least 0 and below 1"),
        (lambda: ConstNetSpec(dropout_on="some"), "there are skipped, all"),
        (lambda: LeakyNetSpec(10), r"the depth is 6n \+ 1, got 10"),
        (lambda: LeakyNetSpec(starts="1I"), "one letter for all 13 layers or one for each"),
        (lambda: LeakyNetSpec(starts="X"), "of 1, I, H"),
        (lambda: LeakyNetSpec(slope=0.0), "slope must be above 0"),
        (lambda: StackSpec(kind="resnet"), "there are constnet, leakynet-1"),
        (lambda: StackSpec(12, kind="leakynet-1"), "come in pairs"),
        (lambda: StackSpec(width=5, kind="isometric"), "even width"),
        (lambda: StackSpec(1), "at least 2 layers"),
        (lambda: build(ConstNetSpec(), 784, 10, 0), "layout='image'"),
        (lambda: initialise(nn.Linear(4, 3), "identity"), "at least as many outputs"),
        (lambda: initialise(nn.Linear(4, 3), "isometric"), "even numbers"),
    ],
)
def test_wrong_descriptions_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    "spec",
    [
        ConstNetSpec(4, 4, 2, start="he"),
        ConstNetSpec(4, 8, 1, start="he", batch_norm=False),
        LeakyNetSpec(7, 4, 1, "H"),
    ],
    ids=["constnet", "constnet without norm", "leakynet"],
)
def test_populations_are_vectorised_too(spec):
    networks = [build(spec, (3, 8, 8), 3, seed) for seed in range(3)]
    fast, slow = (Population(networks, vectorised=v) for v in (True, False))
    x = torch.randn(3, 5, 3, 8, 8)
    torch.testing.assert_close(fast(x), slow(x), rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_networks():
    for kind, seed in itertools.product(KINDS, (0, 1)):
        a, b = (build(StackSpec(5, 8, kind), (1, 4, 4), 3, seed) for _ in range(2))
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
