import pytest
import torch
from torch import nn

from nonsingular.errors import InputError
from nonsingular.measures import layer_names, weight_names
from nonsingular.networks import VGG, VGGSpec, build


def parameters(spec, shape, classes):
    with torch.device("meta"):
        return sum(p.numel() for p in VGG(spec, shape, classes).parameters())


@pytest.mark.parametrize(("layers", "published"), [(11, 132_863_336), (13, 133_047_848), (16, 138_357_544)])
def test_the_papers_parameter_counts(layers, published):
    # Simonyan and Zisserman 2015, table 2 (133, 133, 138 million), and torchvision's, to the last parameter.
    assert parameters(VGGSpec(layers, hidden=4096), (3, 224, 224), 1000) == published


def test_the_nine_layers_of_li2018_by_hand():
    """3 x 3 convolutions 64, 64, pool, 128, 128, pool, 256, 256, 256, pool; linear 256; readout; all normalised."""
    convolutions = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256)
    norms = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 256)
    linear = 4 * 4 * 256 * 256 + (256 * 10 + 10)
    assert convolutions + norms + linear == 2_788_298
    spec = VGGSpec(9, batch_norm=True)
    assert parameters(spec, (3, 32, 32), 10) == 2_788_298
    network = build(VGGSpec(9, width=4, batch_norm=True), (3, 32, 32), 10, 0)
    assert [layer.conv.out_channels for layer in network.layers[:7]] == [4, 4, 8, 8, 16, 16, 16]
    assert network.poolings == [2, 4, 7]
    assert [layer.linear.out_features for layer in network.layers[7:]] == [16]  # scaled with the rest


@pytest.mark.parametrize("layers", [9, 11, 13, 16])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("size", [32, 8])
def test_layers(layers, batch_norm, size):
    spec = VGGSpec(layers, width=4, hidden=8, batch_norm=batch_norm)
    network = build(spec, (3, size, size), 10, 0)
    names = layer_names(network)
    assert len(names) == spec.depth == layers - 1
    assert list(weight_names(network, names)) == names
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == layers
    assert network(torch.randn(4, 3, size, size)).shape == (4, 10)


def test_it_is_the_stack_that_the_paper_draws():
    network = build(VGGSpec(11, width=2, hidden=6), (3, 32, 32), 5, 0)
    x = images = torch.randn(4, 3, 32, 32)
    convolutions = [layer.conv for layer in network.layers[:8]]
    for number, conv in enumerate(convolutions, start=1):
        x = torch.relu(nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))
        if number in (1, 2, 4, 6, 8):
            x = nn.functional.max_pool2d(x, 2)
    x = x.flatten(1)
    for layer in network.layers[8:]:
        x = torch.relu(layer.linear(x))
    torch.testing.assert_close(network(images), network.readout(x))


def test_wrong_specs_are_refused():
    with pytest.raises(InputError, match="VGG has 9, 11, 13, 16 layers, got 12"):
        VGGSpec(12)
    with pytest.raises(InputError, match="hidden must be at least 1"):
        VGGSpec(11, hidden=0)
