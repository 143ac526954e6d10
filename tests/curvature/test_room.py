"""Large models within the memory that there is, or one line that says what is missing, before anything is begun."""

import time

import pytest
import torch

from nonsingular.curvature import Symmetric, diagonal, eigenpairs, room, solve, spectrum, trace
from nonsingular.curvature.cuts import Whole
from nonsingular.errors import InputError
from nonsingular.objective import failures


class Scaled:
    """A diagonal operator that counts its products; most of its entries are small."""

    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, size):
        self.entries = torch.full((size,), 0.01, dtype=torch.float64)
        self.entries[:10] = torch.arange(1.0, 11.0)
        self.shape, self.products = (size, size), 0

    def __matmul__(self, v):
        self.products += 1
        return self.entries * v


def holding(monkeypatch, H, vectors):
    """Let so many vectors fit."""
    size = H.shape[0] * H.dtype.itemsize
    for module in (room, failures):
        monkeypatch.setattr(module, "available_bytes", lambda device: (vectors + 0.5) * size / room.SHARE)


class Slow(Scaled):
    """Its first product takes long, as that which records a network does; the others take their time too."""

    def __matmul__(self, v):
        time.sleep(0.05 if self.products else 0.6)
        return super().__matmul__(v)


def test_slow_operators_stop_in_time():
    H = Slow(2000)
    begun = time.perf_counter()
    found = spectrum(H, method="lanczos", seconds=0.5)
    assert "stopped early (0.5 s were up; seconds= gives it more)" in found.stopped
    assert 3 <= H.products == found.products <= 12
    assert time.perf_counter() - begun < 5
    assert found.positive.interval[0] <= 10 <= found.positive.interval[1]


REFUSED = {
    "a spectrum": (7, lambda H: spectrum(H, method="lanczos"), "Lanczos with 8 vectors of 6,000 needs"),
    "pairs": (30, lambda H: eigenpairs(H, 3), "the search for eigenpairs with 36 vectors of 6,000"),
    "a trace": (100, lambda H: trace(H), "a trace with 128 vectors.*give fewer products"),
    "a solution": (60, lambda H: solve(H, torch.ones(6000)), "the sketch with 64 vectors.*give preconditioner=None"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_before_any_product(monkeypatch, what):
    vectors, act, message = REFUSED[what]
    H = Scaled(6000)
    holding(monkeypatch, H, vectors)
    with pytest.raises(InputError, match=message) as caught:
        act(H)
    assert "GiB are free" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert H.products == 0


class Least(Whole):
    """Beside a process that has room for three vectors."""

    processes = 2

    def least(self, number):
        return min(number, 3 * 6000 * 8 / room.SHARE)


def test_what_does_not_fit_in_one_process_is_refused_in_all():
    H = Scaled(6000)
    H.cuts = Least()
    for made in (H, 2 * Known(H), Known(H) + 0.1, Known(H).block(slice(None)), Known(H) @ Known(H)):
        assert room.fitting(made) == 3
        with pytest.raises(InputError, match="with 4 vectors"):
            room.require(made, 4, "it")


class Known(Symmetric):
    """Of an operator of a foreign kind, all that one of ours can do."""

    def __init__(self, of):
        self.of, self.cuts = of, of.cuts

    shape, dtype, device = (
        property(lambda self, name=name: getattr(self.of, name)) for name in ("shape", "dtype", "device")
    )

    def _product(self, v):
        return self.of @ v


def test_few_vectors_do_with_more_products(monkeypatch):
    H = Scaled(6000)
    holding(monkeypatch, H, 40)
    assert eigenpairs(H, 3, "largest").values.tolist() == pytest.approx([10, 9, 8])
    found = spectrum(H, method="lanczos", error=0.5)
    assert found.positive.interval[0] <= 10 <= found.positive.interval[1]
    assert found.trace[1] <= float(H.entries.sum()) <= found.trace[2]
    wide = diagonal(H, products=64)
    holding(monkeypatch, H, 1000)
    torch.testing.assert_close(wide.values, diagonal(H, products=64).values)
