import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nonsingular.errors import InputError
from nonsingular.theory import binary_weights as bw

SMALL = bw.Shape(2, 2, 2)
shapes = some.sampled_from([SMALL, bw.Shape(3, 2, 2), bw.Shape(2, 2, 3), bw.Shape(3, 3, 2)])
networks = some.sampled_from(bw.NETWORKS)


@settings(max_examples=20, deadline=None)
@given(shape=shapes, network=networks, seed=some.integers(0, 50))
def test_the_table_agrees_with_running_the_network(shape, network, seed):
    task = bw.problem(network, shape, seed)
    loss = bw.losses(task)
    assert loss.shape == (2**shape.bits,)
    states = np.random.default_rng(seed).integers(loss.size, size=20)
    error = bw.outputs(task, states) - bw.outputs(task, task.state)
    np.testing.assert_allclose(loss[states], (error**2).sum(-1).mean(-1) / 2, atol=1e-10)
    assert loss[task.state] == pytest.approx(0, abs=1e-12)
    assert loss.min() >= 0


def by_hand(task):
    """The same network, one sample and one state at a time."""
    for state in range(2**task.shape.bits):
        *lower, top = bw.weights(task.shape, state)
        yield lower, top, state


def test_bits_run_through_all_assignments_once():
    seen = set()
    for lower, top, _ in by_hand(bw.problem("plain", SMALL, 0)):
        seen.add(tuple(np.concatenate([w.ravel() for w in (*lower, top)])))
    assert len(seen) == 2**SMALL.bits
    assert all(set(s) <= {-1.0, 1.0} for s in seen)


@pytest.mark.parametrize("network", bw.NETWORKS)
def test_the_landscapes_graph_agrees_with_brute_force(network):
    scape = bw.landscape(bw.problem(network, SMALL, 3))
    loss, bits = scape.loss, SMALL.bits
    neighbours = np.array([[loss[s ^ (1 << b)] for b in range(bits)] for s in range(loss.size)])
    np.testing.assert_allclose(scape.best, neighbours.min(axis=1), atol=2 * scape.tolerance)
    np.testing.assert_array_equal(scape.strict_minima, (neighbours > loss[:, None] + scape.tolerance).all(axis=1))
    for state in range(loss.size):
        target = scape.descent[state]
        assert target == state or (target ^ state).bit_count() == 1
        assert loss[target] <= loss[state]


@pytest.mark.parametrize("network", bw.NETWORKS)
def test_greedy_success_agrees_with_walking(network):
    scape = bw.landscape(bw.problem(network, SMALL, 5))
    solved = 0
    for state in range(scape.loss.size):
        while scape.descent[state] != state:
            state = scape.descent[state]
        solved += bool(scape.optimal[state])
    assert bw.greedy_success(scape) == pytest.approx(solved / scape.loss.size)


@settings(max_examples=10, deadline=None)
@given(shape=shapes, seed=some.integers(0, 50))
def test_permutations_of_hidden_units_tie_states_unless_a_skip_tells_them_apart(shape, seed):
    assert bw.permutation_gap(bw.problem("plain", shape, seed)) < 1e-12
    assert bw.permutation_gap(bw.problem("all-ones", shape, seed)) < 1e-12
    for network in ("residual", "random-skip", "biased"):
        assert bw.permutation_gap(bw.problem(network, shape, seed)) > 1e-3


def test_every_permutation_of_the_teacher_solves_the_plain_task():
    shape = bw.Shape(3, 3, 2)
    task = bw.problem("plain", shape, 1)
    scape = bw.landscape(task)
    W1, W2 = bw.weights(shape, task.state)
    for order in itertools.permutations(range(3)):
        bits = np.concatenate([W1[list(order)].ravel(), W2[:, list(order)].ravel()]) < 0
        state = int(bits @ (1 << np.arange(shape.bits - 1, -1, -1)))
        assert scape.optimal[state]
    assert scape.optimal.sum() >= shape.symmetries


def test_tie_sizes_count_every_state_once():
    scape = bw.landscape(bw.problem("residual", SMALL, 0))
    sizes = bw.tie_sizes(scape)
    assert sizes.sum() == scape.loss.size
    loss = np.sort(scape.loss)
    assert len(sizes) == 1 + (np.diff(loss) > scape.tolerance).sum()


def test_annealing_is_reproducible_and_improves_with_time():
    scape = bw.landscape(bw.problem("residual", bw.Shape(3, 3, 2), 0))
    rates = [bw.annealing_success(scape, sweeps=n, chains=400, seed=1) for n in (1, 30)]
    assert rates[0] < rates[1]
    assert rates[1] == bw.annealing_success(scape, sweeps=30, chains=400, seed=1)
    everywhere = bw.Landscape(np.zeros(16), np.zeros(16), np.arange(16), 1e-9)
    assert bw.annealing_success(everywhere, sweeps=1, chains=5, seed=0) == 1.0


def test_teachers_are_the_same_for_every_network_and_alive():
    tasks = [bw.problem(n, bw.Shape(3, 3, 2), 7) for n in bw.NETWORKS]
    assert len({t.state for t in tasks}) == 1
    h = np.maximum(tasks[0].x @ bw.weights(tasks[0].shape, tasks[0].state)[0].T, 0)
    assert (h > 0).any(axis=0).all()
    norms = [np.linalg.norm(t.skip) for t in tasks if t.skip.any()]
    np.testing.assert_allclose(norms, np.sqrt(3))


def test_two_to_the_twenty_states_and_more():
    found = bw.survey("residual", bw.Shape(4, 3, 2, samples=8), 0, chains=16, sweeps=2)
    assert bw.Shape(4, 3, 2).bits == 21
    assert int(found.optima) >= 1
    assert 0 < float(found.distinct) <= 1


def test_parameters_outside_their_domain_are_named():
    with pytest.raises(InputError, match="2\\^32 states"):
        bw.Shape(4, 4, 2)
    with pytest.raises(InputError, match="layers"):
        bw.Shape(2, 2, 1)
    with pytest.raises(InputError, match="network must be one of"):
        bw.problem("dense", SMALL, 0)
    with pytest.raises(InputError, match="strength"):
        bw.problem("residual", SMALL, 0, strength=0.0)
    with pytest.raises(InputError, match="chains"):
        bw.annealing_success(bw.landscape(bw.problem("plain", SMALL, 0)), sweeps=1, chains=0, seed=0)
