import pytest
import torch
from torch import nn

from nonsingular.data import Task
from nonsingular.errors import InputError
from nonsingular.measures import layer_names, weight_names
from nonsingular.networks import (
    Residual,
    ResidualSpec,
    build,
    plainnet,
    resnet,
    resnext,
    wide_resnet,
)
from nonsingular.training import Population, Trainer, TrainingSpec

SHAPE = (3, 8, 8)
SMALL = {"width": 4}
KINDS = {
    "resnet": resnet(20, **SMALL),
    "plainnet": plainnet(20, **SMALL),
    "bottleneck": resnet(20, block="bottleneck", **SMALL),
    "pre": resnet(20, order="pre", **SMALL),
    "pre-plain": plainnet(20, order="pre", **SMALL),
    "projected": resnet(14, shortcut="projected", **SMALL),
    "pre-projected": resnet(14, order="pre", shortcut="projected", **SMALL),
    "pre-projected-bottleneck": resnet(20, block="bottleneck", order="pre", shortcut="projected", **SMALL),
    "resnext": resnext(11, cardinality=4, group_width=2, width=4),
    "wide": wide_resnet(10, 2, width=4),
    "no-norm": resnet(14, batch_norm=False, **SMALL),
}


def parameters(spec, channels=3, classes=10):
    with torch.device("meta"):
        return sum(p.numel() for p in Residual(spec, channels, classes).parameters())


@pytest.mark.parametrize(
    ("spec", "millions"),
    [
        # He et al. 2016a, table 6
        (resnet(20), "0.27"),
        (resnet(32), "0.46"),
        (resnet(44), "0.66"),
        (resnet(56), "0.85"),
        (resnet(110), "1.7"),
        (resnet(1202), "19.4"),
        # He et al. 2016b, table 4
        (resnet(164, block="bottleneck", order="pre", shortcut="projected"), "1.7"),
        # Zagoruyko and Komodakis 2016, table 5
        (wide_resnet(40, 1), "0.6"),
        (wide_resnet(40, 4), "8.9"),
        (wide_resnet(16, 8), "11.0"),
        (wide_resnet(28, 10), "36.5"),
        # Xie et al. 2017, table 7
        (resnext(29, 8, 64), "34.4"),
        (resnext(29, 16, 64), "68.1"),
    ],
    ids=str,
)
def test_published_parameter_counts(spec, millions):
    decimals = len(millions.partition(".")[2])
    assert abs(parameters(spec) / 1e6 - float(millions)) < 10.0**-decimals  # papers round or cut off


@pytest.mark.parametrize("layers", [20, 56, 110, 164])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_any_depth(layers, block):
    spec = resnet(layers, block=block, **SMALL)
    with torch.device("meta"):
        network = Residual(spec, 3, 10)
    weights = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == layers
    assert spec.depth == len(layer_names(network)) == layers - 1


