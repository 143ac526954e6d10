import numpy as np
import pytest
import torch
from scipy.special import erf

from nonsingular.errors import InputError
from nonsingular.theory import signal_propagation as sp

PHI = {
    "erf": (lambda t: erf(t / np.sqrt(2)), lambda t: np.sqrt(2 / np.pi) * np.exp(-(t**2) / 2)),
    "relu": (lambda t: np.maximum(t, 0), lambda t: (t > 0).astype(float)),
}


@pytest.mark.parametrize("units", ["erf", "relu"])
@pytest.mark.parametrize(("q", "c"), [(0.3, -0.6), (1.0, 0.0), (2.5, 0.95)])
def test_averages_are_those_of_a_quadrature(units, q, c):
    """The plane in polar coordinates: exact in the radius; in the angle off by a step of ReLU's derivative at most."""
    angle = (np.arange(10_000) + 0.5) * 2 * np.pi / 10_000
    radius2, weights = np.polynomial.laguerre.laggauss(40)  # of r^2 / 2, which is exponential
    u = np.sqrt(2 * q * radius2)[:, None] * np.cos(angle)
    v = np.sqrt(2 * q * radius2)[:, None] * np.cos(angle - np.arccos(c))
    phi, slope = PHI[units]
    for got, f in zip(sp.AVERAGES[units](np.float64(q), np.float64(q * c)), (phi, slope), strict=True):
        assert got == pytest.approx(weights @ (f(u) * f(v)).mean(axis=1), abs=2 / angle.size)


@pytest.mark.parametrize(("units", "skip"), [("erf", 0.0), ("relu", 0.0), ("erf", 1.0)])
def test_wide_networks_follow_it(units, skip):
    draws, width, layers, weight, bias = 40, 300, 4, 1.7, 0.2
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(draws, 2, width, generator=generator)
    inputs[:, 1] = 0.3 * inputs[:, 0] + np.sqrt(1 - 0.09) * inputs[:, 1]
    h = inputs.requires_grad_()
    phi = torch.relu if units == "relu" else lambda t: torch.erf(t / 2**0.5)
    seen = [h]
    for _ in range(layers):
        W = torch.randn(draws, width, width, generator=generator) * (weight / width) ** 0.5
        h = skip * h + phi(h) @ W + bias**0.5 * torch.randn(draws, 1, width, generator=generator)
        seen.append(h)
    gradients = torch.autograd.grad((h * torch.randn(draws, 1, width, generator=generator)).sum(), seen)
    k = torch.stack([x.detach() @ x.detach().mT for x in seen]).mean(1).numpy() / width  # [layer, input, input]
    q, c = (k[:, 0, 0] + k[:, 1, 1]) / 2, k[:, 0, 1] / np.sqrt(k[:, 0, 0] * k[:, 1, 1])
    told = sp.depth_profile(units, layers, weight=weight, bias=bias, skip=skip, length=q[0], correlation=c[0])
    np.testing.assert_allclose(q, told.length, rtol=0.04)
    np.testing.assert_allclose(c, told.correlation, atol=0.02)
    norms = np.log10([float((g**2).mean()) for g in gradients]) / 2
    np.testing.assert_allclose(norms - norms[-1], told.gradient, atol=0.03)


def test_on_the_critical_line_the_fixed_point_keeps_length_and_gradient():
    for skip in (0.0, 0.6):
        weight, bias = sp.critical_line([0.2, 1.0, 3.0], skip)
        for w, b, q in zip(weight, bias, (0.2, 1.0, 3.0), strict=True):
            path = sp.depth_profile("erf", 30, weight=w, bias=b, skip=skip, length=q, correlation=0.5)
            np.testing.assert_allclose(path.length, q, rtol=1e-12)
            np.testing.assert_allclose(path.gradient, 0, atol=1e-12)


def test_either_side_of_the_line_is_order_and_chaos():
    weight, bias = sp.critical_line(1.0)
    both = sp.depth_profile("erf", 200, weight=[weight - 0.6, weight + 0.6], bias=bias, correlation=0.9)
    assert both.correlation[-1, 0] > 0.9999
    assert both.gradient[0, 0] < -3
    assert both.correlation[-1, 1] < 0.9
    assert both.gradient[0, 1] > 3


def test_a_skip_leaves_no_gradient_to_vanish():
    path = sp.depth_profile("erf", 100, weight=0.5, skip=1.0)
    assert (path.gradient.values[:-1] > 0).all()
    assert float(sp.depth_profile("erf", 100, weight=0.5).gradient[0]) < -10


def test_parameters_outside_their_domain_are_named():
    for bad, words in (
        ({"weight": 0.0}, "weight must be above 0"),
        ({"weight": 1.0, "bias": -1.0}, "bias 0 or more"),
        ({"weight": 1.0, "correlation": 2.0}, "correlation must be -1 to 1"),
        ({"weight": 1.0, "length": 0.0}, "length must be a finite number above 0"),
    ):
        with pytest.raises(InputError, match=words):
            sp.depth_profile("erf", 3, **bad)
    with pytest.raises(InputError, match="units must be one of erf, relu"):
        sp.depth_profile("tanh", 3, weight=1.0)
    with pytest.raises(InputError, match="skip 0 to 1"):
        sp.critical_line(1.0, 2.0)
