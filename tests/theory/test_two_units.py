import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nonsingular.errors import InputError
from nonsingular.theory import student_teacher as st
from nonsingular.theory import two_units as tu

positions = some.floats(-2.5, 2.5).filter(lambda z: abs(z) > 0.05)
overlaps = some.floats(0.05, 2.0)


@given(
    w=some.floats(0.1, 3.0),
    z=some.floats(-3, 3),
    J=some.lists(some.floats(-2, 2), min_size=2, max_size=2),
    u=some.lists(some.floats(-2, 2), min_size=2, max_size=2),
)
def test_coordinates_are_inverse_to_each_other(w, z, J, u):
    back = tu.to_coordinates(tu.from_coordinates(w, z, J, u))
    for found, given_ in zip(back, (w, z, J, u), strict=True):
        np.testing.assert_allclose(found, given_, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(z=positions, eta=overlaps, narrow=some.booleans(), attracting=some.booleans())
def test_the_invariant_is_conserved(z, eta, narrow, attracting):
    path = tu.reduced_trajectory(z, eta, 5.0, points=50, narrow=narrow, attracting=attracting)
    kept = tu.invariant(path.z, path.eta, narrow=narrow)
    resolved = (np.abs(path.eta.values) < 10) & (np.abs(path.z.values) > 1e-6)  # ln|z| is lost below the tolerance
    kept = kept[np.isfinite(kept) & resolved]
    np.testing.assert_allclose(kept, kept[0], rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(z=positions, eta=overlaps)
def test_time_reversal_returns(z, eta):
    there = tu.reduced_trajectory(z, eta, 3.0, points=20).isel(tau=-1)
    back = tu.reduced_trajectory(float(there.z), float(there.eta), -3.0, points=20).isel(tau=-1)
    np.testing.assert_allclose([back.z, back.eta], [z, eta], rtol=1e-6)
    reversed_ = tu.reduced_trajectory(float(there.z), float(there.eta), 3.0, points=20, attracting=False)
    np.testing.assert_allclose([reversed_.z[-1], reversed_.eta[-1]], [z, eta], rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(z=positions, eta=overlaps)
def test_the_loss_never_rises(z, eta):
    excess = tu.reduced_trajectory(z, eta, 20.0).excess.values
    excess = excess[np.isfinite(excess)]
    assert (np.diff(excess) <= 1e-9 * np.maximum(1, np.abs(excess[1:]))).all()


@settings(max_examples=40, deadline=None)
@given(z=positions, eta=overlaps)
def test_the_basin_is_where_trajectories_reach_the_stable_segment(z, eta):
    edge = float(tu.separatrix(z))
    if abs(eta - edge) < 0.02 * edge and abs(z) < 1:
        return  # too near the separatrix to tell in finite time
    end = tu.reduced_trajectory(z, eta, 400.0, points=2).isel(tau=-1)
    arrived = abs(float(end.z)) < 1 and abs(float(end.eta)) < 1e-3
    assert arrived == bool(tu.in_basin(z, eta))


def test_the_narrow_flow_is_the_limit_of_the_uniform_one():
    for eta in (1e-2, 1e-3):
        wide, narrow = (tu.reduced_flow([0.3, 1.7], [eta], narrow=n) for n in (False, True))
        np.testing.assert_allclose(wide.deta, narrow.deta, rtol=2 * eta**2)


def test_results_do_not_depend_on_the_tolerance():
    loose, tight = (tu.reduced_trajectory(0.4, 0.9, 30.0, tolerance=t) for t in (1e-7, 1e-11))
    np.testing.assert_allclose(loose.z, tight.z, rtol=1e-4)
    teacher = tu.close_teacher(1.0)
    single = tu.best_single_unit(teacher)
    times = np.linspace(0, 10, 5) / (single.w * single.a)
    start = tu.start_near(single, 0.4, 0.7)
    loose, tight = (tu.full_trajectory(start, teacher, times, tolerance=t) for t in (1e-7, 1e-10))
    np.testing.assert_allclose(loose.z, tight.z, rtol=1e-4)


def test_the_reduction_converges_with_order_one_and_the_narrow_flow_does_not():
    found = tu.convergence([0.5, 0.25, 0.125], points=41)
    order = np.polyfit(np.log(found.h), np.log(found.deviation.sel(flow="uniform")), 1)[0]
    assert 0.85 < order < 1.3
    assert float(found.deviation.sel(flow="narrow")[-1]) > 1.0


def test_a_symmetric_start_stays_symmetric():
    teacher = tu.close_teacher(1.0)
    single = tu.best_single_unit(teacher)
    path = tu.full_trajectory(tu.from_coordinates(single.w, 0.3, single.J, [0.0]), teacher, np.linspace(0, 1e4, 5))
    assert float(np.abs(path.h).max()) < 1e-10  # units that overlap go on overlapping
    eliminated = tu.reduced_trajectory(0.0, 1.0, 5.0)
    assert float(np.abs(eliminated.z).max()) == 0  # equal outgoing weights stay equal


def test_the_rate_is_the_loss_fall():
    teacher = tu.close_teacher(1.0)
    single = tu.best_single_unit(teacher)
    times = np.linspace(0, 0.5, 401) / (single.w * single.a)
    path = tu.full_trajectory(tu.start_near(single, 0.4, 0.9), teacher, times)
    fall = -np.gradient(path.loss.values, times)
    np.testing.assert_allclose(fall[200:-1], path.rate.values[200:-1], rtol=1e-3)


def test_the_single_unit_is_stationary_and_degenerate_on_its_lines():
    teacher = tu.close_teacher(1.0)
    single = tu.best_single_unit(teacher)
    for z, eta in ((0.3, 0.0), (-1.6, 0.0), (1.0, 0.8), (-1.0, 0.8)):
        network = tu.start_near(single, z, eta)
        assert st.loss(network, teacher, st.ErfUnits()) == pytest.approx(single.loss, rel=1e-9)
    gradient = st.gradient(tu.start_near(single, 0.3, 0.0), teacher, st.ErfUnits())
    assert np.abs(gradient.J).max() < 1e-10
    assert np.abs(gradient.W).max() < 1e-10


def test_stability_changes_at_the_elimination_lines():
    lines = tu.singular_lines(tu.close_teacher(1.0), points=21)
    inside = np.abs(lines.z) < 0.95
    assert (lines.lowest.where(inside, drop=True) > 0).all()
    assert (lines.lowest.where(np.abs(lines.z) > 1.05, drop=True) < 0).all()
    fisher = np.abs(lines.fisher)
    assert float(fisher.sel(line=["overlap", "elimination"]).max()) < 1e-12 < float(fisher.sel(line="regular").min())


def test_other_activations_reduce_alike():
    units = st.tanh_units(1)
    teacher = tu.close_teacher(1.0)
    single = tu.best_single_unit(teacher, units)
    tau = np.linspace(0, 10, 30)
    reduced = tu.reduced_trajectory(0.4, 0.75, 10.0, points=30, attracting=single.w * single.a > 0)
    full = tu.full_trajectory(
        tu.start_near(single, 0.4, 0.75), teacher, tau / abs(single.w * single.a), units, tolerance=1e-7
    )
    assert float(np.abs(full.z.values - reduced.z.values).max()) < 0.1


def test_parameters_outside_their_domain_are_named():
    with pytest.raises(InputError, match="w must not be 0"):
        tu.from_coordinates(0.0, 0.5, [1.0], [1.0])
    with pytest.raises(InputError, match="duration"):
        tu.reduced_trajectory(0.5, 0.5, 0.0)
    with pytest.raises(InputError, match="tolerance"):
        tu.reduced_trajectory(0.5, 0.5, 1.0, tolerance=-1.0)
    with pytest.raises(InputError, match="scale"):
        tu.close_teacher(-1.0)
    with pytest.raises(InputError, match="times must increase"):
        tu.full_trajectory(tu.close_teacher(1.0), tu.close_teacher(1.0), [1.0, 0.0])
    with pytest.raises(InputError, match="sum to 0"):
        tu.best_single_unit(st.Network(np.array([[1.0], [2.0]]), np.array([[1.0, -1.0]])))
