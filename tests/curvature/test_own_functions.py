"""Functions with derivatives of their own: right ones are taken, wrong ones are refused by name, in one line."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nonsingular import curvature
from nonsingular.curvature import GaussNewton, Hessian, Jacobian, PopulationHessian
from nonsingular.errors import InputError


class Sine(torch.autograd.Function):
    """As it should be."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()


class Doubled(Sine):
    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0].cos()


class Steps(Sine):
    """A straight-through estimate."""

    @staticmethod
    def forward(ctx, x):
        return (2 * x).round() / 2

    @staticmethod
    def backward(ctx, g):
        return g


class Reversed(Steps):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return -g


class ThroughNumPy(Sine):
    @staticmethod
    def backward(ctx, g):
        return torch.from_numpy(g.detach().numpy() * ctx.saved_tensors[0].detach().cos().numpy())


class Once(Sine):
    """Right once: its second derivative is lost."""

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].detach().cos()


class Rectified(Sine):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0] > 0)


class Parts(Sine):
    """Two outputs, one of them of integers."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        which = x.argmax(1)
        ctx.mark_non_differentiable(which)
        return x.sin(), which

    @staticmethod
    def backward(ctx, g, _):
        return g * ctx.saved_tensors[0].cos()


class WrongForwards(torch.autograd.Function):
    """A sine, whose slope is right backwards and not forwards."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * tangent


class Asserted(Sine):
    """A kernel for some precisions."""

    @staticmethod
    def forward(ctx, x):
        assert x.dtype in (torch.float16, torch.float32)
        ctx.save_for_backward(x)
        return x.sin()


class Chosen(Sine):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return {torch.float32: torch.sin}[x.dtype](x)


class Bfloat(Sine):
    """Computes in 16 bits."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.bfloat16().sin().to(x.dtype)


class Half(Bfloat):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.half().sin().to(x.dtype)


class BothBfloat(Bfloat):
    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].bfloat16().cos().to(g.dtype)


class DoubledBfloat(Bfloat):
    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0].cos()


class Quantised(Steps):
    """A straight-through estimate with narrow steps."""

    @staticmethod
    def forward(ctx, x):
        return (40 * x).round() / 40


class Clipped(Reversed):
    """Gradient clipping."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-1, 1)


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.apply_function = function.apply

    def forward(self, x):
        out = self.apply_function(x)
        return out[0] if isinstance(out, tuple) else out


def problem(middle, dtype=torch.float64, still=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), middle, nn.Linear(40, 3)).to(dtype)
    x = torch.randn(30, 6).to(dtype)
    if still:  # half of the samples are zeros, and all that comes of them lies on the kink
        x[:15] = 0
        nn.init.zeros_(model[0].bias)
    return model, x, torch.arange(30) % 3


OPERATORS = {
    "Hessian": lambda m, x, y, **o: Hessian(m, F.cross_entropy, [(x, y)], **o),
    "GaussNewton": lambda m, x, y, **o: GaussNewton(m, F.cross_entropy, [(x, y)], **o),
    "EmpiricalFisher": lambda m, x, y, **o: curvature.EmpiricalFisher(m, F.cross_entropy, [(x, y)], **o),
    "Jacobian": lambda m, x, y, **o: Jacobian(m, x, **o),
}
FALSE = {
    Doubled: r"Doubled.backward is not the derivative of its forward: .* (\S+) instead of (\S+);",
    Steps: "Steps.backward is not the derivative of its forward: .* instead of 0;",
    Quantised: "Quantised.backward is not the derivative",
    DoubledBfloat: "DoubledBfloat.backward is not the derivative",
    Reversed: "Reversed.backward is not the derivative .* changes gradients on purpose",
    Clipped: "Clipped.backward .* changes gradients on purpose",
    ThroughNumPy: "ThroughNumPy.backward has no derivative of its own",
}


