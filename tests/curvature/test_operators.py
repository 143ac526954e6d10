"""Products of the Hessian and its kin against dense references in float64."""

import copy
import functools
import re
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import NAMES, Residual, case, dense_reference, labelled
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from nonsingular.curvature import GaussNewton, Hessian, PopulationHessian
from nonsingular.errors import InputError
from nonsingular.networks import NetworkSpec, build


def eye(H):
    return torch.eye(H.shape[0], dtype=H.dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("linearise", [True, False])
def test_equals_the_dense_hessian(name, linearise):
    model, loss_fn, batches = case(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    H = Hessian(model, loss_fn, batches, linearise=linearise, mode="own")
    expected = dense_reference(model, loss_fn, batches)
    assert H.linearised is linearise
    torch.testing.assert_close(H @ eye(H), expected, rtol=1e-9, atol=1e-11)
    if linearise:
        torch.testing.assert_close(H.dense(), expected, rtol=1e-9, atol=1e-11)
    for k, v in model.state_dict().items():
        assert torch.equal(v, before[k]), f"{k} was changed"


@pytest.mark.parametrize("name", ["attention", "residual tanh", "convolutions, batch norm in train mode"])
def test_equals_finite_differences_of_the_gradient(name):
    model, loss_fn, batches = case(name)
    H = Hessian(model, loss_fn, batches, mode="own")
    at = nn.utils.parameters_to_vector(model.parameters()).detach()
    direction, step = torch.randn_like(at), 1e-5

    def gradient(flat):
        nn.utils.vector_to_parameters(flat, model.parameters())
        (x, y), *_ = batches
        return nn.utils.parameters_to_vector(torch.autograd.grad(loss_fn(model(x), y), list(model.parameters())))

    slope = (gradient(at + step * direction) - gradient(at - step * direction)) / (2 * step)
    torch.testing.assert_close(H @ direction, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_vector_block_and_scipy_agree(name):
    model, loss_fn, batches = case(name)
    H = Hessian(model, loss_fn, batches, mode="own")
    V = torch.randn(H.shape[0], 3, dtype=torch.float64)
    columns = torch.stack([H @ v for v in V.T], dim=1)
    torch.testing.assert_close(H @ V, columns)
    scipy_view = H.to_scipy()
    torch.testing.assert_close(torch.as_tensor(scipy_view @ V.numpy()), columns)
    torch.testing.assert_close(torch.as_tensor(scipy_view @ V[:, 0].numpy()), columns[:, 0])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(-1e3, 1e3))
def test_linear_and_symmetric(seed, scale):
    H = test_linear_and_symmetric.H
    g = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, H.shape[0], generator=g, dtype=H.dtype)
    torch.testing.assert_close(H @ (u + scale * v), H @ u + scale * (H @ v))
    torch.testing.assert_close(u @ (H @ v), v @ (H @ u))


test_linear_and_symmetric.H = Hessian(*case("convolutions, batch norm in train mode"), mode="own")


def test_scalar_parameters():
    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain, self.inner = nn.Parameter(torch.tensor(1.3)), nn.Linear(3, 2)

        def forward(self, x):
            return self.inner(x) * self.gain

    model, batches = Gain().double(), [(torch.ones(4, 3, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64))]
    H = Hessian(model, nn.functional.mse_loss, batches)
    torch.testing.assert_close(H @ eye(H), dense_reference(model, nn.functional.mse_loss, batches))


@pytest.mark.parametrize("names", [["head.weight"], ["layers.1.bias", "stem.weight"]])
def test_a_subset_of_parameters(names):
    model, loss_fn, batches = case("residual tanh")
    expected = dense_reference(model, loss_fn, batches, names=names)
    parameters = dict(model.named_parameters())
    for chosen in (names, [parameters[n] for n in names]):
        H = Hessian(model, loss_fn, batches, params=chosen)
        torch.testing.assert_close(H @ eye(H), expected)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("layers", [f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]),
        ("layers.1", ["layers.1.weight", "layers.1.bias"]),
        ("head.bias", ["head.bias"]),
        (re.compile(r"^layers\.[02]\.b"), ["layers.0.bias", "layers.2.bias"]),
        (["*.bias", "head"], ["stem.bias", *[f"layers.{i}.bias" for i in range(3)], "head.bias", "head.weight"]),
        (lambda model: model.layers[2], ["layers.2.weight", "layers.2.bias"]),
        (lambda model: model.head.parameters(), ["head.weight", "head.bias"]),
        (lambda model: [model.stem, "stem.weight"], ["stem.weight", "stem.bias"]),
    ],
)
def test_parameters_are_chosen_by_name_prefix_pattern_and_module(choice, names):
    model, loss_fn, batches = case("residual tanh")
    H = Hessian(model, loss_fn, batches, params=choice(model) if callable(choice) else choice)
    assert list(H.problem.names) == names
    torch.testing.assert_close(H.dense(), dense_reference(model, loss_fn, batches, names=names))


