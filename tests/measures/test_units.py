import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular import measures

SEEDS = st.integers(0, 2**31)
UNITS, INPUTS = st.integers(2, 8), st.integers(3, 12)
BY_WEIGHTS = [measures.incoming_norm, measures.mean_overlap, measures.maximum_overlap]
BY_RESPONSES = [measures.zero_response, measures.dead_units]


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def correlations(weights):
    """The slow, obvious way: numpy's correlation of every pair of different units."""
    rows = weights.double().numpy()
    varying = [row for row in rows if np.ptp(row) > 0]
    return np.array([np.corrcoef(a, b)[0, 1] for i, a in enumerate(varying) for b in varying[:i]])


def rectified(seed, samples=40, units=6, dead=2):
    x = normal(samples, units, seed=seed).relu()
    x[:, :dead] = 0
    return x


@settings(deadline=None)
@given(units=UNITS, inputs=INPUTS, seed=SEEDS)
def test_overlap_against_numpy(units, inputs, seed):
    w = normal(units, inputs, seed=seed, dtype=torch.float64)
    pairs = correlations(w)
    assert measures.mean_overlap(w).item() == pytest.approx(pairs.mean(), abs=1e-9)
    assert measures.maximum_overlap(w).item() == pytest.approx(pairs.max(), abs=1e-9)


@settings(deadline=None)
@given(units=UNITS, inputs=INPUTS, seed=SEEDS)
def test_norms_against_a_loop(units, inputs, seed):
    w = normal(units, inputs, seed=seed)
    expected = [math.sqrt(sum(x * x for x in row)) for row in w.tolist()]
    torch.testing.assert_close(measures.incoming_norm(w), torch.tensor(expected), rtol=1e-5, atol=0)


@settings(deadline=None)
@given(samples=st.integers(1, 20), units=st.integers(1, 8), seed=SEEDS, share=st.floats(0, 1))
def test_zero_responses_against_a_loop(samples, units, seed, share):
    x = normal(samples, units, seed=seed)
    x[torch.rand(samples, units, generator=torch.Generator().manual_seed(seed)) < share] = 0
    rows = x.tolist()
    zeros = sum(value == 0 for row in rows for value in row)
    dead = sum(all(row[u] == 0 for row in rows) for u in range(units))
    assert measures.zero_response(x).item() == pytest.approx(zeros / (samples * units), abs=1e-6)
    assert measures.dead_units(x).item() == pytest.approx(dead / units, abs=1e-6)


def test_duplicate_rows_overlap_wholly():
    w = normal(4, 9)
    w[2] = 3 * w[0] + 0.5  # a correlation does not see scale and offset
    assert measures.maximum_overlap(w).item() == pytest.approx(1, abs=1e-6)
    assert measures.mean_overlap(w[:1].expand(5, 9)).item() == pytest.approx(1, abs=1e-6)
    assert measures.mean_overlap(torch.stack([w[0], -w[0]])).item() == pytest.approx(-1, abs=1e-6)


def test_orthogonal_rows_of_zero_mean_do_not_overlap():
    hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    assert measures.mean_overlap(hadamard[1:]).item() == 0
    assert measures.maximum_overlap(hadamard[1:]).item() == 0
    assert measures.incoming_norm(hadamard).tolist() == [2, 2, 2, 2]


def test_a_known_correlation():
    # (1, 0, -1) and (1, -1, 0): centred product 1, norms sqrt(2) each.
    assert measures.mean_overlap(torch.tensor([[1.0, 0, -1], [1, -1, 0]])).item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_zeroed_and_constant_units_have_no_correlation(value):
    w = normal(5, 7)
    without = measures.mean_overlap(w[:4]), measures.maximum_overlap(w[:4])
    w[4] = value
    torch.testing.assert_close((measures.mean_overlap(w), measures.maximum_overlap(w)), without)
    w[1:] = value
    assert measures.mean_overlap(w).isnan()
    assert measures.maximum_overlap(w).isnan()


def test_zeroed_units_are_eliminated():
    w = normal(4, 7)
    w[1] = 0
    assert (measures.incoming_norm(w) == 0).tolist() == [False, True, False, False]


def test_dead_units_and_zero_responses_of_known_share():
    x = rectified(0, units=8, dead=2)
    assert measures.dead_units(x).item() == 0.25
    assert measures.zero_response(torch.eye(4)).item() == 0.75
    assert measures.dead_units(torch.eye(4)).item() == 0
    assert measures.dead_units(torch.zeros(3, 5)).item() == measures.zero_response(torch.zeros(3, 5)).item() == 1
    assert measures.dead_units(x - 1e-30).item() == 0  # zero means zero


