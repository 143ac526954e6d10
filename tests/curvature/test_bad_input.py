"""Bad input: one clear error that names the culprit."""

import pytest
import torch
from models import case, labelled
from torch import nn
from torch.nn import functional as F

from nonsingular.curvature import GaussNewton, Hessian, PopulationHessian, spectrum
from nonsingular.errors import InputError

GOOD = case("residual tanh")


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()


class Once(nn.Module):
    def forward(self, x):
        return OnceDifferentiable.apply(x)


class OverwritesItsInput(nn.Module):
    def forward(self, x):
        y = x.exp()
        y += 1  # exp needs its result for the gradient
        return y


class IntegerParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.shift = nn.Parameter(torch.tensor([1, 2, 3]), requires_grad=False)

    def forward(self, x):
        return self.linear(x) + self.shift


class Apply(nn.Module):
    def __init__(self, function, before=None):
        super().__init__()
        self.function, self.before = function, before or nn.Identity()

    def forward(self, x):
        return self.function(self.before(x))


def after(module):
    return nn.Sequential(nn.Linear(6, 4), module, nn.Linear(4, 3))


def nan_inside():
    class Root(nn.Module):
        def forward(self, x):
            return (x - 1e6).sqrt()

    return nn.Sequential(nn.Linear(6, 4), Root(), nn.Linear(4, 3))


def product_of_sunk(depth):
    """Probabilities over the batch at the end of so many layers, of which next to nothing arrives."""
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(8, 8), nn.ReLU())]
    H = Hessian(nn.Sequential(*layers, nn.Linear(8, 4), nn.Softmax(0)), F.cross_entropy, [FAINT])
    return H @ torch.ones(H.shape[0])


def pooled():
    """Rectified maps, whose pools have ties, where finite differences mean nothing."""
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3)).double()