@pytest.mark.parametrize("name", KINDS)
def test_layers_are_named_and_have_weights(name):
    network = build(KINDS[name], SHAPE, 10, 0)
    names = layer_names(network)
    assert len(names) == KINDS[name].depth
    assert all(weight == f"{layer}.conv.weight" for layer, weight in weight_names(network, names).items())
    assert network(torch.randn(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_projections_change_nothing_in_a_network_without_skips(order, block):
    x = torch.randn(4, *SHAPE)
    padded, projected = (
        build(plainnet(20, block=block, order=order, shortcut=s, **SMALL), SHAPE, 10, 3)
        for s in ("padded", "projected")
    )
    assert sum(p.numel() for p in padded.parameters()) == sum(p.numel() for p in projected.parameters())
    torch.testing.assert_close(padded(x), projected(x))
    torch.testing.assert_close(padded.eval()(x), projected.eval()(x))


@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_switch_removes_the_projections_too(order, block):
    residual, plain = (
        build(make(20, block=block, order=order, shortcut="projected", **SMALL), SHAPE, 10, 3).eval()
        for make in (resnet, plainnet)
    )
    mine, without = residual.state_dict(), plain.state_dict()
    assert all(torch.equal(mine[name], without[name]) for name in without)
    assert {name.split(".")[0] for name in set(mine) - set(without)} == {"shortcuts"}
    x = torch.randn(2, *SHAPE)
    residual.skips = False
    assert torch.equal(residual(x), plain(x))


@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_switch_removes_the_skips_and_nothing_else(order, block):
    residual, plain = (
        build(make(20, block=block, order=order, **SMALL), SHAPE, 10, 3).eval() for make in (resnet, plainnet)
    )
    with_skips, without = residual.state_dict(), plain.state_dict()
    assert list(with_skips) == list(without)
    assert all(torch.equal(with_skips[name], without[name]) for name in with_skips)
    x = torch.randn(2, *SHAPE)
    assert not torch.allclose(residual(x), plain(x))
    residual.skips = False
    assert torch.equal(residual(x), plain(x))


def test_a_plain_network_is_its_layers_one_after_another():
    network = build(plainnet(14, **SMALL), SHAPE, 10, 0).eval()
    x = images = torch.randn(2, *SHAPE)
    for layer in network.layers:
        x = layer(x)
    torch.testing.assert_close(network(images), network.readout(x.mean((2, 3))))


def by_the_book(network, x):
    """Equation 1 of both papers, block by block; a projection of He et al. 2016b reads the activated input."""
    relu = torch.relu
    stem = network.layers[0]
    if network.order == "post":
        x = relu(stem.norm(stem.conv(x)))
        for (*first, last), shortcut in zip(network.blocks(), network.shortcuts, strict=True):
            f = x
            for layer in first:
                f = relu(layer.norm(layer.conv(f)))
            f = last.norm(last.conv(f))
            x = relu(f + copied(shortcut, x, f))
    else:
        x = stem.conv(x)
        for (first, *others), entry, shortcut in zip(network.blocks(), network.entries, network.shortcuts, strict=True):
            activated = relu((first.norm or entry.norm)(x))
            f = first.conv(activated)
            for layer in others:
                f = layer.conv(relu(layer.norm(f)))
            projected = bool(list(shortcut.parameters()))
            x = f + copied(shortcut, activated if projected else x, f)
        x = relu(network.norm(x))
    return network.readout(x.mean((2, 3)))


def copied(shortcut, x, like):
    """Option A of He et al. 2016a: every second pixel, zeros for new channels; or the network's own projection."""
    if list(shortcut.parameters()):
        return shortcut(x)
    out = torch.zeros_like(like)
    stride = x.shape[2] // like.shape[2]
    out[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
    return out


@pytest.mark.parametrize(
    "name", ["resnet", "bottleneck", "pre", "projected", "pre-projected", "pre-projected-bottleneck", "wide"]
)
def test_residual_networks_by_the_book(name):
    network = build(KINDS[name], SHAPE, 10, 1)
    network.train()
    network(torch.randn(16, *SHAPE))  # so that running statistics are not those of the start
    network.eval()
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(network(x), by_the_book(network, x))


def test_cardinality_one_is_a_bottleneck_and_more_is_as_many_paths():
    # Xie et al. 2017, figure 3: a grouped convolution is the sum over paths of the group's own 1x1-3x3-1x1.
    network = build(resnext(11, cardinality=4, group_width=2, width=4), SHAPE, 10, 0).eval()
    first, middle, last = network.layers[1:4]
    assert middle.conv.groups == 4
    x = torch.randn(2, 4, 8, 8)
    hidden = middle(first(x))
    paths = []
    for path in range(4):
        mine = slice(2 * path, 2 * path + 2)
        paths.append(nn.functional.conv2d(hidden[:, mine], last.conv.weight[:, mine]))
    torch.testing.assert_close(last.conv(hidden), sum(paths))
    alone = nn.functional.conv2d(first(x)[:, :2], middle.conv.weight[:2], padding=1)
    torch.testing.assert_close(middle.conv(first(x))[:, :2], alone)


def test_projections_are_strided_convolutions():
    network = build(resnet(14, width=8, shortcut="projected"), SHAPE, 10, 0)
    for shortcut in network.shortcuts:
        if list(shortcut.parameters()):
            x = torch.randn(2, shortcut.conv.in_channels, 7, 8)
            expected = nn.functional.conv2d(x, shortcut.conv.weight, stride=shortcut.stride)
            torch.testing.assert_close(shortcut(x), shortcut.norm(expected))
    assert sorted({m.stride for m in network.shortcuts if list(m.parameters())}) == [2]


def test_equal_seeds_equal_networks():
    for spec in KINDS.values():
        a, b, c = (build(spec, SHAPE, 10, seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert not torch.equal(a["layers.1.conv.weight"], c["layers.1.conv.weight"])


@pytest.mark.parametrize("name", ["resnet", "pre", "pre-projected", "resnext"])
def test_populations_compute_what_their_networks_compute(name):
    networks = [build(KINDS[name], SHAPE, 10, seed) for seed in range(2)]
    x = torch.randn(5, *SHAPE)
    expected = torch.stack([n.eval()(x) for n in networks])
    for vectorised in (False, True):
        population = Population(networks, vectorised=vectorised)
        population.train(False)
        torch.testing.assert_close(population(x, shared=True), expected)


@pytest.fixture
def spots():
    """Images of which a bright pixel tells the class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 4
    x = torch.randn(64, *SHAPE, generator=generator)
    x[torch.arange(64), labels % 3, labels] += 6
    return Task(x, labels, x, labels, 4)


@pytest.mark.parametrize(("precision", "vectorised"), [("float32", False), ("float32", True), ("bfloat16", False)])
def test_it_learns(spots, precision, vectorised):
    spec = TrainingSpec(batch=16, optimiser="sgd", momentum=0.9, learning_rate=0.05, precision=precision)
    networks = [build(resnet(8, **SMALL), spots.shape, 4, s) for s in (0, 1)]
    trainer = Trainer(networks, [0, 1], spots, spec, vectorised=vectorised)
    for _ in range(12):
        trainer.train_epoch()
    assert (trainer.evaluate(spots.train_inputs, spots.train_labels).accuracy > 0.8).all()


def test_vectorised_bfloat16_convolutions_are_refused(spots):
    spec = TrainingSpec(batch=16, precision="bfloat16")
    with pytest.raises(InputError, match="no bfloat16 on a CPU"):
        Trainer([build(resnet(8, **SMALL), spots.shape, 4, 0)], [0], spots, spec, vectorised=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": 21}, "basic blocks make 6n . 2 layers, got 21; the nearest is 20"),
        ({"layers": 1}, "the nearest is 8"),
        ({"layers": 164, "block": "wide"}, "unknown block 'wide'; there are basic, bottleneck"),
        ({"order": "middle"}, "unknown order"),
        ({"shortcut": "none"}, "unknown shortcut"),
        ({"cardinality": 4}, "cardinality belongs to bottleneck"),
        ({"block": "bottleneck", "cardinality": 3}, "cardinality 3 must divide the 16 inner channels"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_wrong_specs_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        ResidualSpec(**wrong)


def test_flat_samples_are_refused():
    with pytest.raises(InputError, match=r"takes images .* got samples of shape \(192,\); prepare .* layout='image'"):
        build(resnet(20), 192, 10, 0)
