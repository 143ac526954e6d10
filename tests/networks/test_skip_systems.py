"""Concatenated, gated and fractal skips."""

import pytest
import torch
from torch import nn

from nonsingular.data import Task
from nonsingular.errors import InputError
from nonsingular.measures import layer_names, weight_names
from nonsingular.networks import Dense, DenseSpec, Fractal, FractalSpec, HighwaySpec, build
from nonsingular.training import Population, Trainer, TrainingSpec

SHAPE = (3, 8, 8)
KINDS = {
    "dense": DenseSpec(10, growth=2, width=4),
    "highway": HighwaySpec(10, width=4),
    "fractal": FractalSpec(3, width=4),
    "fractal-dropout": FractalSpec(2, width=4, blocks=5, dropout=0.4),
}
KINDS |= {
    "dense-plain": DenseSpec(10, growth=2, width=4, skips=False),
    "highway-plain": HighwaySpec(10, width=4, skips=False),
    "fractal-plain": FractalSpec(3, width=4, skips=False),
}


@pytest.mark.parametrize("name", KINDS)
def test_layers_are_named_and_have_weights(name):
    spec = KINDS[name]
    network = build(spec, SHAPE, 10, 0)
    names = layer_names(network)
    assert len(names) == spec.depth == spec.layers - 1
    assert list(weight_names(network, names)) == names
    assert network(torch.randn(3, *SHAPE)).shape == (3, 10)


@pytest.mark.parametrize(
    ("spec", "millions"), [(DenseSpec(40, 12), 1.0), (DenseSpec(100, 12), 7.0), (DenseSpec(100, 24), 27.2)], ids=str
)
def test_densenets_published_parameter_counts(spec, millions):
    with torch.device("meta"):  # Huang et al. 2017, table 2
        assert sum(p.numel() for p in Dense(spec, 3, 10).parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_fractalnet_has_the_papers_longest_path_and_channels():
    with torch.device("meta"):  # Larsson et al. 2017, §4: 5 blocks, of 3 columns for 20 layers
        network = Fractal(FractalSpec(3, 64, blocks=5), 3, 10)
    assert [layer.conv.out_channels for layer in network.layers[::4]] == [64, 128, 256, 512, 512]
    assert len(network.layers) == 5 * 4 == FractalSpec(3, blocks=5).depth
    assert len(Fractal(FractalSpec(5), 3, 10).layers) == 3 * 16


def test_dropout_of_fractalnet_rises_from_block_to_block():
    network = build(FractalSpec(2, width=4, blocks=5, drop_path=0.0, dropout=0.4), (3, 16, 16), 10, 0)
    assert network.dropout == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))
    torch.manual_seed(0)
    network.train()
    columns = [*network.shorter[0], network.layers[:2]]
    assert torch.equal(network._block(x, columns, None), network._block(x, columns, None))
    dropped = network._block(x, [columns[0]], None, 0.4)  # a column of one convolution
    kept = dropped != 0
    whole = network._block(x, [columns[0]], None)
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.6)
    assert (kept.sum() / (whole != 0).sum()).item() == pytest.approx(0.6, abs=0.05)


def test_a_dense_layer_sees_all_before_it():
    network = build(KINDS["dense"], SHAPE, 10, 0).eval()
    x = images = torch.randn(2, *SHAPE)
    x = network.layers[0](x)
    for number, layer in enumerate(network.layers[1:], start=1):
        if number in (3, 6):
            x = nn.functional.avg_pool2d(layer(x), 2)
        else:
            x = torch.cat([x, layer.conv(torch.relu(layer.norm(x)))], dim=1)
    assert x.shape[1] == 4 + 6 * 2
    torch.testing.assert_close(network(images), network.readout(torch.relu(network.norm(x)).mean((2, 3))))


@pytest.mark.parametrize(("bias", "passes"), [(-50.0, True), (50.0, False)])
def test_gates_shut_pass_the_input_gates_open_the_transform(bias, passes):
    network = build(HighwaySpec(7, width=4, gate=bias), SHAPE, 10, 0).eval()
    layer = network.layers[1]
    x = network.layers[0](torch.randn(2, *SHAPE))
    expected = x if passes else torch.relu(layer.norm(layer.conv(x)))
    torch.testing.assert_close(layer(x), expected)


def test_a_highway_by_the_book():
    network = build(KINDS["highway"], SHAPE, 10, 0).eval()
    x = images = torch.randn(2, *SHAPE)
    gated = 0
    for layer in network.layers:
        h = torch.relu(layer.norm(layer.conv(x)))
        if hasattr(layer, "gate"):
            t = 1 / (1 + torch.exp(-layer.gate(x)))
            h, gated = h * t + x * (1 - t), gated + 1
        x = h
    assert gated == 6
    torch.testing.assert_close(network(images), network.readout(x.mean((2, 3))))


