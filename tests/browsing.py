"""Pages in a real browser, without a network."""


def opened(browser, page_file, **options):
    """The page, the errors it logged and the addresses it asked for."""
    page = browser.new_page(offline=True, **options)
    errors, requests = [], []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("request", lambda r: requests.append(r.url) if not r.url.startswith(("data:", "blob:")) else None)
    page.goto(page_file.as_uri())
    return page, errors, requests


def wait(page, expression):
    """Until it holds (a page's policy forbids the evaluation that Playwright's own waiting needs)."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {expression}")
