"""One self-contained HTML page for one experiment or a whole paper: scoreboard, figures beside claims, protocol.

Figures are packed into it (`nonsingular.plots.live`), so that a page of a hundred opens at once, and linked as files.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from nonsingular import __version__, progress
from nonsingular.errors import InputError
from nonsingular.experiments.claims import BESIDE, interval_in_words, is_measured, is_ours, source_in_words
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report import differences
from nonsingular.experiments.report.finished import Finished
from nonsingular.experiments.report.papers import PAPERS, Paper, paper
from nonsingular.experiments.report.strips import Strip, strip
from nonsingular.files import make_way, write_whole
from nonsingular.plots import live
from nonsingular.plots.dark import dark_aware
from nonsingular.words import counted, significant

VERDICTS = ("holds", "fails", "inconclusive", "unmeasured")
"""What a claim is counted as: those that nothing was measured for apart from those that the measure leaves open."""
SAID = {"holds": "hold", "fails": "fail", "unmeasured": "not measured"}
NAMED = (*PAPERS, "demo")
"""Papers whose experiments have ids that ``nonsingular reproduce`` knows."""
SECTIONS = "sections"  # what progress is counted in
LARGEST_SVG = 600_000
"""Bytes above which a picture is embedded as PNG: fields of many thousand marks make a page slow to open."""
HALF = 700
"""Pixels that stay beside a table of claims."""
HALF_SIZE = (672, 384)
"""Of a drawing that does not say its size: that of `nonsingular.plots.style.new_figure`."""
DOTS = 160
"""An inch, of a PNG that does not say."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page holds it.

    Attributes:
        name: its file's.
        packed: the drawing, as `live.packed` makes it.
        kind: of the drawing, as browsers name it.
        description: for those who do not see it.
        size: width and height at which its letters are of reading size, in CSS pixels.
        files: its files, as kind -> link from the page.
    """

    name: str
    packed: str
    kind: str
    description: str
    size: tuple[int, int]
    files: Mapping[str, str]

    @property
    def wide(self) -> bool:
        """Whether it takes a row of its own: more panels side by side than half a page shows."""
        return self.size[0] > 2.6 * self.size[1] or self.size[0] > HALF


@dataclass(frozen=True)
class Section:
    """One experiment on the page.

    Attributes:
        anchor: its place on the page.
        found: what it left.
        title: one line.
        rows: its claims, each with the drawing of its interval.
        pictures: its figures.
        protocol: label and words.
        differs: what it does otherwise than the paper at every scale.
        numbers: those that are not the paper scale's.
        command: what repeats it, or None where this version does not know the experiment.
        changed: what that command would now do otherwise.
        live: name -> interactive figure, as `live.packed` makes it.
        files: name -> link from the page.
    """

    anchor: str
    found: Finished
    title: str
    rows: Sequence[tuple[Mapping[str, Any], Strip | None]]
    pictures: Sequence[Picture]
    protocol: Sequence[tuple[str, str]]
    differs: Sequence[str]
    numbers: Sequence[str]
    command: str | None
    changed: Sequence[str]
    live: Mapping[str, str]
    files: Mapping[str, str]

    @property
    def counts(self) -> Mapping[str, int]:
        """Claims by verdict."""
        return count(row for row, _ in self.rows)

    @property
    def from_what(self) -> str:
        """From what it differs: a figure of the reader's own is of no paper, but has scales."""
        paper = " from the paper" if self.found.paper in NAMED else ""
        return paper if self.differs else f"{paper or ' from the paper'} scale"

    @property
    def verdicts(self) -> Mapping[str, int]:
        """Rows by verdict, questions of ours too; those that there are, for the filter."""
        return Counter(str(row["verdict"]) for row, _ in self.rows)


