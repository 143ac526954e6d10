"""The sources of the documentation: links lead somewhere, nothing public is left out, numbers are the results'."""

import inspect
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import nonsingular as ns

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = [DOCS / "index.md", DOCS / "start.md", *(DOCS / folder for folder in ("howto", "lessons", "explanation"))]
PAGES = [p for place in WRITTEN for p in ([place] if place.is_file() else sorted(place.glob("*.md")))]
GENERATED = re.compile(r"(gallery/.*|reference/.*|evidence)\.md")


@pytest.fixture(scope="module")
def generate():
    sys.path.insert(0, str(DOCS))
    import generate

    return generate


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *PAGES], ids=lambda p: p.name)
def test_links_and_pictures_of_a_page_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link  # in a clone: pages that the site alone has are linked by what they are made of
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_a_page_links_to_in_a_clone_is_on_the_site(page, generate):
    source = [page.read_text()]
    generate.relink(None, page.relative_to(DOCS).with_suffix("").as_posix(), source)
    for picture, link in re.findall(r"(!?)\[[^\]]*\]\((\.[^)\s#]*)", source[0]):
        target = (page.parent / link).resolve()
        inside = target.is_relative_to(DOCS) and (target.exists() or GENERATED.match(_place(target)))
        assert inside or picture, link


def test_links_in_the_words_of_a_result_are_there_in_a_clone_and_on_the_site(generate):
    every = _results(generate)
    sections = {f"{f.paper}-{f.folder.name}".lower() for f in every}
    for found in every:
        words = (found.folder / "README.md").read_text()
        missing = [x for x in re.findall(r"\]\((\.[^)\s#]*)", words) if not (found.folder / x).exists()]
        assert missing == [], found.folder
        shown = generate._words(found)
        anchors = re.findall(r"\]\(\w+\.md#([^)\s]*)", shown)
        assert "](../" not in shown
        assert set(anchors) <= sections


def test_words_of_a_result_link_to_the_section_of_another(generate):
    text = "As in [another](../fig5-unit/README.md)."
    shown = generate.relinked(text, ROOT / "results" / "orhan2018" / "fig6-unit", DOCS / "gallery")
    assert shown == "As in [another](orhan2018.md#orhan2018-fig5-unit)."


def _results(generate):
    return generate.finished.find([ROOT / "results"])


def _place(target):
    return target.relative_to(DOCS).as_posix()


def test_every_page_is_in_the_contents():
    listed = set()
    for page in PAGES:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.S):
            listed |= {
                (page.parent / line).resolve() for line in block.split("\n") if line and not line.startswith(":")
            }
    assert {p.with_suffix("") for p in PAGES} - listed == {DOCS / "index"}


def test_every_public_name_has_an_example(generate):
    """In its docstring; test_python_blocks.py runs them."""
    bare = [name for name, value in generate.public() if ">>>" not in (inspect.getdoc(value) or "")]
    assert bare == []


def test_the_reference_has_every_package(generate):
    public = {name for name in ns._MODULES if getattr(getattr(ns, name), "__all__", None)}
    assert public <= set(generate.REFERENCE)
    assert {name for name in ns._NAMES if f"`ns.{name}`" not in generate.reference()} == set()


def test_the_board_is_what_the_results_hold(generate):
    found = _results(generate)
    kept = [row for path in (ROOT / "results").rglob("claims.json") for row in json.loads(path.read_text())]
    board = generate.evidence(found)
    shown = Counter(re.findall(r"<tr class='(\w+)'>", board))
    assert shown == Counter(row["verdict"] for row in kept)
    for paper in generate.PAPERS:
        of_paper = [row for row in kept if row["id"].startswith(f"{paper}/")]
        counts = generate.count(of_paper)
        (line,) = re.findall(rf"^\| \[[^|]*\]\(gallery/{paper}\.md\) \| (.*) \|$", board, re.M)
        assert line.split(" | ")[:-1] == [str(number) for number in counts.values()]


def test_the_gallery_shows_every_figure(generate):
    found = _results(generate)
    pages = "".join(generate.chapter(paper, [f for f in found if f.paper == paper]) for paper in generate.PAPERS)
    drawn = {p.with_suffix("") for p in (ROOT / "results").glob("*/*/figures/*.png")}
    known = {p.with_suffix("") for p in drawn if (p.parents[1] / "claims.json").exists()}
    shown = {
        (DOCS / "gallery" / link).resolve().with_suffix("") for link in re.findall(r"\]\((\S+figures\S+)\)", pages)
    }
    assert known - shown == set()


def test_lessons_are_python(generate):
    """They are run by `make docs`; here only that they can be."""
    for page in sorted((DOCS / "lessons").glob("*.md")):
        cells = re.findall(r"```\{code-cell\} python\n(.*?)```", page.read_text(), re.S)
        code = "\n".join(line for cell in cells for line in cell.split("\n") if not line.startswith((":", "%")))
        compile(code, page, "exec")
