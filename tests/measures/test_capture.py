import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, vmap

from nonsingular import measures
from nonsingular.errors import InputError
from nonsingular.measures import capture
from nonsingular.networks import NetworkSpec, build


@pytest.fixture
def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


@pytest.fixture
def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 3))


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def loss(outputs):
    return F.cross_entropy(outputs, torch.arange(len(outputs)) % outputs.shape[1], reduction="sum")


def test_what_is_recorded_is_what_the_layers_computed(perceptron):
    x = torch.randn(7, 6)
    with capture(perceptron, ["0", "2", "3"]) as seen:
        output = perceptron(x)
    assert list(seen.activations) == ["0", "2", "3"]
    torch.testing.assert_close(seen.activations["0"], perceptron[0](x))
    torch.testing.assert_close(seen.activations["2"], perceptron[2](perceptron[0](x).relu()))
    torch.testing.assert_close(seen.activations["3"], seen.activations["2"].tanh())
    torch.testing.assert_close(output, perceptron(x))


def test_the_latest_pass_is_kept(perceptron):
    with capture(perceptron, ["0"]) as seen:
        perceptron(torch.randn(7, 6))
        x = torch.randn(2, 6)
        perceptron(x)
    torch.testing.assert_close(seen.activations["0"], perceptron[0](x))


def test_hooks_are_gone_afterwards(perceptron):
    before = hooks(perceptron)
    with capture(perceptron, ["0", "2"]) as seen:
        assert hooks(perceptron) == before + 2
        perceptron(torch.randn(7, 6))
    assert hooks(perceptron) == before
    kept = seen.activations["0"]
    perceptron(torch.randn(3, 6))
    assert seen.activations["0"] is kept


def test_hooks_are_gone_after_an_exception(perceptron):
    with pytest.raises(RuntimeError), capture(perceptron, ["0", "2"]):
        perceptron(torch.randn(7, 99))
    assert hooks(perceptron) == 0
    with pytest.raises(KeyboardInterrupt), capture(perceptron, ["0"]):
        raise KeyboardInterrupt
    assert hooks(perceptron) == 0


@pytest.mark.parametrize(
    "act",
    [
        lambda m: capture(m, ["0", "hidden"]).__enter__(),
        lambda m: measures.weight_names(m, ["hidden"]),
    ],
    ids=["capture", "weight_names"],
)
def test_unknown_layers_are_refused_with_those_there_are(perceptron, act):
    with pytest.raises(InputError, match=r"no layer 'hidden'; its layers are 0, 2$"):
        act(perceptron)
    assert hooks(perceptron) == 0


def test_offsets_of_layers_that_are_not_recorded_are_refused(perceptron):
    with pytest.raises(InputError, match="offset of '2', which is not recorded; recorded are 0"):
        capture(perceptron, ["0"], {"2": torch.zeros(1)}).__enter__()
    assert hooks(perceptron) == 0


def test_in_place_layers_do_not_change_the_record():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))
    x = torch.randn(7, 6)
    offsets = {"0": torch.zeros(7, 5, requires_grad=True)}
    for given in (None, offsets):
        with capture(model, ["0"], given) as seen:
            output = model(x)
        torch.testing.assert_close(seen.activations["0"], model[0](x))
        assert (seen.activations["0"] < 0).any()
        torch.testing.assert_close(output, model(x))


def retained_gradients(modules, x):
    """The obvious way on an ordinary chain: keep the tensors, ask autograd for their gradients."""
    kept = []
    for module in modules:
        x = module(x)
        x.retain_grad()
        kept.append(x)
    loss(x).backward()
    return [k.grad for k in kept]