def test_tied_parameters_are_found_under_either_name():
    model, loss_fn, batches = case("shared layer")
    assert Hessian(model, loss_fn, batches, params="second").shape == (20, 20)


def test_frozen_parameters_are_left_out_by_default():
    model, loss_fn, batches = case("residual tanh")
    for p in model.layers.parameters():
        p.requires_grad_(False)
    kept = [n for n, p in model.named_parameters() if p.requires_grad]
    H = Hessian(model, loss_fn, batches)
    torch.testing.assert_close(H @ eye(H), dense_reference(model, loss_fn, batches, names=kept))


def test_sum_reduction():
    model, _, batches = case("several batches")

    def total(z, y):
        return F.cross_entropy(z, y, reduction="sum")

    H = Hessian(model, total, batches, reduction="sum")
    torch.testing.assert_close(H @ eye(H), dense_reference(model, total, batches, reduction="sum"))


@pytest.mark.parametrize("piece", [1, 2, 4, 9])
def test_microbatches_change_nothing(piece):
    model, loss_fn, batches = case("several batches")
    v = torch.randn(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    torch.testing.assert_close(
        Hessian(model, loss_fn, batches, microbatch=piece) @ v, Hessian(model, loss_fn, batches) @ v
    )


def test_precision_is_that_asked_for():
    model, loss_fn, batches = case("residual")
    model, batches = model.float(), [(x.float(), y) for x, y in batches]
    single, double = Hessian(model, loss_fn, batches), Hessian(model, loss_fn, batches, dtype=torch.float64)
    v = torch.randn(single.shape[0])
    assert (single @ v).dtype == torch.float32
    assert (double @ v).dtype == torch.float64
    torch.testing.assert_close(single @ v, (double @ v).float(), rtol=1e-4, atol=1e-5)


def test_inputs_as_tuple_and_mapping():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 1), nn.Linear(3, 1)

        def forward(self, x, z):
            return self.a(x) * self.b(z)

    model = Two().double()
    x, z, y = torch.randn(6, 2).double(), torch.randn(6, 3).double(), torch.randn(6, 1).double()
    v = torch.randn(7).double()
    by_name = Hessian(model, F.mse_loss, [({"x": x, "z": z}, y)]) @ v
    torch.testing.assert_close(Hessian(model, F.mse_loss, [((x, z), y)]) @ v, by_name)


