"""Batch normalisation folded into convolutions: the same values to the bit, the same derivatives to rounding."""

from contextlib import nullcontext

import pytest
import torch
from models import case
from torch import nn

from nonsingular.curvature import GaussNewton, Hessian, hessian, outputs
from nonsingular.curvature.folding import FoldNormalisations

DIMENSIONS = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}


def pair(dimensions=2, bias=True, affine=True, groups=1):
    """A convolution and a normalisation away from their initial values, in float64, and an input."""
    torch.manual_seed(0)
    convolution, normalisation = DIMENSIONS[dimensions]
    norm = normalisation(4, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    for p in norm.parameters():
        nn.init.normal_(p)
    layers = nn.Sequential(convolution(2, 4, 3, padding=1, bias=bias, groups=groups), norm)
    return layers.double().eval(), torch.randn(3, 2, *(5,) * dimensions, dtype=torch.float64)


def derivatives(model, x):
    """Value, gradient and Hessian-vector product of a loss with curvature everywhere."""
    params = {k: p.detach() for k, p in model.named_parameters()}
    direction = {k: torch.cos(torch.arange(p.numel()).double()).view_as(p) for k, p in params.items()}

    def loss(p):
        return torch.func.functional_call(model, p, (x,)).tanh().square().sum()

    return loss(params), *torch.func.jvp(torch.func.grad(loss), (params,), (direction,))


def same(model, x, rtol=1e-12):
    value, *expected = derivatives(model, x)
    with FoldNormalisations():
        folded_value, *folded = derivatives(model, x)
    assert torch.equal(folded_value, value)
    torch.testing.assert_close(folded, expected, rtol=rtol, atol=rtol * float(expected[1]["0.weight"].abs().max()))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize(("bias", "affine", "groups"), [(True, True, 1), (False, True, 2), (True, False, 1)])
def test_same_derivatives(dimensions, bias, affine, groups):
    same(*pair(dimensions, bias, affine, groups))


class Between(nn.Sequential):
    """Something done to the convolution's result before it is normalised."""

    def forward(self, x):
        y = self[0](x)
        kept = 3 * y
        y.mul_(2)
        return self[1](y) + kept


def test_a_result_that_is_written_to_is_not_folded():
    layers, x = pair()
    same(Between(*layers), x)


def test_batch_statistics_are_not_folded():
    layers, x = pair()
    layers[1].track_running_stats = False
    same(layers.train(), x)


@pytest.mark.parametrize(("operator", "module"), [(Hessian, hessian), (GaussNewton, outputs)])
def test_products_of_operators(operator, module, monkeypatch):
    """The same products from less memory: no normalised activations are kept."""
    problem = case("convolutions, batch norm in eval mode")
    folded = operator(*problem)
    v = torch.randn(folded.shape[0], dtype=torch.float64)
    product = folded @ v
    with monkeypatch.context() as patch:
        patch.setattr(module, "FoldNormalisations", nullcontext)
        plain = operator(*problem)
        expected = plain @ v
    torch.testing.assert_close(product, expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))
    assert folded.nbytes < plain.nbytes
