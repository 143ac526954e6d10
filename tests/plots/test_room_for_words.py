"""Words of figures: none is cut, none lies on another, and an exact zero is told as one."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nonsingular.plots.room import SMALLER, TURNED, give_room
from nonsingular.plots.style import new_figure, zero_at_foot


@pytest.mark.parametrize(("width", "size", "turned"), [(9.0, 10.0, 0.0), (3.1, SMALLER, 0.0), (2.0, SMALLER, TURNED)])
def test_named_ticks_do_not_touch(width, size, turned):
    figure = new_figure(width, 2.0)
    ax = figure.subplots()
    ax.set_xticks(range(4), ["elimination"] * 4)
    give_room(figure)
    labels = ax.get_xticklabels()
    assert {label.get_fontsize() for label in labels} == {size}
    assert {label.get_rotation() for label in labels} == {turned}
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.get_layout_engine().execute(figure)
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert turned or all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_a_title_ends_where_the_paper_does():
    figure = new_figure(3.0, 2.0)
    figure.subplots()
    title = figure.suptitle("a title of many words that is far wider than its figure is\nand a short one")
    give_room(figure)
    assert title.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width <= figure.bbox.width
    assert title.get_text().endswith("and a short one")


def test_exact_zeros_stand_at_the_foot_and_are_named():
    ax = new_figure().subplots()
    ax.set_yscale("log")
    values = np.array([0.0, 1e-6, 1.0, np.nan])
    foot = zero_at_foot(ax.yaxis, values)
    assert 0 < foot <= 1e-7
    assert ax.get_yticklabels()[0].get_text() == "0"
    assert ax.get_yticks()[0] == foot
    before = list(ax.get_yticks())
    assert zero_at_foot(ax.yaxis, values[1:]) == 0.0
    assert list(ax.get_yticks()) == before
