"""The page in a real browser: points move what the library says they move, by mouse, touch and keys, offline."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from browsing import wait
from nonsingular import cli
from nonsingular.theory import two_units as tu

MODELS = ("two-units", "linear-dependence", "linear-networks", "skip", "binary-weights", "signals")
WORK = {"two-units": 420, "linear-dependence": 100, "linear-networks": 400}
"""Evaluations of right-hand sides in a frame, each 1 to 20 microseconds: 1 to 2 ms on a laptop."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "play.html"
    assert cli.run(["play", "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def page(browser, written):
    """One page for all tests; what it logged and asked for."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", has_touch=True)
    page.errors, page.requests = [], []
    page.on("console", lambda m: page.errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("data:", "blob:")) else page.requests.append(r.url))
    page.goto(written.as_uri())
    yield page
    page.close()


def show(page, model):
    page.locator(f"#tab-{model}").click()
    assert page.evaluate("play.shown.id") == model


def settle(page):
    """Until paths are computed to their end."""
    wait(page, "!play.shown.stage.pending")


def position(page):
    box = page.locator(".big .handle .knob").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, dx, dy, steps=6):
    x, y = position(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=steps)
    page.mouse.up()


# --- dragging --------------------------------------------------------------------------------------------------------

DISTANCES = """points => {
  const plot = play.shown.stage.plots[0], path = document.querySelector('.big path.trace.path');
  const length = path.getTotalLength();
  const drawn = Array.from({ length: 4000 }, (_, i) => path.getPointAtLength(length * i / 3999));
  return points.map(([x, y]) => Math.min(...drawn.map(p => Math.hypot(p.x - plot.px(x), p.y - plot.py(y)))));
}"""


def test_a_dragged_start_draws_the_librarys_trajectory(page):
    show(page, "two-units")
    before = page.locator(".big path.trace.path").get_attribute("d")
    drag(page, 60, 50)
    settle(page)
    state = page.evaluate("({ z: play.shown.state.z, eta: play.shown.state.eta })")
    plane = page.evaluate("(([p]) => [p.left, p.right, p.top, p.bottom])(play.shown.stage.plots)")
    box = page.locator(".big svg").bounding_box()
    x, y = position(page)
    share = (x - box["x"] - plane[0]) / (plane[1] - plane[0]), (plane[3] - y + box["y"]) / (plane[3] - plane[2])
    np.testing.assert_allclose([state["z"], state["eta"]], [-2 + 4 * share[0], -1.5 + 3 * share[1]], atol=0.01)
    assert page.locator(".big path.trace.path").get_attribute("d") != before

    teacher = tu.close_teacher(0.5)
    single = tu.best_single_unit(teacher)
    tau = np.concatenate([[0], np.geomspace(0.1, 300, 40)])
    start = tu.start_near(single, state["z"], state["eta"])
    full = tu.full_trajectory(start, teacher, tau / (single.w * single.a), tolerance=1e-7)
    sign = np.sign(state["eta"])
    points = np.stack([full.z, sign * full.h / single.w], axis=1)
    inside = points[(np.abs(points[:, 0]) < 1.95) & (np.abs(points[:, 1]) < 1.45)]
    assert len(inside) > 15
    assert max(page.evaluate(DISTANCES, inside.tolist())) < 1  # pixel
    text = page.locator(".readout").inner_text()
    assert ("in the basin" in text) == bool(tu.in_basin(state["z"], state["eta"]))


@pytest.mark.parametrize("model", ["two-units", "linear-dependence", "linear-networks", "skip", "signals"])
def test_points_move_by_mouse_and_keys(page, model):
    show(page, model)
    first = position(page)
    drag(page, -40, -30)
    second = position(page)
    np.testing.assert_allclose(np.subtract(second, first), (-40, -30), atol=2)
    page.keyboard.press("ArrowRight")  # the point keeps the focus
    third = position(page)
    assert third[0] > second[0]
    assert third[1] == pytest.approx(second[1], abs=0.6)
    assert page.evaluate("play.shown.id") == model
    told = page.locator(".big .handle").get_attribute("aria-valuetext")
    page.keyboard.press("Shift+ArrowDown")
    assert position(page)[1] > third[1]
    assert page.locator(".big .handle").get_attribute("aria-valuetext") != told
    settle(page)
    assert page.errors == []


def test_a_tap_moves_the_start(page):
    show(page, "two-units")
    x, y = position(page)
    page.touchscreen.tap(x + 80, y + 40)
    np.testing.assert_allclose(position(page), (x + 80, y + 40), atol=2)


FRAMES = """() => {
  const { work } = play.numbers;
  let last = work.evaluations;
  window.frames_ = [];
  const look = () => {
    frames_.push(work.evaluations - last);
    last = work.evaluations;
    if (frames_.length < 400) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
STEPS = """(({ own, full, paths }) => (own ?? full ?? paths.plain.path).t.length)(play.shown.state)"""


@pytest.mark.parametrize("model", WORK)
def test_no_frame_computes_more_than_its_share(page, model):
    """What a drag leaves to compute is spread over frames."""
    show(page, model)
    settle(page)
    page.evaluate(FRAMES)
    drag(page, 30, 20, steps=12)
    settle(page)
    frames = page.evaluate("frames_.splice(0, 400)")
    assert page.evaluate(STEPS) > 10
    assert sum(n > 0 for n in frames) > 5
    assert 0 < max(frames) <= 3 * WORK[model]  # a move, letting go, and what the moves before left to do


# --- models ----------------------------------------------------------------------------------------------------------


def test_the_switched_skip_leads_off_a_plateau_that_outlasts_a_talk(page):
    show(page, "skip")
    run = """n => {
      for (let k = 0; k < n; k++) play.shown.stage.model.step(0.2);
      return play.shown.state.loss.at(-1)[1];
    }"""
    page.get_by_role("button", name="From the start").click()
    page.locator(".time button").first.click()  # Pause
    assert page.evaluate(run, 5 * 60) > 0.99  # a minute
    page.locator(".switch").click()
    assert "left the loss as it was" in page.locator(".readout").inner_text()
    assert page.evaluate(run, 5 * 8) < 0.05
    page.locator(".switch").click()
    assert page.evaluate(run, 1) > 0.3  # what was learnt needs its skip, and the page says so
    assert "now compute another function" in page.locator(".readout").inner_text()
    assert page.locator("path.on").get_attribute("d").count("Z") == 1


def test_networks_of_ten_layers_are_followed_to_their_solutions(page):
    """Rates of 1 to 10^11; the plain network leaves its plateau last."""
    show(page, "linear-networks")
    page.locator("input[type=range]").nth(1).evaluate("s => { s.value = 10; s.dispatchEvent(new Event('input')); }")
    settle(page)
    paths = "Object.entries(play.shown.state.paths).map(([n, p]) => [n, p.losses.at(-1)[1], p.path.time])"
    found = {name: (loss, time) for name, loss, time in page.evaluate(paths)}
    assert max(loss for loss, _ in found.values()) < 1e-10
    assert found["hyper-residual"][1] < 1e-6 < 1e3 * found["residual"][1] < found["plain"][1]
    assert "u is 3, to become 3" in page.locator(".readout").inner_text()


def test_weights_are_flipped_and_descent_never_climbs(page):
    show(page, "binary-weights")
    wait(page, "play.shown.state.survey")
    state = page.evaluate("play.shown.state.at")
    page.locator(".matrix button").first.click()
    assert page.evaluate("play.shown.state.at") == state ^ (1 << 17)
    losses = [page.evaluate("play.shown.state.scape.loss[play.shown.state.at]")]
    for _ in range(18):
        page.get_by_role("button", name="One flip").click()
        losses.append(page.evaluate("play.shown.state.scape.loss[play.shown.state.at]"))
    assert (np.diff(losses) <= 0).all()
    assert page.locator(".matrix button.next").count() == 0
    assert page.locator("circle.gold").count() == 6
    page.get_by_role("button", name="identity").click()
    wait(page, "play.shown.state.survey")
    assert page.locator("circle.gold").count() == 1


def test_a_full_skip_leaves_no_vanishing_gradient(page):
    show(page, "signals")
    page.get_by_role("button", name="Ordered").click()
    assert "shrinks" in page.locator(".readout").inner_text()
    page.locator(".switch").click()
    assert "shrinks" not in page.locator(".readout").inner_text()


@pytest.mark.parametrize("model", MODELS)
def test_every_control_works(page, model):
    show(page, model)
    for button in page.locator(".controls button, .time button").all():
        button.click()
    for slider in page.locator("input[type=range]").all():
        for end in ("min", "max"):
            slider.evaluate(f"s => {{ s.value = s.{end}; s.dispatchEvent(new Event('input')); }}")
    settle(page)
    assert page.errors == []


# --- the page --------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_and_nothing_can_be(page, written):
    assert page.requests == [written.as_uri()]
    refused = page.evaluate(
        """() => new Promise(done => {
          document.addEventListener('securitypolicyviolation', e => done(e.effectiveDirective), { once: true });
          const image = new Image(); image.src = 'https://example.org/x.png'; })"""
    )
    assert refused == "img-src"
    page.errors.clear()
    assert not re.search(r'(?:src|href)="(?!#|data:)', written.read_text())


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 844})
    for model in MODELS:
        show(page, model)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        small = page.evaluate(
            """() => [...document.querySelectorAll('main button, main input')].filter(e => e.offsetParent)
            .map(e => e.getBoundingClientRect()).filter(b => b.width < 24 || b.height < 24).length"""
        )
        assert small == 0  # WCAG 2.2, criterion 2.5.8
    page.set_viewport_size({"width": 1280, "height": 800})


CUT = """() => {
  const { min, max } = Math, found = [];
  const within = (a, b) => min(a.left - b.left, b.right - a.right, a.top - b.top, b.bottom - a.bottom) >= -1;
  const wide = (a, b) => min(a.right, b.right) - max(a.left, b.left);
  const high = (a, b) => min(a.bottom, b.bottom) - max(a.top, b.top);
  for (const svg of document.querySelectorAll('.plot > svg')) {
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([words, box], i) => {
      if (!within(box, svg.getBoundingClientRect())) found.push(`cut: ${words}`);
      for (const [other, its] of texts.slice(0, i)) {
        if (wide(box, its) > 2 && high(box, its) > 4) found.push(`${words} on ${other}`);
      }
    });
    if ([...svg.querySelectorAll('text')].some(t => parseFloat(getComputedStyle(t).fontSize) < 9)) found.push('tiny');
  }
  return found;
}"""
OUTSIDE = """() => [...document.querySelectorAll('main :is(button, input, output, h2, p, li, figure), .leave')]
  .filter(e => e.checkVisibility()).filter(e => {
    const box = e.getBoundingClientRect(), clipped = e.matches('button, p, li') && e.scrollWidth > e.clientWidth + 1;
    return Math.min(box.left, box.top, innerWidth - box.right, innerHeight - box.bottom) < 0 || clipped;
  }).map(e => e.textContent || e.tagName)"""


@pytest.mark.parametrize(("width", "height", "presenting"), [(390, 844, False), (1280, 720, True), (1280, 800, True)])
def test_no_word_is_cut_or_covered(page, width, height, presenting):
    """While presenting, all that acts and all that is said is in the window as well."""
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("on => document.body.classList.toggle('present', on)", presenting)
    for model in (*MODELS[1:], MODELS[0]):
        page.evaluate("id => document.getElementById(id).click()", f"tab-{model}")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate(CUT) == [], model
        assert not presenting or page.evaluate(OUTSIDE) == [], model
    page.evaluate("document.body.classList.remove('present')")
    assert all(tool.is_visible() for tool in page.locator(".tools button").all())
    page.set_viewport_size({"width": 1280, "height": 800})


def test_light_or_dark_is_kept(page):
    page.locator("#theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("localStorage.clear()")
    page.reload()


CONTRAST = """() => {
  const channel = x => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = c => {
    const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(x => channel(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    const colour = getComputedStyle(e).backgroundColor;
    return /, 0\\)|transparent/.test(colour) ? behind(e.parentElement) : colour;
  };
  const words = 'h1, h2, h3, p, li, label, .label, output, button, figcaption span, svg text';
  return [...document.querySelectorAll(words)].filter(e => e.getClientRects().length && e.textContent.trim()).map(e => {
    const svg = e.matches('text'), style = getComputedStyle(e);
    const both = [light(svg ? style.fill : style.color), light(behind(svg ? e.closest('figure') : e))];
    return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), e.textContent.trim().slice(0, 30)];
  }).sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out(page, scheme):
    """WCAG 2.2, criterion 1.4.3: at least 4.5 to 1."""
    page.emulate_media(color_scheme=scheme)
    wait(page, f"document.documentElement.dataset.theme === '{scheme}'")
    for model in MODELS:
        show(page, model)
        least, words = page.evaluate(CONTRAST)
        assert least >= 4.5, words
    page.emulate_media(color_scheme="light")


UNNAMED = """() => [...document.querySelectorAll('button, input, [role=slider], svg')].filter(e => !(
  e.textContent.trim() || e.getAttribute('aria-label') || (e.id && document.querySelector(`label[for="${e.id}"]`))
)).map(e => e.outerHTML)"""


def test_everything_that_acts_has_a_name(page):
    for model in MODELS:
        show(page, model)
        assert page.evaluate(UNNAMED) == []
        assert page.locator("[role=tab][aria-selected=true]").count() == 1
        assert page.locator(".look li").count() >= 3
        assert len(page.locator(".source").inner_text()) > 20


def test_presentation_is_led_by_keys(page):
    show(page, "two-units")
    page.locator("h2").click()
    page.keyboard.press("p")
    assert page.locator("body.present").count() == 1
    assert not page.locator("header").is_visible()
    for n in (1, 2, 3, 4, 5, 0):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("play.shown.id") == MODELS[n]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("3")
    assert page.locator(".look li").evaluate_all("all => all.map(li => li.checkVisibility())") == [True] + 3 * [False]
    page.keyboard.press("ArrowDown")
    assert page.locator(".look li").nth(1).is_visible()
    assert page.evaluate("play.shown.id") == MODELS[2]
    page.keyboard.press("Escape")
    page.wait_for_selector("body:not(.present)")
    assert page.locator("header").is_visible()


def test_motion_waits_for_a_wish_where_less_is_preferred(page):
    show(page, "signals")
    show(page, "two-units")
    button = page.locator(".time button").first
    assert button.inner_text() == "Play"
    page.keyboard.press("Escape")
    page.emulate_media(reduced_motion="no-preference")
    show(page, "linear-networks")
    assert page.locator(".time button").first.inner_text() == "Pause"
    wait(page, "Number(document.querySelector('.time input').value) > 10")
    page.locator(".time button").first.click()
    page.emulate_media(reduced_motion="reduce")


def test_pictures_are_exported(page, tmp_path):
    for model in MODELS:
        show(page, model)
        with page.expect_download() as download:
            page.locator("#svg").click()
        download.value.save_as(tmp_path / "picture.svg")
        root = ET.parse(tmp_path / "picture.svg").getroot()
        text = (tmp_path / "picture.svg").read_text()
        assert "var(--" not in text
        assert "<script" not in text
        keys = page.locator("figure:has(svg) .key").all_inner_texts()
        assert set(keys) <= {e.text for e in root.iter()}
        assert root.tag.endswith("svg")
        assert len([e for e in root.iter() if e.tag.endswith(("path", "rect"))]) > 3
    with page.expect_download() as download:
        page.locator("#png").click()
    download.value.save_as(tmp_path / "picture.png")
    head = (tmp_path / "picture.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert int.from_bytes(head[16:20], "big") == pytest.approx(2 * float(root.get("width")), abs=2)
    assert page.errors == []


# --- the command -----------------------------------------------------------------------------------------------------


def test_without_out_the_page_is_opened(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("typer.launch", lambda url: opened.append(url) or 0)
    assert cli.run(["play"]) == 0
    assert opened[0].startswith("file://")
    assert capsys.readouterr().out.strip().endswith("play.html")


def test_a_folder_that_was_not_there_is_told(tmp_path, capsys):
    for said in ("made the folder", ""):
        assert cli.run(["play", "--out", str(tmp_path / "new" / "play.html")]) == 0
        assert (said in capsys.readouterr().err) if said else capsys.readouterr().err == ""


def test_a_bad_out_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out, words in ((tmp_path, "is a folder; name a file"), (tmp_path / "file" / "play.html", "is a file")):
        assert cli.run(["play", "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "x"