def test_a_fractal_block_by_the_recursion():
    network = build(FractalSpec(3, width=4), SHAPE, 10, 0).eval()
    one, two = network.shorter[0]
    four = network.layers[:4]
    z = torch.randn(2, *SHAPE)
    # f_1 = conv; f_2 = (f_1 o f_1) joined with conv; f_3 = (f_2 o f_2) joined with conv: joins of joins are flat means.
    middle = (four[1](four[0](z)) + two[0](z)) / 2
    expected = (four[3](four[2](middle)) + two[1](middle) + one[0](z)) / 3
    found = network._block(z, [one, two, four], None)
    torch.testing.assert_close(found, expected)


def test_drop_path_keeps_one_path_at_least_and_is_a_mean():
    network = build(FractalSpec(4, width=4, drop_path=0.9), SHAPE, 10, 0).train()
    inputs = torch.eye(3)
    torch.manual_seed(0)
    joins = torch.stack([network._join(inputs, torch.zeros(3)) for _ in range(300)])
    torch.testing.assert_close(joins.sum(1), torch.ones(300))
    counts = (joins > 0).sum(1)
    assert counts.min() == 1
    assert counts.max() > 1
    assert ((joins > 0).float().mean(0) > 0.25).all()
    assert torch.equal(network._join(inputs, torch.tensor([0.0, 1.0, 0.0])), inputs[1])
    drawn = torch.stack([network._alone(inputs) for _ in range(400)])
    assert drawn.sum(1).mean().item() == pytest.approx(0.5, abs=0.1)
    assert (drawn.sum(0) > 20).all()


@pytest.mark.parametrize("name", ["highway", "fractal"])
def test_the_switch_removes_the_skips_and_nothing_else(name):
    with_skips, without = (build(KINDS[n], SHAPE, 10, 3) for n in (name, f"{name}-plain"))
    for layer in layer_names(without):
        for key, tensor in without.get_submodule(layer).state_dict().items():
            assert torch.equal(tensor, with_skips.get_submodule(layer).state_dict()[key])
    assert len(list(without.parameters())) < len(list(with_skips.parameters()))


def test_dense_layers_without_skips_keep_their_inputs_and_have_more_weights():
    with_skips, without = (build(KINDS[n], SHAPE, 10, 0) for n in ("dense", "dense-plain"))
    for a, b in zip(with_skips.layers, without.layers, strict=True):
        assert a.conv.in_channels == b.conv.in_channels
    with torch.device("meta"):  # benchmarks/README.md and DIFFERS of oyedotun2021/depth-sweep
        assert sum(p.numel() for p in Dense(DenseSpec(40, skips=False), 3, 10).parameters()) == 22_603_306


@pytest.mark.parametrize("name", ["dense", "highway", "fractal"])
@pytest.mark.parametrize("vectorised", [False, True])
def test_they_train_and_resume(name, vectorised):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 4
    x = torch.randn(32, *SHAPE, generator=generator)
    x[torch.arange(32), labels % 3, labels] += 6
    task = Task(x, labels, x, labels, 4)
    spec = TrainingSpec(batch=16, learning_rate=5e-3)

    def trainer():
        return Trainer([build(KINDS[name], SHAPE, 4, s) for s in (0, 1)], [0, 1], task, spec, vectorised=vectorised)

    whole, stopped, resumed = trainer(), trainer(), trainer()
    for _ in range(6):
        whole.train_epoch()
    for _ in range(2):
        stopped.train_epoch()
    resumed.load(stopped.state())
    for _ in range(4):
        resumed.train_epoch()
    for key, parameter in whole.population.parameters.items():
        torch.testing.assert_close(resumed.population.parameters[key], parameter, rtol=1e-4, atol=1e-5)
    assert (whole.evaluate(x, labels).loss < 1.4).all()


@pytest.mark.parametrize("name", KINDS)
def test_populations_compute_what_their_networks_compute(name):
    networks = [build(KINDS[name], SHAPE, 10, seed) for seed in range(2)]
    x = torch.randn(5, *SHAPE)
    expected = torch.stack([n.eval()(x) for n in networks])
    for vectorised in (False, True):
        population = Population(networks, vectorised=vectorised)
        population.train(False)
        torch.testing.assert_close(population(x, shared=True), expected)


@pytest.mark.parametrize(
    ("spec", "wrong", "message"),
    [
        (DenseSpec, {"layers": 41}, "3n . 4 layers, got 41"),
        (DenseSpec, {"growth": 0}, "growth must be at least 1"),
        (HighwaySpec, {"layers": 20}, "3n . 4 layers, got 20"),
        (FractalSpec, {"columns": 0}, "columns must be at least 1"),
        (FractalSpec, {"drop_path": 1.0}, "drop_path must be at least 0 and below 1"),
        (FractalSpec, {"dropout": -0.1}, "dropout must be at least 0 and below 1"),
        (FractalSpec, {"blocks": 0}, "blocks must be at least 1"),
    ],
)
def test_wrong_specs_are_refused(spec, wrong, message):
    with pytest.raises(InputError, match=message):
        spec(**wrong)
