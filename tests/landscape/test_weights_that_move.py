"""Which weights move, and how far: tied, frozen and zero ones, in whatever form the weights come."""

import copy

import numpy as np
import pytest
import torch
from models_landscape import SkipNet, pairs, relu_net
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from nonsingular import landscape
from nonsingular.errors import InputError


class Tied(nn.Module):
    """Words in, words out, one matrix for both; nine batches of a language model are its kind."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        super().__init__()
        self.embedding, self.middle = nn.Embedding(11, 5), nn.Linear(5, 5)
        self.out = nn.Linear(5, 11, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, words):
        return self.out(torch.tanh(self.middle(self.embedding(words))))


def words():
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randint(11, (30,), generator=generator) for _ in range(2))]


class LowRank(nn.Module):
    """LoRA: a frozen matrix, and the product of two thin ones of which the second starts at zero."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.base, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.base.requires_grad_(False)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 8, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.head(torch.relu(self.base(x) + self.up(self.down(x))))


def loss_at(model, batches):
    with torch.no_grad():
        return sum(F.cross_entropy(model(x), t).item() * len(t) for x, t in batches) / sum(len(t) for _, t in batches)


@pytest.mark.parametrize("form", ["modules", "states", "files", "vectors", "wrapped"])
def test_the_line_between_tied_models_ends_at_the_other(tmp_path, form):
    a, b = Tied(1), Tied(2)
    ends = {
        "modules": (a, b),
        "states": (a.state_dict(), b.state_dict()),
        "files": (tmp_path / "a.pt", str(tmp_path / "b.pt")),
        "vectors": [parameters_to_vector(m.parameters()) for m in (a, b)],
        "wrapped": (nn.DataParallel(a), {f"module.{n}": t for n, t in b.state_dict().items()}),
    }[form]
    for model, file in ((a, "a.pt"), (b, "b.pt")):
        torch.save(model.state_dict(), tmp_path / file)
    direction = landscape.between(*ends, model=a)
    line = landscape.line(a, F.cross_entropy, words(), direction, span=(0, 1), grid=3)
    np.testing.assert_allclose(line.loss.values[[0, 2]], [loss_at(m, words()) for m in (a, b)], rtol=1e-6)
    moved = parameters_to_vector(b.parameters()) - parameters_to_vector(a.parameters())
    assert line.attrs["norm_x"] == pytest.approx(moved.norm().item(), rel=1e-6)  # the tied weight counts once


def test_tied_weights_moved_apart_are_refused():
    a, b = Tied(1), Tied(2)
    apart = {n: t.clone() for n, t in b.state_dict().items()}
    apart["out.weight"] += 1
    with pytest.raises(InputError, match=r"embedding.weight and out.weight apart, which are one tied weight"):
        landscape.between(a, apart)
    by_states = landscape.between(a.state_dict(), apart)  # without a model nothing is known to be tied
    with pytest.raises(InputError, match="apart, which are one tied weight"):
        landscape.line(a, F.cross_entropy, words(), by_states)


def test_a_run_of_tied_models_has_a_plane_and_its_ends_losses(tmp_path):
    states = [Tied(seed).state_dict() for seed in range(3)]
    vectors = [torch.cat([s[n].flatten() for n, _ in Tied(0).named_parameters()]) for s in states]
    found = [
        landscape.trajectory(Tied(0), F.cross_entropy, words(), s, grid=5, settings=landscape.EXACT)
        for s in (states, vectors)
    ]
    assert found[0].identical(found[1])
    np.testing.assert_allclose(found[0].distance, 0, atol=1e-5)  # three points span the plane
    centre = landscape.principal(states, Tied(0))
    losses = landscape.Losses(Tied(2), F.cross_entropy, words(), centre.directions)(centre.coordinates)[0]
    np.testing.assert_allclose(losses, [loss_at(Tied(seed), words()) for seed in range(3)], rtol=1e-5)


