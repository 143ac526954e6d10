"""Numbers as people say them: one unit each, and plurals that are words."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nonsingular.words import counted, duration, plural

SECONDS = {"s": 1, "min": 60, "h": 3600}


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("axis", "axes"), ("basis", "bases"), ("hypothesis", "hypotheses"), ("skip matrix", "skip matrices"),
        ("vertex", "vertices"), ("index", "indices"), ("query", "queries"), ("day", "days"), ("batch", "batches"),
        ("class", "classes"), ("loss", "losses"), ("prefix", "prefixes"), ("epoch", "epochs"), ("run", "runs"),
    ],
)  # fmt: skip
def test_plurals(one, many):
    assert plural(one) == many
    assert (counted(1, one), counted(0, one), counted(2000, one)) == (f"1 {one}", f"0 {many}", f"2,000 {many}")


@example(99.5)
@example(99.4)
@example(5969.9)
@example(5970.1)
@example(35_819.0)
@example(35_821.0)
@example(35_999.0)
@given(st.floats(1, 1e7))
def test_a_duration_is_rounded_once_and_its_unit_is_that_of_the_rounded_number(seconds):
    number, unit = duration(seconds).replace(",", "").split()
    assert re.fullmatch(r"\d\.\d|[1-9]\d+" if unit == "h" else r"\d\d?", number)
    size = SECONDS[unit]
    assert abs(float(number) * size - seconds) <= (size / 10 if "." in number else size) / 2 + 1e-6
    assert size == 1 or round(seconds / (size / 60)) >= 100  # a smaller unit would not do


def test_durations_never_shrink():
    told = [duration(s).split() for s in range(1, 40_000, 7)]
    values = [float(n) * SECONDS[unit] for n, unit in told]
    assert values == sorted(values)