def test_compiled_products_agree(monkeypatch):
    # Without the half minute of generating machine code, which the benchmarks do.
    calls = []
    traced = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: calls.append(args) or traced(*args, **kwargs))
    model, loss_fn, batches = case("several batches")
    v = torch.randn(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    torch.testing.assert_close(Hessian(model, loss_fn, batches, compile=True) @ v, Hessian(model, loss_fn, batches) @ v)
    assert len(calls) >= 1


# --- Gauss-Newton -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if "batch norm" not in n])
@pytest.mark.parametrize("linearise", [True, False])
def test_gauss_newton_equals_its_definition(name, linearise):
    model, loss_fn, batches = case(name)
    G = GaussNewton(model, loss_fn, batches, linearise=linearise)
    params = {k: p.detach() for k, p in model.named_parameters()}
    expected = torch.zeros(G.shape, dtype=torch.float64)
    for (x, y), weight in zip(batches, G.problem.weights, strict=True):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            jacobian = torch.func.jacrev(lambda p, x=x: functional_call(model, p, (x,)))(params)
        z = functional_call(model, params, (x,))
        J = torch.cat([j.reshape(z.numel(), -1) for j in jacobian.values()], dim=1)
        inner = torch.func.hessian(lambda z, y=y: loss_fn(z, y))(z).reshape(z.numel(), z.numel())
        expected += weight * J.T @ inner @ J
    torch.testing.assert_close(G @ eye(G), expected, rtol=1e-9, atol=1e-11)


def test_gauss_newton_is_the_hessian_of_a_linear_model():
    model = nn.Linear(4, 3).double()
    batches = [(torch.randn(6, 4).double(), torch.randint(3, (6,)))]
    G, H = GaussNewton(model, F.cross_entropy, batches), Hessian(model, F.cross_entropy, batches)
    torch.testing.assert_close(G @ eye(G), H @ eye(H))


# --- populations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh])
def test_population_equals_its_members(activation):
    torch.manual_seed(0)
    models = [Residual(activation).double() for _ in range(3)]
    batches = [(x.double(), y) for x, y in (labelled(9, 6), labelled(4, 6))]
    P = PopulationHessian(models[0], stack_module_state(models)[0], F.cross_entropy, batches)
    V = torch.randn(3, P.shape[1], dtype=torch.float64)
    singles = torch.stack([Hessian(m, F.cross_entropy, batches) @ v for m, v in zip(models, V, strict=True)])
    torch.testing.assert_close(P @ V, singles)
    torch.testing.assert_close(P.member(1) @ V[1], singles[1])
    blocks = torch.randn(3, P.shape[1], 2, dtype=torch.float64)
    torch.testing.assert_close((P @ blocks)[..., 1], P @ blocks[..., 1])


def test_population_of_different_skip_matrices_equals_its_members():
    models = [build(NetworkSpec(3, 6, "orthogonal", "tanh"), 6, 3, seed).double() for seed in range(3)]
    parameters, buffers = stack_module_state(models)
    batches = [(x.double(), y) for x, y in (labelled(9, 6),)]
    P = PopulationHessian(models[0], parameters, F.cross_entropy, batches, buffers=buffers)
    V = torch.randn(3, P.shape[1], dtype=torch.float64)
    singles = torch.stack([Hessian(m, F.cross_entropy, batches) @ v for m, v in zip(models, V, strict=True)])
    torch.testing.assert_close(P @ V, singles)
    torch.testing.assert_close(P.member(2) @ V[2], singles[2])
    with pytest.raises(InputError, match=r"no buffer 'skip'; its buffers are layers\.1\.skip"):
        PopulationHessian(models[0], parameters, F.cross_entropy, batches, buffers={"skip": buffers["layers.1.skip"]})
    wrong = {"layers.1.skip": buffers["layers.1.skip"][:2]}
    with pytest.raises(InputError, match=r"must have shape \(3, 6, 6\), got \(2, 6, 6\)"):
        PopulationHessian(models[0], parameters, F.cross_entropy, batches, buffers=wrong)


# --- falling back -------------------------------------------------------------------------------------------


def test_short_memory_falls_back_once_and_stays_right():
    model, loss_fn, batches = case("several batches")
    exact = Hessian(model, loss_fn, batches)
    v = torch.randn(exact.shape[0], dtype=torch.float64)
    exact @ v
    one = exact._maps[0].nbytes
    H = Hessian(model, loss_fn, batches, memory=1.2 * one)
    with pytest.warns(UserWarning, match="memory is short.* 3 of 3 batches") as caught:
        product = H @ v
    assert [w.filename for w in caught] == [__file__]
    torch.testing.assert_close(product, exact @ v)
    assert not H.linearised
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        H @ v


class NoForwardMode(torch.autograd.Function):
    """Cubes; has a double backward and no forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Cube(nn.Module):
    def forward(self, x):
        return NoForwardMode.apply(x)


LENGTHS = {
    "normalised": lambda z: F.normalize(z, dim=1),
    "norm": lambda z: z.norm(dim=1),
    "1-norm": lambda z: z.norm(p=1, dim=1),
    "cosine": lambda z: F.cosine_similarity(z, z.flip(0)),
    "distance": lambda z: F.pairwise_distance(z, z.flip(0) + 1),
    "weight norm": lambda z: F.linear(z, F.normalize(torch.ones(2, 4, dtype=z.dtype) + z[:2].cos(), dim=1)),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_norms_are_recorded_whose_derivatives_overwrite_what_was_read(name):
    class Layer(nn.Linear):
        def forward(self, x):
            return LENGTHS[name](super().forward(x))

    torch.manual_seed(0)
    model, x = Layer(3, 4).double(), torch.randn(5, 3, dtype=torch.float64)
    H = Hessian(model, lambda out: (out.square() * 0.5 + out.sin()).mean(), [x])
    assert H.linearised
    V = torch.randn(16, 2, dtype=torch.float64)
    expected = torch.stack([H.recomputed_product(v) for v in V.T], 1)
    torch.testing.assert_close(H @ V, expected)
    assert expected.norm() > 1e-3


class Standardised(nn.Conv2d):
    """A convolution with standardised filters, as BiT and NFNets have: their mean taken away, divided by their size."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, padding=1)


class Scaled(nn.Module):
    """ConvNeXt's block: depthwise convolution, normalised channels, two layers, a scale, around it a skip."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm, self.wide = nn.LayerNorm(channels), nn.Linear(channels, 2 * channels)
        self.narrow, self.scale = nn.Linear(2 * channels, channels), nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x):
        inner = self.narrow(F.gelu(self.wide(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return x + (self.scale * inner).permute(0, 3, 1, 2)


class Excited(nn.Module):
    """Squeeze and excitation: channels weighed by what their means say."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


BLOCKS = {
    "standardised weights": lambda: nn.Sequential(
        Standardised(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), Standardised(4, 4, 3)
    ),
    "ConvNeXt's": lambda: nn.Sequential(nn.Conv2d(2, 4, 2, stride=2), Scaled(4), nn.Conv2d(4, 4, 1)),
    "squeeze and excitation": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Excited(4), nn.SiLU()),
    "patches": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, stride=3), nn.Flatten(2), nn.LayerNorm(4), nn.GELU()),
    "circular padding": lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.CircularPad2d(1), nn.Conv2d(2, 2, 3)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_vision_models(name):
    torch.manual_seed(0)
    model = nn.Sequential(BLOCKS[name](), nn.Flatten(), nn.LazyLinear(3)).double()
    x, y = torch.randn(5, 2, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    model(x)
    batches = [(x[:3], y[:3]), (x[3:], y[3:])]
    H = Hessian(model, F.cross_entropy, batches)
    assert H.linearised
    V = torch.randn(H.shape[0], 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(H @ V, dense_reference(model, F.cross_entropy, batches) @ V)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_networks_are_recorded(kind, bidirectional):
    torch.manual_seed(0)
    cells = kind(3, 2, num_layers=2, bidirectional=bidirectional, batch_first=True).double()
    x, y = torch.randn(4, 5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0])

    def loss(out, target):
        return F.cross_entropy(out[0].mean(1), target)

    H, plain = (Hessian(cells, loss, [(x, y)], linearise=on) for on in (True, False))
    V = torch.randn(H.shape[0], 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(H @ V, plain @ V)
    assert H.linearised


def huber_by_hand(z, y, delta=1.0):
    off = (z - y).abs()
    return torch.where(off < delta, off**2 / 2, delta * (off - delta / 2))


SIGNS = torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0], dtype=torch.float64)[:, None].expand(5, 3)
REAL = 3 * torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
PIECEWISE = {
    "Huber": (nn.HuberLoss(), REAL, lambda z, y: huber_by_hand(z, y).mean()),
    "Huber of another width": (nn.HuberLoss(delta=0.3), REAL, lambda z, y: huber_by_hand(z, y, 0.3).mean()),
    "weighted Huber": (
        lambda z, y: F.huber_loss(z, y, weight=REAL.abs()),
        REAL,
        lambda z, y: (REAL.abs() * huber_by_hand(z, y)).mean(),
    ),
    "soft margin": (nn.SoftMarginLoss(), SIGNS, lambda z, y: torch.log(1 + torch.exp(-z * y)).mean()),
}


