import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nonsingular import measures

BOTH = [measures.activation_norm, measures.gradient_norm]


@pytest.mark.parametrize("measure", BOTH, ids=lambda m: m.__name__)
@settings(deadline=None)
@given(samples=st.integers(1, 12), units=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_mean_norm_against_a_loop(measure, samples, units, seed):
    x = torch.randn(samples, units, generator=torch.Generator().manual_seed(seed))
    norms = [math.sqrt(sum(v * v for v in row)) for row in x.tolist()]
    assert measure(x).item() == pytest.approx(sum(norms) / samples, rel=1e-5)


@pytest.mark.parametrize("measure", BOTH, ids=lambda m: m.__name__)
def test_known_norms(measure):
    assert measure(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).item() == 2.5
    assert measure(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).dtype == torch.float32


@pytest.mark.parametrize("measure", BOTH, ids=lambda m: m.__name__)
@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e25, 1e36])
def test_vanishing_and_exploding_signals_are_measured(measure, scale):
    assert measure(torch.full((3, 4), scale)).item() == pytest.approx(2 * scale, rel=1e-5, abs=0)


@pytest.mark.parametrize("measure", BOTH, ids=lambda m: m.__name__)
def test_stacked_are_one_by_one_and_nan_stays_in_its_run(measure):
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(measure(x), torch.stack([measure(run) for run in x]))
    healthy = measure(x)
    x[1, 0, 0] = torch.nan
    assert torch.equal(measure(x)[[0, 2]], healthy[[0, 2]])
    assert measure(x)[1].isnan()


def test_share_of_gradients_below_adams_epsilon():
    gradients = torch.tensor([[[0.0, 1e-9, -1e-9, 1e-7], [1.0, -1.0, 2e-8, -2e-8]], [[1.0] * 4] * 2])
    assert measures.below_epsilon(gradients).tolist() == [3 / 8, 0.0]
    assert torch.isnan(measures.below_epsilon(torch.full((2, 2), torch.nan)))
    # The same steps as Adam's where its epsilon is nothing, and none where it is everything.
    for size, step in ((1e-4, 1.0), (1e-12, 1e-4)):
        weight = torch.nn.Parameter(torch.zeros(3, 3))
        weight.grad = torch.full((3, 3), size)
        torch.optim.Adam([weight], lr=1.0).step()
        assert abs(weight.abs().mean().item() - step) < 1e-3
        assert measures.below_epsilon(weight.grad) == float(size < 1e-8)


def test_root_mean_square_of_gradients_too_small_to_be_squared():
    assert abs(measures.root_mean_square(torch.full((2, 3), -1e-30)).item() / 1e-30 - 1) < 1e-6
    stacked = torch.randn(4, 5, 6)
    torch.testing.assert_close(measures.root_mean_square(stacked), stacked.square().mean((1, 2)).sqrt())
