"""Pictures on dark pages: as before on light ones, and readable where a page is dark, whatever the system prefers."""

import base64
import itertools
import re

import numpy as np
import pytest

from nonsingular.plots.dark import dark_aware
from nonsingular.plots.saving import svg
from nonsingular.plots.style import new_figure, style

pytestmark = pytest.mark.drawn

GREY = re.compile(r"(?:fill|stroke): #([0-9a-f]{2})\1\1")


def drawn():
    """Of black, grey, white and coloured marks, on a figure with its own ground."""
    with style():
        figure = new_figure(3, 2)
        ax = figure.subplots()
        for y, tone in enumerate(("#000000", "#404040", "#d55e00")):
            ax.axhline(y, color=tone, lw=8)
        ax.axhline(2, color="white", lw=2)
        ax.set_xlabel("a label")
        return svg(figure)


@pytest.fixture(scope="module")
def drawing():
    return drawn()


def test_what_is_drawn_again_is_the_same_file(drawing):
    assert drawn() == drawing
    assert "<dc:date>" not in drawing


def test_the_drawing_itself_is_unchanged_but_for_one_style(drawing):
    plain = re.sub(r'<style id="dark">.*?</style>', "", drawing)
    assert len(plain) < len(drawing)
    assert "prefers-color-scheme" not in plain
    assert dark_aware(plain) == drawing
    assert dark_aware(drawing) == drawing


def test_every_grey_of_the_drawing_but_white_is_turned_round(drawing):
    style_, rest = re.search(r'<style id="dark">.*?</style>', drawing)[0], drawing.split("</style>", 1)[1]
    turned = dict(re.findall(r": #(\w\w)\w{4}\"\] \{ \w+: #(\w\w)", style_))
    assert set(GREY.findall(rest)) - set(turned) == {"ff"}
    levels = sorted(turned)
    assert all(turned[darker] > turned[lighter] for darker, lighter in itertools.pairwise(levels))


@pytest.mark.parametrize(("system", "page_is"), [("dark", "dark"), ("light", "dark"), ("light", "light")])
def test_marks_stand_out_from_the_page_in_a_browser(browser, drawing, tmp_path, system, page_is):
    """The page's own scheme counts, not the system's: pages have a switch."""
    from matplotlib.image import imread

    data = base64.b64encode(drawing.encode()).decode()
    ground = {"dark": "#131416", "light": "#ffffff"}[page_is]
    page = browser.new_page(color_scheme=system, viewport={"width": 400, "height": 300})
    page.set_content(
        f'<body style="margin: 0; background: {ground}; color-scheme: {page_is}">'
        f'<img src="data:image/svg+xml;base64,{data}" width="400"></body>'
    )
    page.screenshot(path=tmp_path / "page.png")
    page.close()
    image = imread(tmp_path / "page.png")[..., :3]
    corner = image[2, 2]
    assert np.allclose(corner, int(ground[1:3], 16) / 255, atol=0.02)  # no box around the picture
    tones = {tuple(np.round(tone * 255).astype(int)) for tone in image[:, 200]}  # down a line through all marks
    inks = {"dark": [(0xE8,) * 3, (0xB4,) * 3], "light": [(0,) * 3, (0x40,) * 3]}[page_is]
    for tone in (*inks, (0xD5, 0x5E, 0), (255, 255, 255)):
        assert any(np.abs(np.array(seen) - tone).max() <= 3 for seen in tones), (tone, sorted(tones))
