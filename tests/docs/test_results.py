"""The pages of ``results/`` say what its claims say."""

import importlib.util
import re
from pathlib import Path

import pytest

from nonsingular.experiments.run import archive
from nonsingular.papers.registry import experiment

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("results_pages", ROOT / "docs" / "results.py")
results_pages = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(results_pages)
PAGES = results_pages.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_tables_are_those_of_the_claims(page):
    assert page.exists()
    assert page.read_text() == PAGES[page], "run python docs/results.py"


def test_every_folder_says_how_it_came_about():
    for page in PAGES:
        assert len(page.read_text().split(results_pages.MARK)[0].splitlines()) > 2, f"{page} has no words of its own"


FOUND = results_pages.finished.find([ROOT / "results"])


@pytest.mark.parametrize("found", FOUND, ids=lambda found: f"{found.paper}-{found.folder.name}")
def test_claims_are_those_that_the_code_declares_today(found):
    """A claim that was worded or judged anew since is told by ``nonsingular judge``, from the measured data."""
    archive.read(found.folder)  # measured data are kept with every result
    declared = {claim.id: claim.statement for claim in experiment(found.id).claims}
    assert {row["id"]: row["statement"] for row in found.claims} == declared


def test_the_board_counts_the_headlines_that_its_rows_show_as_decided():
    board = PAGES[ROOT / "results" / "README.md"]
    verdicts = re.findall(r"^\| \[[^|]*\| \*\*(\w+)\*\*", board, re.M)
    assert f"{len(verdicts) - verdicts.count('inconclusive')} of {len(verdicts)} headlines are decided." in board


def test_a_headline_without_a_result_is_an_error():
    with pytest.raises(ValueError, match=r"headlines\.json"):
        results_pages._headline("orhan2018/fig3/none", "", "", [])


def test_a_protocol_that_decides_otherwise_is_told():
    found = results_pages.finished.find([ROOT / "results" / "orhan2018"])
    line = results_pages._headline("orhan2018/fig3/residual-faster-than-plain", "words", "", found)
    assert "**holds**; fails in [fig3-standardised]" in line