def test_the_distance_from_the_plane_is_what_the_plane_leaves_of_each_step():
    model = relu_net().double()
    u, v, w = (landscape.gaussian(model, s, normalise="none") for s in (0, 1, 2))
    # u and v in turn, and a third direction, orthogonal to both, by known lengths
    basis = np.linalg.qr(np.stack([torch.cat([t.flatten() for t in d.values()]).numpy() for d in (u, v, w)], 1))[0].T
    lengths = np.array([[9.0, 0.0, 0.5], [0.0, 5.0, -0.5], [-9.0, 0.0, 0.5], [0.0, -5.0, -0.5], [0.0, 0.0, 0.0]])
    names = list(u)

    def state(row):
        flat, start = torch.as_tensor(row @ basis), 0
        found = {n: t.clone() for n, t in model.state_dict().items()}
        for n in names:
            found[n] += flat[start : start + u[n].numel()].view(u[n].shape)
            start += u[n].numel()
        return found

    path = landscape.principal([state(row) for row in lengths], model)
    np.testing.assert_allclose(path.distances, np.abs(lengths[:, 2]), atol=1e-9)
    np.testing.assert_allclose(np.abs(path.coordinates), np.abs(lengths[:, :2]), atol=1e-9)
    found = landscape.trajectory(model, F.cross_entropy, [(x.double(), t) for x, t in pairs()], [*map(state, lengths)],
                                 grid=3, settings=landscape.EXACT)  # fmt: skip
    np.testing.assert_allclose(found.distance, path.distances)


def test_frozen_weights_stay_unless_asked():
    model = LowRank()
    d = landscape.gaussian(model, 0)
    assert d.keys() == {"head.weight", "down.weight", "up.weight"}
    every = landscape.gaussian(model, 0, frozen=True)
    assert every.keys() == d.keys() | {"base.weight"}
    assert torch.equal(every["head.weight"], d["head.weight"])  # freezing shifts no draw
    model.requires_grad_(False)
    with pytest.raises(InputError, match=r"all of them are frozen .*frozen=True"):
        landscape.gaussian(model, 0)


@pytest.mark.parametrize("how", ["filter", "layer"])
def test_a_zero_matrix_moves_by_the_typical_size_of_the_others(how):
    model = LowRank()
    d = landscape.gaussian(model, 0, normalise=how)
    typical = torch.cat([model.head.weight.flatten(), model.down.weight.flatten()]).square().mean().sqrt()
    parts = d["up.weight"] if how == "filter" else d["up.weight"].view(1, -1)
    torch.testing.assert_close(parts.norm(dim=1), typical.expand(len(parts)) * parts.shape[1] ** 0.5)
    line = landscape.line(model, F.cross_entropy, pairs(), d, grid=5)
    assert line.attrs["moved_from_zero"] == "up.weight"
    assert line.attrs["moved_weights"] == sum(t.numel() for t in d.values())
    assert line.attrs["moved_weights"] + line.attrs["still_weights"] == sum(p.numel() for p in model.parameters())
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for n, p in moved.named_parameters():
            p += d.get(n, 0 * p)
    assert line.loss.values[-1] == pytest.approx(loss_at(moved, pairs()), rel=1e-5)


def test_a_model_of_zeros_gives_no_scale():
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight)
    with pytest.raises(InputError, match="every weight that moves is zero"):
        landscape.gaussian(model, 0)
    assert landscape.gaussian(model, 0, normalise="none")["weight"].any()


def test_a_flat_vector_is_a_direction():
    model = relu_net()
    flat = torch.randn(sum(p.numel() for p in model.parameters()), generator=torch.Generator().manual_seed(0))
    named, start = {}, 0
    for n, p in model.named_parameters():
        named[n] = flat[start : start + p.numel()].view(p.shape)
        start += p.numel()
    by_vector, by_name = (landscape.line(model, F.cross_entropy, pairs(), d, grid=3) for d in (flat.numpy(), named))
    assert by_vector.identical(by_name)
    with pytest.raises(InputError, match="one entry for each of the model's"):
        landscape.line(model, F.cross_entropy, pairs(), flat[:5])
    for values, message in ((torch.nan, "is not finite in 0.weight"), (0, "zero everywhere")):
        with pytest.raises(InputError, match=message):
            landscape.line(model, F.cross_entropy, pairs(), {"0.weight": torch.full((10, 6), values)})


def test_eigenvectors_are_followed_until_they_have_converged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 10)).double()
    x, t = torch.randn(100, 10).double(), torch.randint(10, (100,))
    from nonsingular.curvature import Hessian

    dense = Hessian(model, F.cross_entropy, [(x, t)]).dense()
    directions, values = landscape.eigenvectors(model, F.cross_entropy, [(x, t)], count=10)
    true = torch.linalg.eigvalsh(dense)
    np.testing.assert_allclose(values, true[true.abs().argsort(descending=True)[:10]], rtol=1e-5)
    for direction, value in zip(directions, values, strict=True):
        v = torch.cat([p.flatten() for p in direction.values()])
        assert float((dense @ v - value * v).norm()) <= 1.1e-3 * abs(value)
    with pytest.raises(InputError, match="not converged in 32 products: 10 eigenvectors"):
        landscape.eigenvectors(model, F.cross_entropy, [(x, t)], count=10, steps=30)


