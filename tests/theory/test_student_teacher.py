import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import erf

from nonsingular.errors import InputError
from nonsingular.theory import student_teacher as st

ERF = st.ErfUnits()


def erf_by_quadrature(inputs):
    root = np.sqrt(2 / np.pi)
    return st.QuadratureUnits(
        lambda t: erf(t / np.sqrt(2)),
        lambda t: root * np.exp(-t * t / 2),
        lambda t: -root * t * np.exp(-t * t / 2),
        inputs,
        nodes=60,
    )


def draw(seed, *shape):
    return 0.6 * np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("moment", ["overlap", "gradient", "curvature", "mixed"])
def test_closed_forms_agree_with_quadrature(inputs, moment):
    a, b = draw(0, 3, inputs), draw(1, 2, inputs)
    closed = getattr(ERF, moment)(a, b)
    np.testing.assert_allclose(closed, getattr(erf_by_quadrature(inputs), moment)(a, b), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("units", [ERF, st.tanh_units(2)], ids=["erf", "tanh"])
def test_overlap_agrees_with_sampling(units):
    a, b = draw(2, 2, 2), draw(3, 2, 2)
    x = np.random.default_rng(0).standard_normal((400_000, 2))
    phi = np.tanh if units is not ERF else (lambda t: erf(t / np.sqrt(2)))
    samples = phi(x @ a.T)[:, :, None] * phi(x @ b.T)[:, None]
    error = 5 * samples.std(axis=0) / np.sqrt(len(x))
    assert (np.abs(samples.mean(axis=0) - units.overlap(a, b)) < error).all()


def torch_loss(parameters, shape, teacher):
    """The erf closed form again, for automatic differentiation."""
    units, inputs, outputs = shape
    J = parameters[: units * inputs].reshape(units, inputs)
    W = parameters[units * inputs :].reshape(outputs, units)
    B, V = (torch.tensor(x) for x in (teacher.J, teacher.W))

    def overlap(a, b):
        norms = (1 + (a * a).sum(1))[:, None] * (1 + (b * b).sum(1))[None]
        return 2 / torch.pi * torch.arcsin(a @ b.T / norms.sqrt())

    own = ((W.T @ W) * overlap(J, J)).sum()
    return (own - 2 * ((W.T @ V) * overlap(J, B)).sum() + ((V.T @ V) * overlap(B, B)).sum()) / 2


@settings(max_examples=15, deadline=None)
@given(seed=some.integers(0, 1000), outputs=some.integers(1, 3))
def test_gradient_agrees_with_automatic_differentiation(seed, outputs):
    student = st.Network(draw(seed, 3, 2), draw(seed + 1, outputs, 3))
    teacher = st.Network(draw(seed + 2, 2, 2), draw(seed + 3, outputs, 2))
    point = torch.tensor(np.concatenate([student.J.ravel(), student.W.ravel()]))
    expected = torch.func.grad(torch_loss)(point, (3, 2, outputs), teacher).numpy()
    found = st.gradient(student, teacher, ERF)
    np.testing.assert_allclose(np.concatenate([found.J.ravel(), found.W.ravel()]), expected, atol=1e-12)
    assert st.loss(student, teacher, ERF) == pytest.approx(float(torch_loss(point, (3, 2, outputs), teacher)))


@settings(max_examples=10, deadline=None)
@given(seed=some.integers(0, 1000))
def test_hessian_agrees_with_automatic_differentiation(seed):
    student, teacher = st.Network(draw(seed, 3, 2), draw(seed + 1, 1, 3)), st.Network(draw(5, 2, 2), draw(6, 1, 2))
    point = torch.tensor(np.concatenate([student.J.ravel(), student.W.ravel()]))
    expected = torch.func.hessian(torch_loss)(point, (3, 2, 1), teacher).numpy()
    np.testing.assert_allclose(st.hessian(student, teacher, ERF), expected, atol=1e-11)


def test_hessian_is_fisher_information_where_the_loss_is_zero():
    teacher = st.Network(draw(0, 2, 2), draw(1, 1, 2))
    np.testing.assert_allclose(st.hessian(teacher, teacher, ERF), st.fisher_information(teacher, ERF), atol=1e-14)


def test_permuting_units_changes_no_loss():
    student, teacher = st.Network(draw(0, 3, 2), draw(1, 2, 3)), st.Network(draw(2, 2, 2), draw(3, 2, 2))
    order = [2, 0, 1]
    permuted = st.Network(student.J[order], student.W[:, order])
    assert st.loss(permuted, teacher, ERF) == pytest.approx(st.loss(student, teacher, ERF), abs=1e-14)


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match=r"J must be \[unit, input\]"):
        st.Network(np.ones((2, 2)), np.ones((1, 3)))
    with pytest.raises(InputError, match="inputs must be 1, 2 or 3"):
        st.tanh_units(4)
    with pytest.raises(InputError, match="1 output"):
        st.fisher_information(st.Network(draw(0, 2, 2), draw(1, 2, 2)), ERF)
