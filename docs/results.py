"""Writes what readers of ``results/`` see first: the board of headlines, and a table of claims in every folder.

``python docs/results.py`` after a result was added. What stands above a table's mark is kept: it is written by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nonsingular.experiments.claims import BESIDE, interval_in_words, is_ours
from nonsingular.experiments.report import finished
from nonsingular.experiments.report.finished import Finished
from nonsingular.experiments.report.pages import SAID, count
from nonsingular.experiments.report.papers import paper
from nonsingular.experiments.spec import SCALES
from nonsingular.words import percentage

RESULTS = Path(__file__).parents[1] / "results"
MAIN = ("accuracy", "table", "depth", "scaling", "contours", "phase", "two-units", "null", "landscape")
"""Beginnings of the names of pictures that are shown before others."""
MARK = "<!-- below: written by docs/results.py -->"


def pages(results: Path = RESULTS) -> dict[Path, str]:
    """Every README below ``results`` that has something to be written, as it should be."""
    found = finished.find([results])
    texts = {f.folder / "README.md": _after(f.folder / "README.md", f"# {f.id}\n", _page(f, results)) for f in found}
    board = _after(results / "README.md", "# What was measured\n", _board(found, results))
    return texts | {results / "README.md": board}


def _after(path: Path, start: str, written: str) -> str:
    kept = path.read_text().split(MARK)[0].rstrip() if path.exists() else start.rstrip()
    return f"{kept}\n\n{MARK}\n\n{written}"


def _page(found: Finished, results: Path) -> str:
    """The main picture, the claims, where the other pictures are, and whose it is."""
    names = pictures(found)
    more = ", ".join(f"[{name}](figures/{name}.png)" for name in names[1:])
    parts = [*(_embedded(found, name, "") for name in names[:1]), _table(found.claims)]
    return "\n".join([*parts, *([f"More pictures: {more}.\n"] if more else []), _licence(found.folder, results)])


def pictures(found: Finished) -> list[str]:
    """Names of the PNG files, the one that shows what most claims are about first."""
    return sorted((name for name in found.figures if _png(found, name).exists()), key=lambda name: (_rank(name), name))


def _rank(name: str) -> int:
    return next((n for n, main in enumerate(MAIN) if name.startswith(main)), len(MAIN))


def _png(found: Finished, name: str) -> Path:
    return found.folder / "figures" / f"{name}.png"


def _embedded(found: Finished, name: str, where: str) -> str:
    """A PNG, which has its own white ground: code hosts show drawings that follow the system's scheme on their own."""
    return f"![{name.replace('-', ' ')} of {found.id}]({where}figures/{name}.png)\n"


def _licence(folder: Path, results: Path) -> str:
    root = os.path.relpath(results.parent, folder)
    return f"Numbers and pictures: [MIT licence]({Path(root, 'LICENSE').as_posix()}), as the program.\n"


def _table(rows: Iterable[dict[str, Any]]) -> str:
    head = "| claim | expected | measured | interval | runs | verdict |\n|---|---|---|---|---|---|\n"
    return head + "".join(_line(row) for row in rows)


def _line(row: dict[str, Any]) -> str:
    whose = f"{BESIDE.capitalize()}: " if is_ours(row) and not row["statement"].startswith("Ours") else ""
    cells = [whose + row["statement"], row["expected"], measured(row), interval_in_words(row), row["runs"]]
    return f"| {' | '.join(_cell(cell) for cell in cells)} | **{row['verdict']}** |\n"


def _cell(text: object) -> str:
    return str(text).replace("|", r"\|")


def measured(row: dict[str, Any]) -> str:
    """The effect of a claim with its unit, or a dash."""
    return "–" if row["measured"] is None else f"{row['measured']:.3g} {row['unit']}".strip()


# --- the board ------------------------------------------------------------------------------------------------


def _board(found: Sequence[Finished], results: Path) -> str:
    headlines = json.loads((results / "headlines.json").read_text())
    chapters = [_chapter(name, rows, [f for f in found if f.paper == name]) for name, rows in headlines.items()]
    ids = [f"{name}/{claim}" for name, rows in headlines.items() for claim, *_ in rows]
    verdicts = [_shown(id, found)[1]["verdict"] for id in ids]
    decided = sum(verdict != "inconclusive" for verdict in verdicts)
    told = f"{decided} of {len(ids)} headlines are decided.\n"
    return "\n".join([told, *chapters, _licence(results, results)])


def _chapter(name: str, headlines: Sequence[tuple[str, str, str]], found: Sequence[Finished]) -> str:
    counts = count(row for f in found for row in f.claims)
    told = ", ".join(f"{number} {SAID.get(verdict, verdict)}" for verdict, number in counts.items())
    head = (
        "| headline | verdict | measured | runs | share of the paper's steps | what would overturn it |\n" + "|---" * 6
    )
    lines = [_headline(f"{name}/{claim}", words, overturns, found) for claim, words, overturns in headlines]
    first = _shown(f"{name}/{headlines[0][0]}", found)[0]
    picture = "".join(_embedded(first, p, f"{name}/{first.folder.name}/") for p in pictures(first)[:1])
    folders = ", ".join(f"[{f.folder.name}]({name}/{f.folder.name}/README.md)" for f in found)
    parts = [f"## {paper(name).title}\n", picture, f"Claims: {told}.\n", head, *lines, f"\nAll of it: {folders}.\n"]
    return "\n".join(parts)


def _headline(id: str, words: str, overturns: str, found: Sequence[Finished]) -> str:
    where, row = _shown(id, found)
    around = f" ({seen})" if (seen := interval_in_words(row, "")) else ""
    share = (row.get("share") or {}).get("steps")
    steps = "no training" if share is None else percentage(share, 3)
    link = f"[{words}]({where.paper}/{where.folder.name}/README.md)"
    verdict = f"**{row['verdict']}**" + _otherwise(row, found)
    return f"| {link} | {verdict} | {measured(row)}{around} | {row['runs']} | {steps} | {overturns} |"


def _shown(id: str, found: Sequence[Finished]) -> tuple[Finished, dict[str, Any]]:
    """The row that stands for a claim, and where it is."""
    rows = _rows(id, found)
    if not rows:
        raise ValueError(f"no result has the claim {id}, which headlines.json names")
    return max(rows, key=lambda pair: _weight(pair[1]))


def _rows(id: str, found: Sequence[Finished]) -> list[tuple[Finished, dict[str, Any]]]:
    return [(f, row) for f in found for row in f.claims if row["id"] == id]


def _otherwise(shown: dict[str, Any], found: Sequence[Finished]) -> str:
    """Where the same claim was decided the other way."""
    rows = _rows(shown["id"], found)
    other = [(f, row) for f, row in rows if {row["verdict"], shown["verdict"]} == {"holds", "fails"}]
    return "".join(f"; {row['verdict']} in [{f.folder.name}]({f.paper}/{f.folder.name}/README.md)" for f, row in other)


def _weight(row: dict[str, Any]) -> tuple[bool, int, bool, int]:
    """Of several protocols one of several runs is shown, of the largest scale, one that decides, of most runs."""
    return row["runs"] > 1, SCALES.index(row["scale"]), row["verdict"] != "inconclusive", row["runs"]


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
