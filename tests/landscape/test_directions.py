"""Directions: scaled as the paper scales them, and blind to rescalings that do not change the function."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models_landscape import SkipNet, pairs, relu_net
from torch import nn
from torch.nn import functional as F

from nonsingular import landscape
from nonsingular.errors import InputError


def rescaled(model, factors):
    """The same function of a ReLU net: each hidden layer times a factor, the next divided by it."""
    changed = copy.deepcopy(model)
    linear = [m for m in changed if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for layer, before, after in zip(linear, [1.0, *factors], [*factors, 1.0], strict=True):
            layer.weight *= after / before
            if layer.bias is not None:
                layer.bias *= after
    return changed


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=2), st.booleans(), st.sampled_from([(), ("bias",)]))
def test_rescaling_a_relu_net_leaves_filter_normalised_surfaces_alone(factors, bias, keep):
    model = relu_net(bias=bias).double()
    twin = rescaled(model, factors)
    [(x, t)] = pairs()
    batch = [(x.double(), t)]
    torch.testing.assert_close(model(batch[0][0]), twin(batch[0][0]))
    surfaces = {}
    for how in ("filter", "none"):
        for name, net in (("model", model), ("twin", twin)):
            d = [landscape.gaussian(net, seed, normalise=how, keep=keep) for seed in (0, 1)]
            surfaces[how, name] = landscape.surface(
                net, F.cross_entropy, batch, *d, grid=5, settings=landscape.EXACT
            ).loss.values
    np.testing.assert_allclose(surfaces["filter", "model"], surfaces["filter", "twin"], rtol=1e-9)
    if max(factors) > 1.5 or min(factors) < 0.6:  # without normalisation the same test does see the difference
        assert not np.allclose(surfaces["none", "model"], surfaces["none", "twin"], rtol=1e-3)


def test_filters_and_layers_get_the_norms_of_the_weights():
    model = SkipNet()
    d = landscape.gaussian(model, 0)
    for name, part in d.items():
        w = dict(model.named_parameters())[name]
        torch.testing.assert_close(part.flatten(1).norm(dim=1), w.flatten(1).norm(dim=1))
    layer = landscape.gaussian(model, 0, normalise="layer")
    assert all(torch.isclose(part.norm(), model.get_parameter(n).norm()) for n, part in layer.items())
    transposed = nn.Sequential(nn.ConvTranspose2d(3, 5, 2))
    d = landscape.gaussian(transposed, 0)["0.weight"]  # [input, output, row, column]
    torch.testing.assert_close(*(t.transpose(0, 1).flatten(1).norm(dim=1) for t in (d, transposed[0].weight)))


def test_zero_filters_stay_zero():
    model = relu_net()
    with torch.no_grad():
        model[0].weight[2] = 0
    d = landscape.gaussian(model, 0)["0.weight"]
    assert not d[2].any()
    assert d[1].any()
    assert torch.isfinite(d).all()


def test_biases_and_normalisation_move_only_when_kept():
    model = SkipNet()
    weights = {"stem.weight", "conv.weight", "down.weight", "head.weight"}
    biases = {"conv.bias", "down.bias", "head.bias"}
    norms = {"bn.weight", "bn.bias", "bn2.weight", "bn2.bias"}
    assert landscape.gaussian(model, 0).keys() == weights
    assert landscape.gaussian(model, 0, keep=("bias",)).keys() == weights | biases
    assert landscape.gaussian(model, 0, keep=("bias", "norm")).keys() == weights | biases | norms
    assert landscape.gaussian(model, 0, only=("conv", "head")).keys() == {"conv.weight", "head.weight"}
    both = [landscape.gaussian(model, 0, keep=k)["head.weight"] for k in ((), ("bias", "norm"))]
    assert torch.equal(*both)


def test_one_seed_is_one_direction():
    a, b, c = (landscape.gaussian(SkipNet(), seed) for seed in (3, 3, 4))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not any(torch.equal(a[n], c[n]) for n in a)
    assert abs(landscape.cosine(a, c)) < 0.3
    assert landscape.cosine(a, a) == pytest.approx(1)


def test_the_difference_of_two_solutions_leads_from_one_to_the_other():
    a, b = SkipNet(seed=0), SkipNet(seed=1)
    batch = pairs(image=(2, 6, 6))
    line = landscape.line(a, F.cross_entropy, batch, landscape.between(a, b), span=(0, 1), grid=3)
    with torch.no_grad():
        ends = [F.cross_entropy(m(batch[0][0]), batch[0][1]).item() for m in (a, b)]
    np.testing.assert_allclose(line.loss.values[[0, -1]], ends, rtol=1e-5)


def test_drawing_leaves_the_callers_random_numbers_alone():
    model = relu_net()
    before = torch.get_rng_state()
    landscape.gaussian(model, 3)
    assert torch.equal(before, torch.get_rng_state())


def test_principal_components_find_the_plane_of_a_path():
    model = relu_net().double()
    centre = {n: t.clone() for n, t in model.state_dict().items()}
    u, v = (landscape.gaussian(model, s, normalise="none") for s in (0, 1))
    t = np.linspace(0, 1, 9)
    noise = [landscape.gaussian(model, 10 + k, normalise="none") for k in range(9)]
    states = [
        {n: p + (a * 5 * u[n] + (1 - a) ** 2 * 3 * v[n] + 1e-3 * e[n] if n in u else 0) for n, p in centre.items()}
        for a, e in zip(t[::-1], noise, strict=True)
    ]
    path = landscape.principal(states, model)
    assert path.explained.sum() > 0.999
    assert path.explained[0] >= path.explained[1] > 0
    x, y = path.directions
    assert landscape.cosine(x, y) == pytest.approx(0, abs=1e-9)
    assert sum(float(p.square().sum()) for p in x.values()) == pytest.approx(1)
    np.testing.assert_allclose(path.coordinates[-1], 0, atol=1e-12)
    assert path.coordinates[0, 0] > 0
    rebuilt = {n: states[-1][n] + path.coordinates[0, 0] * x[n] + path.coordinates[0, 1] * y[n] for n in x}
    for n, r in rebuilt.items():
        torch.testing.assert_close(r, states[0][n], atol=0.05, rtol=0)


def test_filters_and_layers_of_norm_one_whatever_the_weights():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.ConvTranspose2d(3, 4, 2))
    nn.init.zeros_(model[2].weight)  # no size of the weights is asked for
    by_filter, by_layer = (landscape.gaussian(model, 0, normalise=how) for how in ("dfilter", "dlayer"))
    plain = landscape.gaussian(model, 0, normalise="none")
    torch.testing.assert_close(by_filter["0.weight"].flatten(1).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(by_filter["2.weight"].transpose(0, 1).flatten(1).norm(dim=1), torch.ones(4))
    for name, d in by_layer.items():
        torch.testing.assert_close(d, plain[name] / plain[name].norm())


def test_eigenvectors_are_those_of_the_dense_hessian():
    model = relu_net((4, 3, 3)).double()
    [(x, t)] = pairs(4)
    batch = [(x.double(), t)]
    directions, values = landscape.eigenvectors(model, F.cross_entropy, batch, steps=40, tolerance=1e-7)
    from nonsingular.curvature import Hessian

    dense = Hessian(model, F.cross_entropy, batch).dense()
    expected = torch.linalg.eigvalsh(dense)
    order = expected.abs().argsort(descending=True)[:2]
    np.testing.assert_allclose(values, expected[order].numpy(), rtol=1e-6)
    v = torch.cat([directions[0][n].flatten() for n, _ in model.named_parameters()])
    torch.testing.assert_close(dense @ v, values[0] * v, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: landscape.gaussian(m, 0, normalise="unit"), "filter, layer, weight, dfilter, dlayer, none"),
        (lambda m: landscape.gaussian(m, 0, keep=("biases",)), "there are bias, norm"),
        (lambda m: landscape.gaussian(m, 0, only=("tail",)), "no weights to move below tail"),
        (lambda m: landscape.gaussian(nn.ReLU(), 0), "no parameters"),
        (lambda m: landscape.gaussian(m.to("meta"), 0), "on the meta device"),
        (lambda m: landscape.between(m, relu_net((6, 9, 3))), "checkpoints 1 and 2 differ in 0.weight"),
        (lambda m: landscape.between(m, m), "equal"),
        (lambda m: landscape.principal([m.state_dict()] * 2, m), "at least 3 checkpoints, got 2"),
        (lambda m: landscape.principal([m.state_dict()] * 4, m), "do not span 2 directions"),
    ],
)
def test_bad_input_says_what_would_be_right(call, message):
    with pytest.raises(InputError, match=message):
        call(relu_net())
