"""The report in a real browser: everything drawn, nothing fetched, no error in the console."""

import shutil

import pytest
import xarray as xr

from nonsingular.experiments.claims import Claim, exactly
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.registry import experiment
from nonsingular.experiments.reproduce import publish
from nonsingular.experiments.spec import Spec
from nonsingular.plots.style import new_figure

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


def opened(browser, report):
    """The page, the errors it logged and the addresses it asked for."""
    page = browser.new_page()
    errors, requests = [], []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("request", lambda r: requests.append(r.url) if not r.url.startswith("data:") else None)
    page.goto(report.as_uri())
    return page, errors, requests


def test_every_figure_is_drawn_offline(browser, tmp_path):
    found = experiment("orhan2018/figS5")
    spec = found.specs("smoke")
    from nonsingular.experiments.workspace import Workspace

    outcome = publish(found, spec, found.run(spec, Workspace(tmp_path)), tmp_path)
    page, errors, requests = opened(browser, outcome.report)
    images = page.locator("figure img")
    assert images.count() == len(list((tmp_path / "figures").glob("*.svg"))) > 0
    assert all(images.nth(i).evaluate("e => e.complete && e.naturalWidth > 0") for i in range(images.count()))
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert page.locator(".js-plotly-plot").count() == len(found.interactive(outcome.results))
    assert page.locator("#claims tbody tr").count() == len(found.claims)
    assert errors == []
    assert requests == [outcome.report.as_uri()]


def test_strings_are_escaped(browser, tmp_path):
    attack = "<script>window.hacked = true</script>"
    claim = Claim(f"x/y/{attack}", attack, attack, lambda _: exactly(1.0, note=attack), unit=attack)
    figure = new_figure()
    figure.subplots().plot([1, 2])
    found = Experiment("x/y", attack, draw=lambda _: {"curve": figure}, claims=(claim,))
    outcome = publish(found, Spec("x/y", "smoke", settings={"note": attack}), xr.Dataset(), tmp_path)
    page, errors, _ = opened(browser, outcome.report)
    assert page.evaluate("window.hacked") is None
    assert attack in page.locator("#claims").inner_text()
    assert errors == []
