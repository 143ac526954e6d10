import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nonsingular import measures

SEEDS = st.integers(0, 2**31)
MEASURES = [measures.linear_dependence, measures.effective_rank, measures.condition_number]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rotation(n, seed=0):
    q, _ = torch.linalg.qr(normal(n, n, seed=seed))
    return q


def with_covariance(*variances, samples=50):
    """Activations whose sample covariance has exactly these eigenvalues, in a rotated basis and off the origin."""
    n = len(variances)
    x = normal(samples, n)
    x = x - x.mean(0)
    orthonormal, _ = torch.linalg.qr(x)  # columns of zero mean
    return orthonormal * math.sqrt(samples) * torch.tensor(variances).double().sqrt() @ rotation(n, 1) + 3.0


def spectrum(x):
    """Numpy's way to the eigenvalues of the units' covariance."""
    return np.linalg.eigvalsh(np.cov(x.double().numpy().T, bias=True).reshape(x.shape[1], x.shape[1])).clip(0)


@settings(deadline=None)
@given(samples=st.integers(2, 30), units=st.integers(1, 8), top=st.integers(1, 10), seed=SEEDS)
def test_covariance_measures_against_numpy(samples, units, top, seed):
    x = normal(samples, units, seed=seed)
    values = spectrum(x)
    share = values[::-1] / values.sum()
    assert measures.linear_dependence(x, top).item() == pytest.approx(share[:top].sum(), rel=1e-9)
    entropy = -sum(p * math.log(p) for p in share if p > 0)
    assert measures.effective_rank(x).item() == pytest.approx(math.exp(entropy), rel=1e-6)


@settings(deadline=None)
@given(samples=st.integers(1, 30), units=st.integers(1, 8), seed=SEEDS)
def test_condition_number_against_numpy(samples, units, seed):
    x = normal(samples, units, seed=seed)
    assert measures.condition_number(x).item() == pytest.approx(np.linalg.cond(x.numpy()), rel=1e-6)


def test_known_spectra():
    x = with_covariance(4.0, 2.0, 1.0, 0.5, 0.5)
    assert measures.linear_dependence(x).item() == pytest.approx(7 / 8)
    assert measures.linear_dependence(x, top=1).item() == pytest.approx(1 / 2)
    assert measures.linear_dependence(x, top=0).item() == 0
    # entropy = 1/2 log 2 + 1/4 log 4 + 1/8 log 8 + 2/16 log 16 = (1/2 + 1/2 + 3/8 + 1/2) log 2
    assert measures.effective_rank(x).item() == pytest.approx(2 ** (15 / 8))
    assert measures.effective_rank(with_covariance(*[3.0] * 6)).item() == pytest.approx(6)
    assert measures.effective_rank(with_covariance(3.0, 0.0, 0.0)).item() == pytest.approx(1)