@dataclass(frozen=True)
class Chapter:
    """The experiments of one paper."""

    prefix: str
    paper: Paper
    sections: Sequence[Section]

    @property
    def counts(self) -> Mapping[str, int]:
        """Claims by verdict."""
        return count(row for s in self.sections for row, _ in s.rows)

    @property
    def told(self) -> str:
        """What the counts count."""
        rows, runs = [row for s in self.sections for row, _ in s.rows], len(self.sections)
        claims, others = sum(self.counts.values()), sum(map(is_ours, rows))
        beside = f", and {counted(others, 'question')} beside them ({BESIDE})" if others else ""
        ids = len({s.found.id for s in self.sections})
        again = ", some of them with other protocols" if ids < runs else ""
        whose = " of the paper" if self.prefix in PAPERS else ""  # else a figure of the reader's own
        judged = f"{counted(claims, 'claim')}{whose} judged, each counted once{beside}"
        at = f", at {found}" if (found := shares(rows)) else ""
        return f"{judged}{at}; {counted(ids, 'experiment')}{again}: {counted(runs, 'section')} below."


def count(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Claims of the papers by verdict, those with none among them: each id once, questions of ours left out.

    An id that was judged by several protocols, or at several scales, has the verdict that all that are decided share;
    where they differ it is inconclusive.
    """
    verdicts: dict[str, set[str]] = {}
    for row in rows:
        if not is_ours(row):
            found_as = str(row["verdict"]) if is_measured(row) else "unmeasured"
            verdicts.setdefault(str(row["id"]), set()).add(found_as)
    found = Counter(_common(v) for v in verdicts.values())
    return {verdict: found[verdict] for verdict in VERDICTS}


def _common(verdicts: set[str]) -> str:
    measured = verdicts - {"unmeasured"}
    decided = measured - {"inconclusive"}
    return decided.pop() if len(decided) == 1 else "inconclusive" if measured else "unmeasured"


def shares(rows: Iterable[Mapping[str, Any]]) -> str:
    """At which parts of the papers' steps and runs rows were judged, in words; empty where no row says."""
    kept = [row["share"] for row in rows if row.get("share") and not is_ours(row)]
    words = []
    for name, what in (("steps", "training steps"), ("runs", "runs")):
        found = [100 * part[name] for part in kept if part.get(name)]
        if found:
            low, high = significant(min(found), 3), significant(max(found), 3)
            words.append(f"{low if low == high else f'{low} to {high}'} % of the paper scale's {what}")
    return " and ".join(words)


def write_report(path: Path, found: Sequence[Finished], experiments: Mapping[str, Experiment]) -> Path:
    """Write the page and return its path.

    Args:
        path: the HTML file.
        found: finished experiments, of one paper or of several; each paper is a chapter.
        experiments: id -> experiment, of those that this version knows; of others the page lacks title, command and
            differences from the paper.

    Raises:
        InputError: ``path`` is a folder, or lies below a file.
    """
    make_way(path)
    order = {id: n for n, id in enumerate(experiments)}
    sections = []
    with progress.stretch(f"writing {path.name}", len(found), SECTIONS):
        for n, f in enumerate(found):
            sections.append(_section(f, experiments.get(f.id), n, path.parent))
            progress.count(SECTIONS)
    # As the paper has them; of one experiment the run nearest to its own protocol first.
    sections.sort(
        key=lambda s: (order.get(s.found.id, len(order)), len((s.command or "").split()), s.found.folder.name)
    )
    prefixes = dict.fromkeys(s.found.paper for s in sections)
    chapters = [Chapter(p, paper(p), [s for s in sections if s.found.paper == p]) for p in prefixes]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nonsingular.experiments.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["ours"] = is_ours
    environment.globals |= {
        "BESIDE": BESIDE, "SAID": SAID, "counted": counted, "interval_in_words": interval_in_words,
        "source_in_words": source_in_words,
    }  # fmt: skip
    interactive = any(s.live for s in sections)
    script = live.script() + files(__package__).joinpath("templates/report.js").read_text(encoding="utf-8")
    html = environment.get_template("report.html").render(
        chapters=chapters,
        single=len(sections) == 1,
        version=__version__,
        verdicts=Counter(str(row["verdict"]) for s in sections for row, _ in s.rows),
        library=live.library() if interactive else None,
        script=script,
        policy=live.allowed(script, interactive=interactive),
    )
    write_whole(path, html)
    return path


def pages(found: Sequence[Finished]) -> dict[Path, list[Finished]]:
    """Where the page of each paper goes: ``report.html`` in the folder that holds its experiments.

    That is the folder above them, never an experiment's own, which has a page already. Papers whose experiments share
    that folder get ``report-PAPER.html``.
    """
    papers = {f.paper: [g for g in found if g.paper == f.paper] for f in found}
    folders = {p: Path(os.path.commonpath([f.folder.resolve().parent for f in fs])) for p, fs in papers.items()}
    shared = Counter(folders.values())
    return {
        folders[p] / ("report.html" if shared[folders[p]] == 1 else f"report-{p}.html"): fs for p, fs in papers.items()
    }


def _section(found: Finished, experiment: Experiment | None, number: int, page: Path) -> Section:
    command: str | None = None
    changed: list[str] = []
    numbers: list[str] = []
    try:
        if found.about.name or (experiment is not None and found.paper in NAMED):  # else nobody knows where it is
            command, changed = differences.command(found.spec, found.about, experiment)
    except InputError as error:
        changed = [str(error)]
    if experiment is not None:
        numbers = differences.from_paper(experiment, found.spec)
    title = experiment.title if experiment is not None else found.about.title or found.id
    return Section(
        anchor=f"experiment-{number + 1}",
        found=found,
        title=title,
        rows=[(row, strip(row)) for row in found.claims],
        pictures=[_picture(name, file, title, found, page) for name, file in found.figures.items()],
        protocol=[*differences.protocol(found.spec), ("Machine", found.machine or "not recorded")],
        differs=experiment.differs if experiment is not None else found.about.differs,
        numbers=numbers,
        command=command,
        changed=changed,
        live=_live(found),
        files={p.name: _link(p, page) for p in found.files},
    )


def _live(found: Finished) -> dict[str, str]:
    """The interactive figures that were kept, or none where the library that draws them is not installed."""
    if not live.available():
        return {}
    return {name: live.packed(file.read_bytes()) for name, file in found.interactive.items()}


def _picture(name: str, file: Path, title: str, found: Finished, page: Path) -> Picture:
    versions = {kind: file.with_suffix(f".{kind}") for kind in ("svg", "png")}
    versions = {kind: version for kind, version in versions.items() if version.exists()}
    drawing = versions.get("svg", file)
    if drawing.stat().st_size > LARGEST_SVG and "png" in versions:
        drawing = versions["png"]
    svg = drawing.suffix == ".svg"
    content = dark_aware(drawing.read_text()).encode() if svg else drawing.read_bytes()
    description = f"Figure {name.replace('-', ' ')} of {found.id}: {title}; what it shows is judged in its claims"
    return Picture(
        name=name,
        packed=live.packed(content if svg else _webp(content)),
        kind="image/svg+xml" if svg else "image/webp",
        description=description,
        size=_svg_size(content) if svg else _png_size(content),
        files={kind.upper(): _link(version, page) for kind, version in versions.items()},
    )


def _link(file: Path, page: Path) -> str:
    """The address of a file as seen from the folder of the page."""
    return quote(os.path.relpath(file.resolve(), page.resolve()).replace(os.sep, "/"))


def _svg_size(content: bytes) -> tuple[int, int]:
    """Of a drawing by matplotlib, which says it in points."""
    found = [re.search(rb'<svg[^>]* %s="([\d.]+)pt"' % side, content) for side in (b"width", b"height")]
    width, height = (float(f[1]) if f else 0.0 for f in found)
    return (round(width * 4 / 3), round(height * 4 / 3)) if width and height else HALF_SIZE


def _webp(png: bytes) -> bytes:
    """A picture for the page, a third as large and as good to look at; the file itself is linked."""
    from PIL import Image

    found = io.BytesIO()
    Image.open(io.BytesIO(png)).save(found, "WEBP", quality=90, method=2)
    return found.getvalue()


def _png_size(content: bytes) -> tuple[int, int]:
    """Of a picture that says how many dots it has to the metre."""
    width, height = struct.unpack(">II", content[16:24])
    at = content.find(b"pHYs", 24, 4096)
    dots = struct.unpack(">I", content[at + 4 : at + 8])[0] * 0.0254 if at > 0 else DOTS
    return round(width * 96 / dots), round(height * 96 / dots)