@pytest.mark.parametrize("measure", BY_WEIGHTS, ids=lambda m: m.__name__)
def test_weights_stacked_are_one_by_one(measure):
    w = normal(2, 3, 5, 7)
    w[0, 1, 2] = 0
    w[1, 2] = w[1, 2, 0]
    one_by_one = torch.stack([torch.stack([measure(w[i, j]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(measure(w), one_by_one, equal_nan=True)


@pytest.mark.parametrize("measure", BY_RESPONSES, ids=lambda m: m.__name__)
def test_responses_stacked_are_one_by_one(measure):
    x = torch.stack([rectified(s, dead=s) for s in range(4)])
    torch.testing.assert_close(measure(x), torch.stack([measure(run) for run in x]))


@pytest.mark.parametrize("measure", BY_WEIGHTS + BY_RESPONSES, ids=lambda m: m.__name__)
def test_a_run_that_is_not_a_number_leaves_its_neighbours_alone(measure):
    x = normal(3, 6, 5).relu() + 0.1
    healthy = measure(x)
    x[1, 2, 3] = torch.nan  # one is enough
    found = measure(x)
    torch.testing.assert_close(found[[0, 2]], healthy[[0, 2]])
    assert found[1].isnan().any()


@settings(deadline=None)
@given(units=UNITS, inputs=INPUTS, seed=SEEDS, scales=st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=8))
def test_overlap_does_not_change_with_rescaled_or_permuted_units(units, inputs, seed, scales):
    w = normal(units, inputs, seed=seed, dtype=torch.float64)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed))
    changed = (w * torch.tensor(scales[:units], dtype=torch.float64)[:, None])[order]
    for measure in (measures.mean_overlap, measures.maximum_overlap):
        torch.testing.assert_close(measure(changed), measure(w), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(units=UNITS, inputs=INPUTS, seed=SEEDS)
def test_overlap_lies_between_minus_1_and_1(units, inputs, seed):
    w = normal(units, inputs, seed=seed)
    mean, largest = measures.mean_overlap(w), measures.maximum_overlap(w)
    assert -1 - 1e-6 <= mean <= largest + 1e-6
    assert largest <= 1 + 1e-6


@settings(deadline=None)
@given(units=UNITS, inputs=INPUTS, seed=SEEDS)
def test_norms_do_not_change_with_rotated_inputs(units, inputs, seed):
    w = normal(units, inputs, seed=seed, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(normal(inputs, inputs, seed=seed + 1, dtype=torch.float64))
    torch.testing.assert_close(measures.incoming_norm(w @ rotation), measures.incoming_norm(w))


@settings(deadline=None)
@given(seed=SEEDS, samples=st.integers(2, 20), units=UNITS)
def test_dead_units_are_at_most_as_many_as_zero_responses(seed, samples, units):
    x = normal(samples, units, seed=seed).relu()
    assume((x == 0).any())
    assert measures.dead_units(x) <= measures.zero_response(x) + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_have_an_overlap(dtype):
    w = normal(6, 50).to(dtype)
    assert measures.mean_overlap(w).item() == pytest.approx(correlations(w.float()).mean(), abs=1e-3)
    w[0] = 0.1
    assert not measures.maximum_overlap(w).isnan()
    assert measures.mean_overlap(w[:1].expand(3, 50)).isnan()


@pytest.mark.parametrize(
    "layer", [nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, 3), nn.Conv3d(4, 6, 2)], ids=lambda m: type(m).__name__
)
def test_convolutional_units_are_channels(layer):
    weight = layer.weight.detach()
    rows = measures.incoming(weight)
    for channel in range(6):
        assert torch.equal(rows[channel], weight[channel].reshape(-1))
    stacked = torch.stack([weight, 2 * weight])
    assert torch.equal(measures.incoming(stacked, stacked=True), torch.stack([rows, 2 * rows]))
    torch.testing.assert_close(
        measures.mean_overlap(measures.incoming(stacked, stacked=True)), measures.mean_overlap(rows).expand(2)
    )


@pytest.mark.parametrize("places", [(), (7,), (3, 4), (2, 3, 2)])
def test_places_of_a_convolution_count_as_samples(places):
    x = normal(5, 6, *places)
    expected = torch.stack(
        [torch.stack([channel[place] for channel in sample]) for sample in x for place in np.ndindex(*places)]
    )
    assert torch.equal(measures.responses(x), expected)
    stacked = torch.stack([x, x + 1])
    assert torch.equal(measures.responses(stacked, stacked=True), torch.stack([expected, expected + 1]))


def test_linear_weights_and_responses_stay_as_they_are():
    w, x = normal(5, 7), normal(9, 5)
    assert torch.equal(measures.incoming(w), w)
    assert torch.equal(measures.incoming(w[None], stacked=True), w[None])
    assert torch.equal(measures.responses(x), x)
    assert torch.equal(measures.responses(x[None], stacked=True), x[None])


def test_a_dead_channel_is_a_dead_unit():
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.bias[1] = -1
    x = measures.responses(layer(normal(5, 3, 8, 8)).relu().detach())
    assert x.shape == (5 * 36, 4)
    assert measures.dead_units(x).item() == 0.25