BATCH = labelled(5, 6)
FAINT = (0.02 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4)
CASES = {
    "no parameters": (lambda: Hessian(nn.ReLU(), F.cross_entropy, [BATCH]), "no parameters"),
    "all frozen": (
        lambda: Hessian(nn.Linear(6, 3).requires_grad_(False), F.cross_entropy, [BATCH]),
        "none of them requires a gradient",
    ),
    "no batches": (lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, []), "no batches"),
    "batches not iterable": (lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, 3), "iterable"),
    "batch not a pair": (
        lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [torch.ones(2, 6)]),
        "batch 0 must be a pair",
    ),
    "empty batch": (
        lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [(torch.ones(0, 6), torch.ones(0).long())]),
        "batch 0 is empty",
    ),
    "loss not scalar": (
        lambda: Hessian(nn.Linear(6, 3), lambda z, y: F.cross_entropy(z, y, reduction="none"), [BATCH]),
        r"scalar tensor, got shape \(5,\)",
    ),
    "loss not a tensor": (lambda: Hessian(nn.Linear(6, 3), lambda z, y: 0.0, [BATCH]), "scalar tensor, got float"),
    "loss detached": (
        lambda: Hessian(nn.Linear(6, 3), lambda z, y: F.cross_entropy(z.detach(), y), [BATCH]),
        "does not depend",
    ),
    "NaN in a module": (lambda: Hessian(nan_inside(), F.cross_entropy, [BATCH]), r"module 1 \(Root\) is the first"),
    "NaN in the inputs": (
        lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [(BATCH[0] * float("nan"), BATCH[1])]),
        "inputs have NaN",
    ),
    "wrong shapes": (lambda: Hessian(nn.Linear(7, 3), F.cross_entropy, [BATCH]), "failed on the first batch"),
    "unknown parameter": (lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH], params=["wieght"]), "'wieght'"),
    "a module of another model": (
        lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH], params=nn.Linear(2, 2)),
        r"no parameter of shape \(2, 2\) that Linear has",
    ),
    "a number as parameter": (
        lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH], params=[3]),
        "names, patterns, modules and parameters, got int",
    ),
    "no parameter named": (lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH], params=[]), "params is empty"),
    "integer parameter": (
        lambda: Hessian(IntegerParameter(), F.cross_entropy, [BATCH], params=["shift"]),
        "shift has dtype torch.int64",
    ),
    "dropout": (
        lambda: Hessian(after(nn.Dropout(0.5)), F.cross_entropy, [BATCH], mode="train"),
        r"module 1 \(Dropout\) is random",
    ),
    "only once differentiable": (
        lambda: Hessian(after(Once()), F.cross_entropy, [BATCH]) @ torch.ones(43),
        r"OnceDifferentiable.backward has no derivative of its own",
    ),
    "a loss without second derivative": (
        lambda: Hessian(pooled(), F.multi_margin_loss, [labelled(9, 2, 6, 6)]) @ torch.ones(189),
        "twice: loss_fn: .*multi_margin_loss_backward",
    ),
    "less than rounding": (
        lambda: product_of_sunk(20),
        r"smaller than the rounding of float32: give the model in float64 \(model.double\(\)",
    ),
    "less than any rounding": (
        lambda: product_of_sunk(40),
        "smaller than the rounding of float32 and of float64: the loss is flat here",
    ),
    "in-place overwriting": (
        lambda: Hessian(after(OverwritesItsInput()), F.cross_entropy, [BATCH]) @ torch.ones(43),
        r"module 1 \(OverwritesItsInput\)",
    ),
    "steps in a module": (
        lambda: Hessian(after(Apply(torch.sign)), F.cross_entropy, [BATCH]),
        r"module 1 \(Apply\) uses torch.sign, .* with respect to 0.weight would be zero",
    ),
    "steps between modules": (
        lambda: Hessian(Apply(torch.round, nn.Linear(6, 3)), F.cross_entropy, [BATCH]),
        r"module model \(Apply\) uses torch.round",
    ),
    "steps in the loss": (
        lambda: GaussNewton(nn.Linear(6, 3), lambda z, y: z.floor().mean(), [BATCH]),
        "loss_fn uses torch.floor",
    ),
    "unknown reduction": (lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH], reduction="max"), "'max'"),
    "microbatch of a sum": (
        lambda: Hessian(nn.Linear(6, 3), lambda z, y: F.cross_entropy(z, y, reduction="sum"), [BATCH], microbatch=2),
        "microbatch changes the loss",
    ),
    "microbatch of none": (lambda: Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH], microbatch=0), "at least 1"),
    "wrong vector": (lambda: Hessian(*GOOD) @ torch.ones(3), "got \\[3\\]"),
    "Gauss-Newton without outputs": (
        lambda: GaussNewton(nn.Linear(6, 3), F.cross_entropy, []),
        "no batches",
    ),
    "population of other shapes": (
        lambda: PopulationHessian(nn.Linear(6, 3), {"weight": torch.ones(2, 3, 5)}, F.cross_entropy, [BATCH]),
        "weight must have shape",
    ),
    "unknown method": (lambda: spectrum(torch.eye(3), method="magic"), "exact, lanczos, moments"),
    "window": (lambda: spectrum(torch.eye(3), window=0.0), "window must be positive"),
    "not square": (lambda: spectrum(torch.ones(3, 2)), "square"),
    "NaN matrix": (lambda: spectrum(torch.full((3, 3), float("nan"))), "NaN"),
    "zero moments": (lambda: spectrum(torch.zeros(3, 3), method="moments"), "moment is zero"),
    "moments of no vector": (lambda: spectrum(torch.eye(3), method="moments", max_probes=0), "at least one random"),
    "density of counts": (lambda: spectrum(torch.eye(3)).density([0.0]), "eigenvalues=True"),
    "too large for exact": (
        lambda: spectrum(Hessian(nn.Linear(6, 6000), F.cross_entropy, [BATCH]), method="exact"),
        "use method='lanczos'",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", CASES)
def test_one_clear_error(what):
    act, message = CASES[what]
    with pytest.raises(InputError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_integer_parameters_that_are_not_asked_for_are_constants():
    model = IntegerParameter()
    assert (Hessian(model, F.cross_entropy, [BATCH]) @ torch.ones(21)).isfinite().all()


def test_out_of_memory_names_the_batch(monkeypatch):
    def too_large(self, params, batch):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr("nonsingular.curvature.problem.Problem.loss", too_large)
    with pytest.raises(InputError, match="out of memory on a batch of 5 samples"):
        Hessian(nn.Linear(6, 3), F.cross_entropy, [BATCH])


def test_steps_beside_another_path_are_taken():
    model = after(Apply(lambda x: x**2 * x.sign()))
    assert (Hessian(model, F.cross_entropy, [BATCH]) @ torch.ones(43)).norm() > 0
