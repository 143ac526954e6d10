import math

import pytest

from nonsingular.errors import InputError
from nonsingular.theory import subnetworks

SIZES = [(width, layers) for width in range(1, 6) for layers in range(1, 5) if width * layers <= 12]


@pytest.mark.parametrize("symmetry", subnetworks.SYMMETRIES)
@pytest.mark.parametrize(("width", "layers"), SIZES)
def test_formulas_are_the_enumerated_counts(symmetry, width, layers):
    assert subnetworks.count(symmetry, width, layers) == subnetworks.enumerate_masks(symmetry, width, layers)


def test_symmetry_leaves_fewer():
    for width, layers in SIZES:
        all_to_all, one_to_one, none = (
            subnetworks.count(s, width, layers) for s in ("all-to-all", "one-to-one", "none")
        )
        assert all_to_all <= one_to_one <= none
        assert subnetworks.approximate(width, layers) <= math.log2(one_to_one) + 1e-9


def test_the_approximation_is_close_for_deep_networks():
    assert math.log2(subnetworks.count("one-to-one", 8, 20)) - subnetworks.approximate(8, 20) < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"), [(("half", 2, 2), "none, one-to-one"), (("none", 0, 2), "at least 1")]
)
def test_wrong_questions_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        subnetworks.count(*arguments)


def test_too_many_masks_are_refused():
    with pytest.raises(InputError, match="at most 16 units"):
        subnetworks.enumerate_masks("none", 5, 4)
