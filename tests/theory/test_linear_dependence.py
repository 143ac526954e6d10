import numpy as np
import pytest

from nonsingular.errors import InputError
from nonsingular.theory import linear_dependence as ld
from nonsingular.theory import student_teacher as st


@pytest.fixture(scope="module")
def field():
    return ld.flow(ld.random_teacher(4), np.array([0.5, 1.0, 1.5]))


def test_combinations_are_inverse_to_each_other():
    J = ld.random_teacher(0).J
    np.testing.assert_allclose(ld.from_combinations(*ld.to_combinations(J)), J)


def test_the_teacher_itself_has_no_flow_and_no_loss(field):
    at = field.sel(m=1.0, c=1.0)
    for name in ("loss", "dm", "dc"):
        assert float(np.abs(at[name]).max()) < 1e-9


def test_re_optimising_never_raises_the_loss(field):
    assert (field.loss.sel(rest="optimised") <= field.loss.sel(rest="teacher") + 1e-12).all()


def test_the_flow_is_the_slope_of_the_optimised_loss():
    teacher, step = ld.random_teacher(4), 1e-4
    M, D, C = ld.to_combinations(teacher.J)
    m, c = 1.2 * np.linalg.norm(M), 0.9 * np.linalg.norm(C)
    here = ld.optimum(m, c, teacher, np.stack([M, D, C]))

    def loss(m, c):
        return ld.optimum(m, c, teacher, here.combinations).loss

    assert here.stationarity < 1e-5
    assert (loss(m + step, c) - loss(m - step, c)) / (2 * step) == pytest.approx(here.dm, rel=1e-2)
    assert (loss(m, c + step) - loss(m, c - step)) / (2 * step) == pytest.approx(here.dc, rel=1e-2)
    assert np.linalg.norm(here.combinations[0]) == pytest.approx(m)
    assert np.linalg.norm(here.combinations[2]) == pytest.approx(c)


def test_the_weights_own_velocity_is_their_gradients():
    teacher = ld.random_teacher(4)
    own = np.stack(ld.to_combinations(teacher.J))
    m, c = 1.2 * np.linalg.norm(own[0]), 0.9 * np.linalg.norm(own[2])
    here = ld.optimum(m, c, teacher, own)
    J = ld.from_combinations(*here.combinations)
    own_overlap, cross = (st.ErfUnits().overlap(J, other) for other in (J, teacher.J))
    W = np.linalg.solve(own_overlap, cross @ teacher.W.T).T
    dJ = -st.gradient(st.Network(J, W), teacher, st.ErfUnits()).J
    M_dot, _, C_dot = ld.to_combinations(dJ)
    M_dir, C_dir = here.combinations[0] / m, here.combinations[2] / c
    assert M_dot @ M_dir == pytest.approx(-3 * here.dm + here.cosine * here.dc, rel=1e-3)
    assert C_dot @ C_dir == pytest.approx(here.cosine * here.dm - here.dc, rel=1e-3)


def test_swapping_two_units_of_the_teacher_keeps_the_field():
    """M and |Jc| are symmetric in a and b; D is not, but D is optimised. Near the teacher there is one branch only."""
    teacher, near, order = ld.random_teacher(4), [0.9, 1.0, 1.1], [1, 0, 2]
    field = ld.flow(teacher, near)
    swapped = ld.flow(st.Network(teacher.J[order], teacher.W[:, order]), near)
    for name in ("loss", "dm", "dc"):
        np.testing.assert_allclose(
            swapped[name].sel(rest="optimised"), field[name].sel(rest="optimised"), atol=2e-5, err_msg=name
        )


def test_speed_ratio_is_positive(field):
    assert (ld.speed_ratio(field).ratio > 0).all()


def test_parameters_outside_their_domain_are_named():
    teacher = ld.random_teacher(0)
    with pytest.raises(InputError, match="relative"):
        ld.flow(teacher, [0.0, 1.0])
    with pytest.raises(InputError, match="3 hidden units"):
        ld.flow(st.Network(teacher.J[:2], teacher.W[:, :2]), [0.5, 1.0])
    with pytest.raises(InputError, match="m must be"):
        ld.optimum(-1.0, 1.0, teacher, teacher.J)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e100])
@pytest.mark.filterwarnings("error")
def test_a_search_that_goes_too_far_is_no_optimum(far):
    teacher = ld.random_teacher(4)
    M, D, C = ld.to_combinations(teacher.J)
    found = ld.optimum(np.linalg.norm(M), np.linalg.norm(C), teacher, np.stack([M, far * D, C]))
    assert np.isfinite(found.loss) or found.stationarity == np.inf
    loss, _ = ld._regressed(ld.from_combinations(M, far * D, C), teacher)
    assert np.isfinite(loss) == (far < 1e4)
