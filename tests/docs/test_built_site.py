"""The built site in a real browser: NONSINGULAR_SITE names its folder; `make docs` builds it and runs this."""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

SITE = Path(os.environ.get("NONSINGULAR_SITE", "")).resolve()
if not os.environ.get("NONSINGULAR_SITE"):
    pytest.skip("looks at a built site: make docs", allow_module_level=True)
PAGES = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts)
NOT_FOR_READERS = {"genindex.html", "py-modindex.html", "search.html"}


class Links(HTMLParser):
    """Targets and names of one page."""

    def __init__(self, page):
        super().__init__()
        self.links, self.names = set(), set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links |= {found[key] for key in ("href", "src") if found.get(key)}


@pytest.fixture(scope="module")
def parsed():
    return {page: Links(page) for page in PAGES}


def test_every_link_leads_somewhere(parsed):
    for page, found in parsed.items():
        for link in found.links:
            if link.startswith(("http:", "https:", "data:", "mailto:", "#/")):
                continue
            address, anchor = urldefrag(link.split("?")[0] if "#" not in link else link)
            file, _, _ = address.partition("?")
            target = (page.parent / unquote(file)).resolve() if file else page
            assert target.exists(), f"{page.relative_to(SITE)}: {link}"
            if anchor and target in parsed:
                assert unquote(anchor) in parsed[target].names, f"{page.relative_to(SITE)}: {link}"


def test_nothing_is_loaded_from_elsewhere(parsed):
    for page in PAGES:
        text = page.read_text()
        for outside in ('src="http', 'rel="stylesheet" href="http', "@import", "url(http"):
            assert outside not in text, f"{page.relative_to(SITE)}: {outside}"


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_pages_in_a_browser(browser, scheme, width):
    """No error in the console, nothing fetched, nothing wider than the window, no white page in the dark."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    errors, fetched = [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url) if request.url.startswith("http") else None)
    for path in PAGES:
        page.goto(path.as_uri())
        name = path.relative_to(SITE)
        assert errors == [], name
        assert fetched == [], name
        broken = (
            "[...document.images].filter(i => i.complete && !i.naturalWidth && i.loading !== 'lazy').map(i => i.src)"
        )
        assert page.evaluate(broken) == [], name
        if path.name not in NOT_FOR_READERS:
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
        assert (sum(ground[:3]) < 200) == (scheme == "dark"), name
    page.close()


def test_the_search_finds_a_name_without_a_server(browser):
    page = browser.new_page()
    page.goto((SITE / "search.html").as_uri() + "?q=Hessian")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert page.locator("#search-results li").count() > 2
    page.close()


def test_the_board_hides_verdicts(browser):
    page = browser.new_page()
    page.goto((SITE / "evidence.html").as_uri())
    row = page.locator("tr.fails").first
    assert row.is_visible()
    page.locator("#show-fails").uncheck()
    assert not row.is_visible()
    page.close()