def test_batch_normalisation_moves_with_the_line_between_two_networks():
    a, b = SkipNet(seed=0), SkipNet(seed=1)
    direction = landscape.between(a, b)
    assert {"bn.running_mean", "bn.running_var"} <= direction.keys()
    assert not any("num_batches" in n for n in direction)


def test_differences_of_16_bit_networks_lead_to_the_other_end():
    a, b = relu_net(seed=0).bfloat16(), relu_net(seed=1).bfloat16()
    [(x, t)] = pairs()
    end = {n: p.float() for n, p in b.state_dict().items()}
    expected = F.cross_entropy(torch.func.functional_call(relu_net(), end, (x,)), t).item()
    line = landscape.line(a, F.cross_entropy, [(x, t)], landscape.between(a, b), span=(0, 1), grid=2)
    assert line.loss[1].item() == pytest.approx(expected, rel=1e-6)
    path = landscape.principal([b, relu_net(seed=2).bfloat16(), a], a)
    plane = landscape.Losses(a, F.cross_entropy, [(x, t)], path.directions)(path.coordinates[:1])[0]
    assert plane[0] == pytest.approx(expected, rel=1e-5)


def test_a_filter_of_gpt2s_linear_layers_is_a_column():
    class Conv1D(nn.Module):  # as transformers has it: weights [input, output]
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))

        def forward(self, x):
            return x @ self.weight

    model = nn.Sequential(Conv1D())
    d = landscape.gaussian(model, 0)["0.weight"]
    torch.testing.assert_close(d.norm(dim=0), model[0].weight.norm(dim=0))


def test_each_weight_may_scale_its_own_entry():
    model = relu_net()
    raw, scaled = (landscape.gaussian(model, 0, normalise=how) for how in ("none", "weight"))
    for n, d in scaled.items():
        torch.testing.assert_close(d, raw[n] * model.get_parameter(n).detach())


def test_a_run_is_projected_on_a_plane_that_is_given():
    model = relu_net().double()
    u, v = (landscape.gaussian(model, s, normalise="none") for s in (0, 1))
    skew = {n: u[n] + 2 * v[n] for n in u}  # neither orthogonal to u nor of its length
    known = np.array([[3.0, -1.0], [0.5, 2.0], [0.0, 0.0]])
    bias = 4.0  # off the plane: biases do not move in it

    def state(row):
        moved = {n: t + row[0] * u[n] + row[1] * skew[n] if n in u else t for n, t in model.state_dict().items()}
        return moved | {"0.bias": moved["0.bias"] + (bias / 10**0.5 if row.any() else 0)}

    states = [state(row) for row in known]
    path = landscape.projected(states, model, [u, skew])
    np.testing.assert_allclose(path.coordinates, known, atol=1e-9)
    np.testing.assert_allclose(path.distances, [bias, bias, 0], atol=1e-9)
    inside = np.linalg.norm([torch.cat([(s[n] - states[-1][n]).flatten() for n in u]).numpy() for s in states]) ** 2
    assert path.explained.sum() == pytest.approx(inside / (inside + 2 * bias**2))
    batches = [(x.double(), t) for x, t in pairs()]
    found = landscape.trajectory(model, F.cross_entropy, batches, states, directions=(u, skew), grid=3)
    np.testing.assert_allclose(found.path_x, known[:, 0], atol=1e-9)
    with pytest.raises(InputError, match="the directions are parallel"):
        landscape.projected(states, model, [u, {n: 2 * t for n, t in u.items()}])


def test_a_negative_running_variance_gives_no_loss():
    a, b = SkipNet(seed=0), SkipNet(seed=1)
    for model, variance in ((a, 1.0), (b, 0.5)):
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(variance)
    line = landscape.line(a, F.cross_entropy, pairs(image=(2, 6, 6)), landscape.between(a, b), span=(0, 2.5), grid=6)
    assert np.isfinite(line.loss.values).tolist() == [True] * 5 + [False]  # at 2 the variances are zero
