"""Pictures of surfaces: heights that are what their axes say."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib import image as mpimg

from browsing import opened, wait
from nonsingular.plots import landscape as plots
from nonsingular.plots.landscape_parts import Scale

pytestmark = pytest.mark.drawn


def surface(loss, **attrs):
    axis = np.linspace(-1, 1, len(loss))
    return xr.Dataset({"loss": (("y", "x"), loss)}, {"x": axis, "y": axis}, {"samples": 10, **attrs})


def bowl(lowest=0.1, steep=1.0, size=9):
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    return lowest + steep * (x**2 + y**2)


def test_a_positive_loss_is_drawn_by_its_logarithm_and_the_axis_says_so():
    one = surface(bowl())
    scale = Scale.of([one])
    np.testing.assert_allclose(scale.heights(one), np.log10(one.loss))
    assert scale.label == "loss (log scale)"
    heights, labels = scale.ticks(5)
    np.testing.assert_allclose([float(t) for t in labels], 10**heights, rtol=0.05)


def test_a_loss_below_zero_is_drawn_as_it_is():
    one = surface(bowl(-3))
    scale = Scale.of([one])
    np.testing.assert_array_equal(scale.heights(one), one.loss)
    assert scale.label == "loss"


def test_what_is_cut_is_said():
    one = surface(bowl(steep=1000.0) ** 2)
    scale = Scale.of([one], linear=True)
    assert scale.cut
    assert scale.high == pytest.approx(3 * one.loss.median().item())
    assert scale.label == f"loss (linear, cut at {scale.high:.3g})"
    hole = one.copy(deep=True)
    hole.loss[0, 0] = np.nan
    assert scale.heights(hole)[0, 0] == scale.high


def labels(figure):
    return {get() for ax in figure.axes for get in (ax.get_xlabel, ax.get_ylabel, getattr(ax, "get_zlabel", str))}


def test_every_axis_of_the_loss_says_its_scale():
    one = surface(bowl(1e-3, 100.0) ** 2)
    line = xr.Dataset({"loss": ("x", one.loss.values[4]), "standard_error": ("x", np.zeros(9))}, {"x": one.x})
    assert "loss (log scale)" in labels(plots.contours([one], [""], "t"))
    shown = labels(plots.relief([one], [""], "t"))
    assert "loss (log scale)" in shown
    assert any(label.startswith("loss (linear, cut at") for label in shown)
    assert "loss (log scale)" in labels(plots.line(line.assign_attrs(samples=10), "t"))


def test_a_picture_says_whose_statistics_normalise():
    one = surface(bowl(), statistics="recomputed")
    assert "batch-norm statistics recomputed" in plots.contours([one], [""], "t").get_suptitle()
    assert "statistics" not in plots.contours([surface(bowl(), statistics="given")], [""], "t").get_suptitle()


def test_eigenvalues_are_drawn_where_they_were_computed():
    one = surface(bowl())
    axis = np.linspace(-1, 1, 3)
    ratio = np.array([[0.0, 0.2, 0.4], [0.1, np.nan, 0.3], [0.2, 0.2, 0.2]])
    one = one.assign(hessian_ratio=(("curvature_y", "curvature_x"), ratio))
    figure = plots.ratios([one.assign_coords(curvature_x=axis, curvature_y=axis)], [""], "t")
    [dots] = figure.axes[0].lines
    assert len(dots.get_xdata()) == 8  # not where there is none
    assert "dots: where eigenvalues were computed" in " ".join(figure.get_suptitle().split())


def test_metrics_have_pictures_of_their_own():
    accuracy = (("y", "x"), 1 - bowl() / 3)
    one = surface(bowl(), kind="planes").assign(accuracy=accuracy, accuracy_standard_error=accuracy)
    figures = plots.draw(one.expand_dims("plane"), "t")
    assert figures.keys() == {"contours", "surface", "accuracy"}
    assert "accuracy" in labels(figures["accuracy"])


def measured(values):
    """Two networks' measures over three runs."""
    names = ["resnet-20", "plainnet-20"]
    return xr.Dataset({"sharpness": (("network", "run"), values)}, {"network": names, "run": range(3)})


def bars(ax):
    """Lower and upper end of each network's interval, and what it is drawn around."""
    found = []
    for container in ax.containers:
        (segment,) = container[2][0].get_segments()
        found.append((*segment[:, 1], container[0].get_ydata()[0]))
    return found


@pytest.mark.parametrize("wide", [False, True])
def test_bars_stay_within_what_is_possible_and_mean_something_on_log_axes(wide):
    values = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 500.0 if wide else 8.0]])
    figure = plots.roughness(measured(values), {"sharpness": "rise"}, "t", {"sharpness": (0.5, np.inf)})
    ax = figure.axes[0]
    assert ax.get_yscale() == ("log" if wide else "linear")
    for (low, high, at), row in zip(bars(ax), values, strict=True):
        assert 0.5 <= low < at < high
        assert at == pytest.approx(np.exp(np.log(row).mean()) if wide else row.mean())


def test_an_interval_without_an_end_goes_up_to_the_runs_with_an_arrow():
    values = np.array([[0.1] * 13 + [0.15, 0.7, 0.4], np.linspace(0.1, 0.9, 16)])
    one = xr.Dataset(
        {"sharpness": (("network", "run"), values)}, {"network": ["resnet-8", "plainnet-8"], "run": range(16)}
    )
    ax = plots.roughness(one, {"sharpness": "rise"}, "t", {"sharpness": (0.0, np.inf)}).axes[0]
    assert ax.get_ylim()[1] < 1
    assert [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "^"] == [0.9]


@pytest.mark.parametrize("last", [1.0, np.nan])
def test_lines_that_end_say_why(last):
    loss = xr.DataArray([[[2.0, 1.0, last]]], dims=("pair", "run", "x"), coords={"pair": ["a"], "x": [0.0, 0.5, 1.5]})
    attrs = {"samples": 9, "total_samples": 9, "how": "float32"}
    title = plots.lines(xr.Dataset({"loss": loss}, attrs=attrs), "t").get_suptitle()
    assert ("lines end where extrapolated variances are negative" in title) == np.isnan(last)


def test_a_surface_to_turn_lies_within_its_window_at_any_width(browser, tmp_path):
    """Nothing is cut at the edges, titles of axes least of all; a page that was narrowed is that of a narrow one."""
    pytest.importorskip("plotly")
    from nonsingular.plots.landscape_interactive import page as written

    (tmp_path / "surface.html").write_text(written(surface(bowl()), "mine.py:build"))
    page, errors, _ = opened(browser, tmp_path / "surface.html", viewport={"width": 1280, "height": 800})
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        scene = "document.querySelector('[data-shown] #scene')"
        wait(page, f"{scene} && {scene}.clientWidth <= {width} && {scene}.clientHeight > 500")
        page.wait_for_timeout(200)
        image = mpimg.imread(io.BytesIO(page.screenshot()))[..., :3]
        assert image[-3:].min() == image[:, :3].min() == image[:, -3:].min() == 1
        assert image.min() < 0.5
    assert errors == []
