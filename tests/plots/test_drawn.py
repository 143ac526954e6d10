"""The chart that is drawn without matplotlib."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonsingular.plots.drawn import HEIGHT, TOP, WIDTH, log_lines

SVG = "{http://www.w3.org/2000/svg}"


def drawn(names, lines):
    return ElementTree.fromstring(log_lines(names, lines, ["red", "blue"], ("place", "size")))


def points(line):
    return [tuple(map(float, p.split(","))) for p in line.get("points").split()]


def test_a_line_rises_evenly_on_a_logarithmic_axis():
    (line,) = drawn("abc", {"size": [1, 10, 100]}).iter(f"{SVG}polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(line)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y2 == TOP


def test_what_is_not_positive_and_finite_leaves_a_gap():
    lines = list(drawn("abcdef", {"size": [1, 2, 0, 4, math.inf, math.nan]}).iter(f"{SVG}polyline"))
    assert [len(points(line)) for line in lines] == [2, 1]
    assert not list(drawn("ab", {"size": [0, -1]}).iter(f"{SVG}polyline"))
    assert not list(drawn("", {}).iter(f"{SVG}polyline"))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(min_value=1e-300, max_value=1e300), min_size=1, max_size=200))
def test_all_of_it_lies_on_the_picture_and_can_be_read(values):
    root = drawn([f"layer {i}" for i in range(len(values))], {"size": values})
    (line,) = root.iter(f"{SVG}polyline")
    assert all(0 <= x <= WIDTH and TOP - 0.1 <= y <= HEIGHT for x, y in points(line))
    assert len(points(line)) == len(values)
    assert 3 <= len(list(root.iter(f"{SVG}tspan"))) + 1 <= 10
    assert len([t for t in root.iter(f"{SVG}text") if (t.text or "").startswith("layer ")]) <= 24


def test_names_are_text_whatever_is_in_them():
    attack = "<script>alert(1)</script>&\"'"
    root = drawn([attack, "b"], {attack: [1, 2]})
    assert [t.text for t in root.iter(f"{SVG}text")].count(attack) == 2
    assert not list(root.iter(f"{SVG}script"))


def test_notebooks_show_it():
    drawing = log_lines(["a"], {"size": [1.0]}, ["red"], ("", ""))
    assert drawing._repr_svg_() == str(drawing)
