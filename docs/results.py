"""Writes what readers of ``results/`` see first: the board of headlines, and a table of claims in every folder.

``python docs/results.py`` after a result was added. What stands above a table's mark is kept: it is written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nonsingular.experiments.claims import is_ours
from nonsingular.experiments.report import finished
from nonsingular.experiments.report.finished import Finished
from nonsingular.experiments.report.pages import count
from nonsingular.experiments.report.papers import paper
from nonsingular.experiments.spec import SCALES

RESULTS = Path(__file__).parents[1] / "results"
MARK = "<!-- below: written by docs/results.py -->"


def pages(results: Path = RESULTS) -> dict[Path, str]:
    """Every README below ``results`` that has something to be written, as it should be."""
    found = finished.find([results])
    texts = {f.folder / "README.md": _after(f.folder / "README.md", f"# {f.id}\n", _table(f.claims)) for f in found}
    board = _after(results / "README.md", "# What was measured\n", _board(found, results))
    return texts | {results / "README.md": board}


def _after(path: Path, start: str, written: str) -> str:
    kept = path.read_text().split(MARK)[0].rstrip() if path.exists() else start.rstrip()
    return f"{kept}\n\n{MARK}\n\n{written}"


def _table(rows: Iterable[dict[str, Any]]) -> str:
    head = "| claim | expected | measured | interval | runs | verdict |\n|---|---|---|---|---|---|\n"
    return head + "".join(_line(row) for row in rows)


def _line(row: dict[str, Any]) -> str:
    whose = "Ours: " if is_ours(row) and not row["statement"].startswith("Ours") else ""
    cells = [whose + row["statement"], row["expected"], measured(row), interval(row), row["runs"]]
    return f"| {' | '.join(_cell(cell) for cell in cells)} | **{row['verdict']}** |\n"


def _cell(text: object) -> str:
    return str(text).replace("|", r"\|")


def measured(row: dict[str, Any]) -> str:
    """The effect of a claim with its unit, or a dash."""
    return "–" if row["measured"] is None else f"{row['measured']:.3g} {row['unit']}".strip()


def interval(row: dict[str, Any], none: str = "–") -> str:
    """Both ends of a claim's interval, or what stands for none."""
    low, high = row["interval"] or (None, None)
    return none if low is None or high is None else f"{low:.3g} to {high:.3g}"


# --- the board ------------------------------------------------------------------------------------------------


def _board(found: Sequence[Finished], results: Path) -> str:
    headlines = json.loads((results / "headlines.json").read_text())
    return "\n".join(_chapter(name, rows, [f for f in found if f.paper == name]) for name, rows in headlines.items())


def _chapter(name: str, headlines: Sequence[tuple[str, str, str]], found: Sequence[Finished]) -> str:
    counts = count(row for f in found for row in f.claims)
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    head = (
        "| headline | verdict | measured | runs | share of the paper's steps | what would overturn it |\n" + "|---" * 6
    )
    lines = [_headline(f"{name}/{claim}", words, overturns, found) for claim, words, overturns in headlines]
    folders = ", ".join(f"[{f.folder.name}]({name}/{f.folder.name}/README.md)" for f in found)
    return f"## {paper(name).title}\n\nClaims: {told}.\n\n{head}\n" + "\n".join(lines) + f"\n\nAll of it: {folders}.\n"


def _headline(id: str, words: str, overturns: str, found: Sequence[Finished]) -> str:
    rows = [(f, row) for f in found for row in f.claims if row["id"] == id]
    if not rows:
        raise ValueError(f"no result has the claim {id}, which headlines.json names")
    where, row = max(rows, key=lambda pair: _weight(pair[1]))
    around = f" ({seen})" if (seen := interval(row, "")) else ""
    share = (row.get("share") or {}).get("steps")
    steps = "not kept" if share is None else f"{100 * share:.3g} %"
    link = f"[{words}]({where.paper}/{where.folder.name}/README.md)"
    verdict = f"**{row['verdict']}**" + _otherwise(row, rows)
    return f"| {link} | {verdict} | {measured(row)}{around} | {row['runs']} | {steps} | {overturns} |"


def _otherwise(shown: dict[str, Any], rows: Iterable[tuple[Finished, dict[str, Any]]]) -> str:
    """Where the same claim was decided the other way."""
    other = [(f, row) for f, row in rows if {row["verdict"], shown["verdict"]} == {"holds", "fails"}]
    return "".join(f"; {row['verdict']} in [{f.folder.name}]({f.paper}/{f.folder.name}/README.md)" for f, row in other)


def _weight(row: dict[str, Any]) -> tuple[bool, int, bool, int]:
    """Of several protocols one of several runs is shown, of the largest scale, one that decides, of most runs."""
    return row["runs"] > 1, SCALES.index(row["scale"]), row["verdict"] != "inconclusive", row["runs"]


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
