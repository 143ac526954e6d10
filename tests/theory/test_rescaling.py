import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nonsingular.errors import InputError
from nonsingular.theory import rescaling

FACTORS = [0.25, 0.5, 1.0, 2.0, 4.0]


def change(network, seed, layers=4):
    found = rescaling.rescaled_losses(network, FACTORS, seed=seed, layers=layers, samples=64)
    np.testing.assert_allclose(found.loss.sel(factor=1.0), 1.0, rtol=1e-12)
    return np.abs(np.log10(found.loss)).max("factor")


@settings(max_examples=10, deadline=None)
@given(seed=some.integers(0, 100), layers=some.integers(2, 5))
def test_every_pair_of_a_plain_network_keeps_the_loss(seed, layers):
    assert float(change("plain", seed, layers).max()) < 1e-12


@settings(max_examples=10, deadline=None)
@given(seed=some.integers(0, 100), network=some.sampled_from(["residual", "hyper-residual"]))
def test_hidden_skips_leave_the_first_and_last_matrix_only(seed, network):
    found = change(network, seed)
    assert float(found.sel(pair="1-4")) < 1e-12
    assert float(found.drop_sel(pair="1-4").min()) > 1e-3


@settings(max_examples=10, deadline=None)
@given(seed=some.integers(0, 100))
def test_layer_to_all_skips_leave_none(seed):
    assert float(change("layer-to-all", seed).min()) > 1e-4


def test_parameters_outside_their_domain_are_named():
    with pytest.raises(InputError, match="factors"):
        rescaling.rescaled_losses("plain", [-1.0], seed=0)
    with pytest.raises(InputError, match="layers"):
        rescaling.rescaled_losses("plain", [1.0], seed=0, layers=1)
    with pytest.raises(InputError, match="network"):
        rescaling.rescaled_losses("dense", [1.0], seed=0)