def test_known_condition_numbers():
    q, _ = torch.linalg.qr(normal(20, 4))
    assert measures.condition_number(q).item() == pytest.approx(1)
    scaled = q * torch.tensor([1e6, 1.0, 10.0, 2.0]) @ rotation(4)
    assert measures.condition_number(scaled).item() == pytest.approx(1e6)
    nearly = q * torch.tensor([1e12, 1.0, 10.0, 2.0])  # beyond float32, within float64
    assert measures.condition_number(nearly).item() == pytest.approx(1e12, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deficient_ranks_have_an_infinite_condition_number(dtype):
    x = normal(40, 5, dtype=dtype)
    assert measures.condition_number(x).isfinite()
    duplicate, dead, fewer = x.clone(), x.clone(), x[:4]
    duplicate[:, 3] = duplicate[:, 1]
    dead[:, 2] = 0
    low = (normal(40, 3) @ normal(3, 5, seed=1)).to(torch.float64)
    for deficient in (duplicate, dead, low, torch.zeros(40, 5, dtype=dtype)):
        assert measures.condition_number(deficient).item() == math.inf
    assert measures.condition_number(fewer).isfinite()  # of full rank for its number of samples


def test_a_dead_unit_does_not_change_what_the_others_span():
    x = with_covariance(4.0, 2.0, 1.0, 0.5)
    widened = torch.cat([x, torch.zeros(50, 3)], dim=1)
    for measure in (measures.linear_dependence, measures.effective_rank):
        torch.testing.assert_close(measure(widened), measure(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -1000.3])
def test_constant_activations_vary_in_no_direction(dtype, value):
    x = torch.full((37, 5), value, dtype=dtype) * torch.arange(1, 6, dtype=dtype)
    assert measures.linear_dependence(x).item() == 1
    assert measures.effective_rank(x).item() == 0
    assert measures.condition_number(x).item() == math.inf


def test_one_sample_does_not_vary():
    assert measures.effective_rank(normal(1, 5)).item() == 0
    assert measures.linear_dependence(normal(1, 5)).item() == 1


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.__name__)
def test_stacked_are_one_by_one(measure):
    x = normal(2, 3, 20, 5)
    x[0, 1, :, 2] = x[0, 1, :, 3]
    x[1, 1] = 0.5
    one_by_one = torch.stack([torch.stack([measure(x[i, j]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(measure(x), one_by_one)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_run_that_is_not_finite_leaves_its_neighbours_alone(measure, bad):
    x = normal(3, 20, 5)
    healthy = measure(x)
    x[1, 7, 2] = bad
    found = measure(x)
    torch.testing.assert_close(found[[0, 2]], healthy[[0, 2]])
    assert found[1].isnan()


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.__name__)
@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e-10, 1e10, 1e25, 1e34])
def test_scale_does_not_matter_over_the_range_of_float32(measure, scale):
    """Signals of deep networks grow or shrink geometrically; their squares leave float32's range, they do not."""
    x = normal(30, 6, dtype=torch.float32) * torch.tensor([1.0, 2, 3, 4, 5, 6])
    torch.testing.assert_close(measure(x * scale), measure(x), rtol=1e-3, atol=0)


@settings(deadline=None)
@given(samples=st.integers(8, 30), units=st.integers(1, 7), seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_rotation_scale_and_order_of_samples_do_not_matter(samples, units, seed, scale):
    x = normal(samples, units, seed=seed)
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    changed = (x @ rotation(units, seed))[order] * scale
    for measure in MEASURES:
        torch.testing.assert_close(measure(changed), measure(x), rtol=1e-6, atol=0)


@settings(deadline=None)
@given(samples=st.integers(3, 30), units=st.integers(1, 7), seed=SEEDS)
def test_covariance_measures_do_not_see_an_offset(samples, units, seed):
    x = normal(samples, units, seed=seed)
    for measure in (measures.linear_dependence, measures.effective_rank):
        torch.testing.assert_close(measure(x + normal(units)), measure(x), rtol=1e-6, atol=0)


@settings(deadline=None)
@given(samples=st.integers(2, 30), units=st.integers(1, 10), seed=SEEDS, top=st.integers(1, 5))
def test_ranges(samples, units, seed, top):
    x = normal(samples, units, seed=seed).relu()
    rank = measures.effective_rank(x).item()
    assert rank == 0 or 1 - 1e-9 <= rank <= min(units, samples - 1) + 1e-9
    dependence = measures.linear_dependence(x, top).item()
    assert 0 < dependence <= 1 + 1e-12
    assert dependence <= measures.linear_dependence(x, top + 1).item() + 1e-12
    if rank > 0:
        assert dependence >= min(top / units, 1) - 1e-9  # the top modes hold at least their share
    assert measures.condition_number(x) >= 1


STREAMED = ["linear_dependence", "effective_rank", "condition_number", "singular_values"]


def streamed(batches):
    stream = measures.StreamedRepresentation()
    for batch in batches:
        stream.update(batch)
    return stream


@settings(deadline=None, max_examples=40)
@given(samples=st.integers(1, 60), units=st.integers(1, 7), batch=st.integers(1, 60), seed=SEEDS)
def test_streamed_measures_are_those_of_all_samples_together(samples, units, batch, seed):
    x = normal(samples, units, seed=seed) + 3 * normal(units, seed=seed + 1)
    stream = streamed(x.split(batch))
    torch.testing.assert_close(stream.mean, x.mean(0))
    for name in STREAMED:
        torch.testing.assert_close(getattr(stream, name)(), getattr(measures, name)(x), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("ratio", [1e4, 1e8, 1e12])
def test_streams_resolve_condition_numbers_that_a_covariance_cannot(ratio):
    q, _ = torch.linalg.qr(normal(300, 4))
    x = q * torch.tensor([ratio, 1.0, 10.0, 2.0], dtype=torch.float64) @ rotation(4)
    assert streamed(x.split(64)).condition_number().item() == pytest.approx(ratio, rel=1e-3)
    if ratio > 1e8:
        gram = torch.linalg.eigvalsh(x.mT @ x).clamp_min(0)
        assert (gram[-1] / gram[0]).sqrt().item() != pytest.approx(ratio, rel=1e-3)


def test_streams_find_deficient_ranks():
    x = normal(400, 5)
    duplicate, dead = x.clone(), x.clone()
    duplicate[:, 3] = duplicate[:, 1]
    dead[:, 2] = 0
    low = normal(400, 3) @ normal(3, 5, seed=1)
    assert streamed(x.split(64)).condition_number().isfinite()
    for deficient in (duplicate, dead, low, torch.zeros(400, 5)):
        assert streamed(deficient.split(64)).condition_number().item() == math.inf
    only_later = x.clone()
    only_later[:128, 2] = 0  # silent in the first batches is not silent
    assert streamed(only_later.split(64)).condition_number().isfinite()


def test_a_stream_keeps_no_samples():
    def held(samples):
        stream = streamed(normal(samples, 6).split(50))
        return sum(v.numel() for v in vars(stream).values() if isinstance(v, torch.Tensor))

    assert held(5_000) == held(100)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_streamed_run_that_is_not_finite_leaves_its_neighbours_alone(bad):
    x = normal(3, 90, 5)
    healthy = streamed(x.split(30, dim=1))
    x[1, 40, 2] = bad
    found = streamed(x.split(30, dim=1))
    for name in STREAMED:
        torch.testing.assert_close(getattr(found, name)()[[0, 2]], getattr(healthy, name)()[[0, 2]])
        assert getattr(found, name)()[1].isnan().all()