@pytest.mark.parametrize("kind", [Hessian, GaussNewton])
@pytest.mark.parametrize("name", PIECEWISE)
def test_losses_whose_gradient_has_no_forward_derivative(name, kind):
    loss, y, by_hand = PIECEWISE[name]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    C, expected = kind(model, loss, [(x, y)]), kind(model, by_hand, [(x, y)], linearise=False)
    torch.testing.assert_close(C.dense(), expected.dense())
    assert C.linearised
    torch.testing.assert_close(C.problem.objective.value(), by_hand(model(x), y))


def test_hard_sigmoids_have_their_second_derivative():
    torch.manual_seed(0)
    layers = nn.Linear(4, 5), nn.Hardswish(), nn.Linear(5, 5), nn.Hardsigmoid(), nn.Linear(5, 3)
    model = nn.Sequential(*layers).double()
    by_hand = copy.deepcopy(model)
    by_hand[3] = nn.Hardtanh(0, 1)
    with torch.no_grad():  # (x + 3) / 6 between 0 and 1
        by_hand[2].weight /= 6
        by_hand[2].bias.add_(3).div_(6)
    batch = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    H, other = Hessian(model, F.mse_loss, [batch]), Hessian(by_hand, F.mse_loss, [batch])
    scale = torch.cat(
        [torch.full((p.numel(),), 1 / 6 if n.startswith("2") else 1.0) for n, p in model.named_parameters()]
    )
    torch.testing.assert_close(H.dense(), scale[:, None] * other.dense() * scale)
    assert H.linearised