@pytest.mark.filterwarnings("ignore:the model cannot be linearised")
@pytest.mark.parametrize("function", FALSE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("kind", OPERATORS)
def test_false_derivatives_are_refused_by_name(kind, dtype, function):
    with pytest.raises(InputError, match=FALSE[function]) as caught:
        OPERATORS[kind](*problem(Applied(function), dtype))
    assert "\n" not in str(caught.value)


def test_populations_refuse_them_too():
    model, x, y = problem(Applied(Doubled))
    stacked = {n: p.detach()[None] for n, p in model.named_parameters()}
    with pytest.raises(InputError, match=FALSE[Doubled]):
        PopulationHessian(model, stacked, F.cross_entropy, [(x, y)])


@pytest.mark.filterwarnings("ignore:the model cannot be linearised")
@pytest.mark.parametrize("function", [Sine, Once, Rectified, Parts, WrongForwards], ids=lambda f: f.__name__)
@pytest.mark.parametrize("linearise", [True, False])
@pytest.mark.parametrize("kind", ["GaussNewton", "Jacobian"])
def test_first_derivatives_are_those_of_the_plain_form(kind, linearise, function):
    """One whose second derivative alone is lost has a Gauss-Newton matrix; a wrong forward mode is not used."""
    plain = nn.ReLU() if function is Rectified else Applied(type("Plain", (), {"apply": staticmethod(torch.sin)}))
    got, expected = (OPERATORS[kind](*problem(m, still=True), linearise=linearise) for m in (Applied(function), plain))
    v = torch.randn(got.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(got @ v, expected @ v)
    torch.testing.assert_close(got.T @ (got @ v), expected.T @ (expected @ v))


@pytest.mark.filterwarnings("ignore:the model cannot be linearised")
def test_hessians_need_the_second_one_as_well():
    with pytest.raises(InputError, match=r"Once.backward has a wrong derivative of its own: .* 0 instead of"):
        OPERATORS["Hessian"](*problem(Applied(Once)))
    got, expected = (OPERATORS["Hessian"](*problem(m, still=True)) for m in (Applied(Rectified), nn.ReLU()))
    torch.testing.assert_close(got.dense(), expected.dense())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("middle", [nn.PReLU, nn.ReLU, nn.Hardtanh, nn.Softshrink], ids=lambda m: m.__name__)
def test_kinks_are_not_refused(middle, dtype):
    G = OPERATORS["GaussNewton"](*problem(middle(), dtype, still=True))
    J = OPERATORS["Jacobian"](*problem(middle(), dtype, still=True))
    assert bool((G @ torch.ones(G.shape[0])).isfinite().all())
    assert bool((J @ torch.ones(J.shape[1])).isfinite().all())


def test_sides_of_a_derivative_are_held_against_one_another_without_a_function_of_ones_own():
    """Gradients that a hook changes for their values alone, as with NumPy."""

    class Hooked(nn.Module):
        def forward(self, x):
            y = x.sin()
            if y.requires_grad:
                y.register_hook(lambda g: g.detach() * 1.0)
            return y

    for kind in ("GaussNewton", "Jacobian"):
        A = OPERATORS[kind](*problem(Hooked()), linearise=False)
        with pytest.raises(InputError, match="not the same forwards and backwards"):
            A @ torch.ones(A.shape[1])


@pytest.mark.filterwarnings("ignore:the model cannot be linearised")
@pytest.mark.parametrize("function", [Asserted, Chosen, Bfloat, Half, BothBfloat], ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", OPERATORS)
def test_functions_of_few_precisions_are_not_refused(kind, function):
    """Float64 copies of one fail, or are rounded to 16 bits, where small steps change nothing."""
    plain = Applied(type("Plain", (), {"apply": staticmethod(torch.sin)}))
    got, expected = (OPERATORS[kind](*problem(m, torch.float32)) for m in (Applied(function), plain))
    v = torch.randn(got.shape[1], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(got @ v, expected @ v, rtol=0.02, atol=0.02 * float((expected @ v).norm()))


@pytest.mark.filterwarnings("ignore:the model cannot be linearised")
@pytest.mark.parametrize("linearise", [True, False])
@pytest.mark.parametrize("kind", ["GaussNewton", "Jacobian"])
def test_who_cannot_be_differentiated_from_both_sides_is_named(kind, linearise):
    model = nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 3))
    A = OPERATORS[kind](model, torch.randint(20, (16, 5)), torch.arange(16) % 3, linearise=linearise)
    with pytest.raises(InputError, match=r"module 0 \(EmbeddingBag\)"):
        A @ torch.ones(A.shape[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_who_is_named_is_tried_in_the_precision_of_the_computation(dtype):
    """A recurrent network whose output is overwritten: none of its layers fails alone, whatever precision it has."""

    class Overwritten(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            y = self.rnn(x)[0].tanh()
            return self.head(y * y.mul_(2).detach()).mean(1)

    x, y = torch.randn(5, 7, 6).to(dtype), torch.arange(5) % 3
    with pytest.raises(InputError, match="no gradient: no single module fails alone"):
        Hessian(Overwritten().to(dtype), F.cross_entropy, [(x, y)])