@pytest.mark.parametrize("kind", ["perceptron", "convolutional"])
def test_gradient_by_zero_offsets_is_the_gradient_by_the_activations(kind, request):
    model = request.getfixturevalue(kind)
    x = torch.randn(7, 6) if kind == "perceptron" else torch.randn(7, 2, 8, 8)
    layers = [name for name, _ in model.named_children()]
    with capture(model, layers) as seen:
        model(x)
    offsets = {name: torch.zeros_like(a).requires_grad_() for name, a in seen.activations.items()}
    with capture(model, layers, offsets):
        total = loss(model(x))
    found = torch.autograd.grad(total, list(offsets.values()))
    for ours, theirs in zip(found, retained_gradients(model, x), strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("skip", ["none", "identity", "hyper", "orthogonal"])
def test_gradients_in_the_networks_of_the_papers(skip):
    """With skips a layer's activation reaches the loss along many paths: finite differences see them all."""
    network = build(NetworkSpec(depth=4, width=8, skip=skip, activation="tanh"), 5, 3, seed=0).double()
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    names = measures.layer_names(network)

    def at(offsets):
        with capture(network, names, offsets):
            return loss(network(x))

    zeros = {name: torch.zeros(3, 8, dtype=torch.float64, requires_grad=True) for name in names}
    gradients = torch.autograd.grad(at(zeros), list(zeros.values()))
    step = 1e-5
    for name, gradient in zip(names, gradients, strict=True):
        for sample, unit in ((0, 0), (1, 3), (2, 7)):
            nudge = torch.zeros(3, 8, dtype=torch.float64)
            nudge[sample, unit] = step
            with torch.no_grad():
                difference = (at({name: nudge}) - at({name: -nudge})) / (2 * step)
            assert gradient[sample, unit].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-9)


def test_records_come_out_of_transformed_functions(perceptron):
    stacked = {k: torch.stack([p, 2 * p]).detach() for k, p in perceptron.named_parameters()}
    x = torch.randn(4, 6)

    def one(parameters):
        with capture(perceptron, ["0"]) as seen:
            functional_call(perceptron, parameters, (x,))
        return seen.activations["0"]

    activations = vmap(one)(stacked)
    torch.testing.assert_close(activations[1], 2 * activations[0])
    assert hooks(perceptron) == 0


def test_hidden_layers_are_named_in_order_without_the_readout(perceptron, convolutional):
    assert measures.layer_names(perceptron) == ["0", "2"]
    assert measures.layer_names(convolutional) == ["0", "2"]
    assert measures.layer_names(build(NetworkSpec(depth=3, width=8), 5, 3, 0)) == ["layers.0", "layers.1", "layers.2"]
    assert measures.layer_names(nn.Linear(3, 2)) == []


def test_weights_are_named_by_layer(perceptron, convolutional):
    assert measures.weight_names(perceptron, ["0", "2"]) == {"0": "0.weight", "2": "2.weight"}
    assert measures.weight_names(convolutional, ["2"]) == {"2": "2.weight"}
    network = build(NetworkSpec(depth=2, width=8, skip="orthogonal", batch_norm=(2,)), 5, 3, 0)
    names = measures.weight_names(network, measures.layer_names(network))
    assert names == {"layers.0": "layers.0.linear.weight", "layers.1": "layers.1.linear.weight"}
    parameters = dict(network.named_parameters())
    assert all(len(parameters[name]) == 8 for name in names.values())


def test_a_layer_without_weights_is_refused(perceptron):
    with pytest.raises(InputError, match=re.escape("layer '1' (ReLU) has no weights")):
        measures.weight_names(perceptron, ["0", "1"])


class Listed(nn.Module):
    """A user's network that keeps its modules in a list named as ours, with a readout beside it or in it."""

    def __init__(self, *layers, readout=None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.readout = readout

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x if self.readout is None else self.readout(x)


def block():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (
            Listed(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), readout=nn.Linear(4, 2)),
            ["layers.0", "layers.2"],
        ),
        (Listed(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), ["layers.0"]),
        (Listed(nn.Linear(4, 4), nn.Linear(4, 2)), ["layers.0"]),
        (Listed(nn.Linear(4, 4), nn.Linear(4, 4), readout=nn.Linear(4, 2)), ["layers.0", "layers.1"]),
        (Listed(block(), block(), readout=nn.Linear(4, 2)), ["layers.0", "layers.1"]),
    ],
)
def test_lists_of_modules_have_layers_where_there_are_weights(network, names):
    assert measures.layer_names(network) == names
    assert list(measures.weight_names(network, names)) == names