STEP = 1e-9
KINKS = {
    "PReLU": nn.PReLU(),
    "PReLU of each unit": nn.PReLU(5),
    "fmax": lambda x: torch.fmax(x, torch.zeros_like(x)),
    "clamp from below": lambda x: x.clamp(min=torch.zeros_like(x)),
    "clamp from above": lambda x: torch.clip(x, max=torch.zeros_like(x)),
    "clamp in place": lambda x: x.clamp_(min=torch.zeros_like(x)),
}


@pytest.mark.parametrize("kind", [Hessian, GaussNewton])
@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_both_modes_of_differentiation_take_the_side_of_the_gradient(name, kind):
    """As where an embedding's padding, which is all zeros, meets a layer without a bias."""

    class Kink(nn.Module):
        def __init__(self):
            super().__init__()
            self.function = KINKS[name]

        def forward(self, x):
            return self.function(x)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), Kink(), nn.Linear(5, 3)).double()
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    ends = torch.tensor([0.0, STEP], dtype=torch.float64)[:, None].expand(2, 5).clone().requires_grad_()
    at, above = torch.autograd.grad(model[1](1 * ends).sum(), ends)[0]
    beside = copy.deepcopy(model)
    nn.init.constant_(beside[0].bias, STEP if at.equal(above) else -STEP)
    C, expected = (kind(m, F.mse_loss, [(x, y)]) for m in (model, beside))
    torch.testing.assert_close(C.dense(), expected.dense(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(C.problem.objective.value(), F.mse_loss(model(x), y))
    assert C.linearised


def test_what_cannot_be_linearised_falls_back_once_and_stays_right():
    class Power(nn.Module):
        def forward(self, x):
            return x**3

    torch.manual_seed(0)
    odd = nn.Sequential(nn.Linear(3, 4), Cube(), nn.Linear(4, 2)).double()
    same = nn.Sequential(odd[0], Power(), odd[2])
    batches = [(torch.randn(5, 3).double(), torch.randn(5, 2).double())]
    H = Hessian(odd, F.mse_loss, batches)
    with pytest.warns(UserWarning, match="cannot be linearised") as caught:
        product = H @ eye(H)
    assert len(caught) == 1
    torch.testing.assert_close(product, dense_reference(same, F.mse_loss, batches))


@pytest.mark.parametrize("why", ["memory is short", "cannot be linearised"])
def test_populations_fall_back_once_and_stay_right(why):
    torch.manual_seed(0)
    models = [
        nn.Sequential(nn.Linear(3, 4), Cube() if "cannot" in why else nn.Tanh(), nn.Linear(4, 2)).double()
        for _ in range(3)
    ]
    batches = [(torch.randn(n, 3).double(), torch.randn(n, 2).double()) for n in (5, 2)]
    memory = 1.0 if "memory" in why else None
    P = PopulationHessian(models[0], stack_module_state(models)[0], F.mse_loss, batches, memory=memory)
    V = torch.randn(3, P.shape[1], 2, dtype=torch.float64)
    with pytest.warns(UserWarning, match=why) as caught:
        product = P @ V
    assert len(caught) == 1
    assert not P.linearised
    singles = [Hessian(m, F.mse_loss, batches, linearise=False) @ v for m, v in zip(models, V, strict=True)]
    torch.testing.assert_close(product, torch.stack(singles))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(P @ V[:, :, 0], product[:, :, 0])
