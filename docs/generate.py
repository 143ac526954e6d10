"""Pages that are written from the project itself: gallery, board of evidence, reference, the command's help.

Nothing is kept by hand: figures and claims come from ``results/``, names from the packages, options from the command.
"""

from __future__ import annotations

import html
import inspect
import os
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from results import MARK, measured

import nonsingular as ns
from nonsingular.experiments.claims import BESIDE, interval_in_words, is_ours, source_in_words
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report import differences, finished
from nonsingular.experiments.report.finished import Finished
from nonsingular.experiments.report.pages import SAID, VERDICTS, count
from nonsingular.experiments.report.papers import paper
from nonsingular.experiments.report.strips import strip
from nonsingular.papers import registry
from nonsingular.play import write_page
from nonsingular.plots.dark import dark_aware
from nonsingular.words import counted

DOCS = Path(__file__).parent
EXTRA = DOCS / "_extra"
"""Files that the site holds as they are."""
RESULTS = DOCS.parent / "results"
PAPERS = ("orhan2018", "orhan2017", "oyedotun2021", "li2018", "blumenfeld2020")
REFERENCE = {
    "curvature": "Hessian, Gauss-Newton, Fisher and K-FAC as operators; counts, densities, eigenpairs, traces.",
    "landscape": "The loss along lines, over planes and around training runs.",
    "diagnosis": "Why a network will not train, what would help, and the proof.",
    "measures": "Units, signals, representations, symmetry: tensors in, tensors out.",
    "networks": "The architectures of the five papers, skip matrices, initialisations.",
    "training": "Populations of networks trained side by side; breakers of symmetry; the store of results.",
    "data": "Named data sets and their scaling.",
    "objective": "What you bring: model, loss, data, checked once.",
    "theory": "Small exact models.",
    "search": "Numbers that a paper found by search.",
}
FIGURES = tuple(
    f"experiments.{name}"
    for name in ("figure", "quantities", "verbs", "needs", "drawings", "claims", "scales", "spec", "overrides")
)


def write_pages(app: object = None) -> None:
    """Write all of them, those alone that have changed, so that the rest is not built again."""
    write_page(EXTRA / "play.html")
    found = finished.find([RESULTS])
    pages = {"evidence.md": evidence(found), "gallery/index.md": gallery(found), "reference/command.md": command()}
    pages |= {f"gallery/{name}.md": chapter(name, [f for f in found if f.paper == name]) for name in PAPERS}
    pages |= {"reference/index.md": reference(), "reference/experiments.md": modules("experiments", FIGURES)}
    pages |= {f"reference/{name}.md": package(name) for name in REFERENCE}
    for name, text in pages.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def darken(app: Any, exception: Exception | None) -> None:
    """Every drawing of the finished site follows light and dark pages, those of earlier versions too."""
    if exception is None:
        for path in (Path(app.outdir) / "_images").glob("*.svg"):
            text = path.read_text()
            if (dark := dark_aware(text)) != text:
                path.write_text(dark)


def on_site(target: Path) -> str | None:
    """The page of the site, below its root, in place of a file of the repository that a page links to.

    Sources link to what a clone has: results and their READMEs, packages. The site shows these in pages of its own.
    """
    match target.relative_to(DOCS.parent).parts:
        case ("results",):
            return "gallery/index.md"
        case ("results", "README.md"):
            return "evidence.md"
        case ("results", name, folder, "README.md"):
            return f"gallery/{name}.md#{name}-{folder}".lower()
        case ("src", "nonsingular", *package) if len(package) < 2:
            return f"reference/{package[0] if package else 'index'}.md"
    return None


def relink(app: Any, page: str, source: list[str]) -> None:
    """A page about to be read, with its links made the site's."""
    here = (DOCS / page).parent
    source[0] = relinked(source[0], here, here)


def relinked(text: str, written: Path, shown: Path) -> str:
    """Links to files of the repository as links to pages of the site, or the names of what it lacks.

    `written` is the folder that the links start from, `shown` the folder of the page that the text is shown on.
    """

    def link(found: re.Match[str]) -> str:
        target = (written / found[2]).resolve()
        if target.is_relative_to(DOCS) or target.suffix not in ("", ".md"):
            return found[0]
        place = on_site(target)
        return f"{found[1]}({os.path.relpath(DOCS / place, shown)})" if place else f"{found[1][1:-1]} (`{_of(target)}`)"

    return re.sub(r"(?<!!)(\[[^\]]*\])\((\.[^)\s#]*)(?:#[^)\s]*)?\)", link, text)


def _of(target: Path) -> str:
    return target.relative_to(DOCS.parent).as_posix()


# --- results --------------------------------------------------------------------------------------------------


def gallery(found: Sequence[Finished]) -> str:
    """The papers, each with its first picture and its counts."""
    cards = []
    for name in PAPERS:
        of_paper = _ordered(f for f in found if f.paper == name)
        picture = next((p for f in of_paper for p in f.figures.values()), None)
        image = f"[![{paper(name).title}]({_from(picture, 'gallery')})]({name}.md)\n  " if picture else ""
        cards.append(f"- {image}[**{paper(name).title}**]({name}.md)\n\n  {paper(name).cited}. {_counted(of_paper)}\n")
    toc = "\n".join(f"{name}" for name in PAPERS)
    return (
        "# Gallery\n\nEvery figure and table, as `nonsingular reproduce` draws it, beside the claims it decides.\n\n"
        "{.cards}\n" + "\n".join(cards) + f"\n```{{toctree}}\n:hidden:\n{toc}\n```\n"
    )


def chapter(name: str, found: Sequence[Finished]) -> str:
    """One paper: a section an experiment, pictures first."""
    about = paper(name)
    parts = [f"# {about.title}\n\n{about.cited}. {_counted(found)}\n"]
    if about.differs:
        parts.append("Otherwise than in the paper, in all of them: " + " ".join(about.differs) + "\n")
    parts += [_experiment(f) for f in _ordered(found)]
    return "\n".join(parts)


def _experiment(found: Finished) -> str:
    known = _known(found.id)
    heading = f"## {_title(found)}\n"
    data = found.spec.get("data") or {}
    where = [found.id, f"{found.spec['scale']} scale", f"{found.spec['runs']} runs"]
    where += [f"{data['name']}, {data['scaling']} inputs"] if data else []
    folder = found.folder.name
    where += [f"folder {folder}"] if folder != found.id.split("/")[1] else []
    pictures = [
        f"![{name.replace('-', ' ')} of {found.id}]({_from(path, 'gallery')})" for name, path in found.figures.items()
    ]
    again = _command(known, found)
    return "\n\n".join(
        [
            f"({_anchor(found)})=\n{heading}",
            "{.quiet}\n" + ", ".join(where),
            _words(found),
            *pictures,
            _table(found.claims) if found.claims else "No claims.",
            f"```sh\n{again}\n```\n" if again else "",
        ]
    )


def _words(found: Finished) -> str:
    """What its folder's README says of it in words, between the command and the table of claims."""
    page = found.folder / "README.md"
    kept = page.read_text().split(MARK)[0] if page.exists() else ""
    words = "\n\n".join(part for part in kept.strip().split("\n\n")[1:] if not part.startswith("`nonsingular"))
    return relinked(words, found.folder, DOCS / "gallery")


def evidence(found: Sequence[Finished]) -> str:
    """The board: every claim of every paper, its effect and its verdict."""
    parts = [
        "# Board of evidence\n\n"
        "Every claim of the five papers that was put to a test, with the measured effect, its interval and verdict. "
        "A claim *holds* when the whole interval lies where the paper puts it, *fails* when none of it does, and is "
        "*inconclusive* otherwise. Nothing is written by hand: the rows are those of `results/*/*/claims.json`.\n",
        "{.board-counts}\n| paper | "
        + " | ".join(VERDICTS)
        + " | beside |\n|---"
        + "|---" * (len(VERDICTS) + 1)
        + "|\n"
        + "\n".join(_count_row(name, [f for f in found if f.paper == name]) for name in PAPERS),
        "\nShaded: where the claim holds; bar: 95 % interval; dot: measured. One claim may be judged by several "
        "protocols; the counts above take it once, as decided where those that decide agree. *Beside*: questions that "
        "are not the paper's claims, judged alike and not counted.\n",
        "```{raw} html\n<div class='board'><p class='show'>Show "
        + " ".join(
            f"<label><input type='checkbox' checked id='show-{v}'> <span class='verdict {v}'>{v}</span></label>"
            for v in VERDICTS
        )
        + "</p>\n```\n",
    ]
    for name in PAPERS:
        parts.append(f"## {paper(name).title}\n")
        with_claims = _ordered(f for f in found if f.paper == name and f.claims)
        parts += [f"### [{_title(f)}]({_section(f)})\n\n" + _table(f.claims) for f in with_claims]
    parts.append("```{raw} html\n</div>\n```\n")
    return "\n".join(parts)


def _table(rows: Iterable[dict[str, Any]]) -> str:
    lines = [_row(row) for row in rows]
    head = "<tr><th>Claim</th><th>Measured</th><th>Verdict</th></tr>"
    body = "\n".join(lines)
    return f"```{{raw}} html\n<table class='claims'><thead>{head}</thead><tbody>\n{body}\n</tbody></table>\n```\n"


def _row(row: dict[str, Any]) -> str:
    statement = html.escape(row["statement"])
    whose = f"<em>{BESIDE}:</em> " if is_ours(row) else ""
    around = f"{interval_in_words(row, 'no interval')}, {counted(row['runs'], 'run')}"
    note = f"; {html.escape(row['note'])}" if row["note"] else ""
    return (
        f"<tr class='{row['verdict']}'><td>{whose}{statement}"
        f"<div class='quiet'>{html.escape(source_in_words(row))}; "
        f"expected {html.escape(row['expected'])}{note}</div></td>"
        f"<td>{html.escape(measured(row))}{_drawn(row)}<div class='quiet'>{around}</div></td>"
        f"<td><span class='verdict {row['verdict']}'>{row['verdict']}</span></td></tr>"
    )


def _drawn(row: dict[str, Any]) -> str:
    drawn = strip(row)
    if drawn is None:
        return ""
    parts = [
        f"<svg class='strip {row['verdict']}' viewBox='0 0 {drawn.width} 22' role='img' aria-label='{drawn.words}'>"
    ]
    if drawn.allowed:
        left, right = drawn.allowed
        parts.append(f"<rect class='allowed' x='{left}' y='2' width='{right - left}' height='18'/>")
    parts.append(f"<line class='axis' x1='0' x2='{drawn.width}' y1='11' y2='11'/>")
    parts += [f"<line class='edge' x1='{edge}' x2='{edge}' y1='1' y2='21'/>" for edge in drawn.edges]
    if drawn.interval:
        parts.append(f"<line class='interval' x1='{drawn.interval[0]}' x2='{drawn.interval[1]}' y1='11' y2='11'/>")
    if drawn.value is not None:
        parts.append(f"<circle class='value' cx='{drawn.value}' cy='11' r='4.5'/>")
    return "".join([*parts, "</svg>"])


def _count_row(name: str, found: Sequence[Finished]) -> str:
    rows = [row for f in found for row in f.claims]
    counts = count(rows)
    cells = [f"[{paper(name).title}](gallery/{name}.md)", *map(str, counts.values()), str(sum(map(is_ours, rows)))]
    return "| " + " | ".join(cells) + " |"


def _counted(found: Iterable[Finished]) -> str:
    counts = count(row for f in found for row in f.claims)
    return ", ".join(f"{number} {SAID.get(verdict, verdict)}" for verdict, number in counts.items()) + "."


def _ordered(found: Iterable[Finished]) -> list[Finished]:
    order = {e.id: n for n, e in enumerate(registry.experiments())}
    return sorted(found, key=lambda f: (order.get(f.id, len(order)), f.folder.name))


def _known(id: str) -> Experiment | None:
    return next((e for e in registry.experiments() if e.id == id), None)


def _anchor(found: Finished) -> str:
    return f"{found.paper}-{found.folder.name}".lower()


def _section(found: Finished) -> str:
    return f"gallery/{found.paper}.md#{_anchor(found)}"


def _title(found: Finished) -> str:
    known = _known(found.id)
    return found.about.title or (known.title if known else found.id)


def _command(known: Experiment | None, found: Finished) -> str | None:
    if known is None and not found.about.name:
        return None
    try:
        return differences.command(found.spec, found.about, known)[0]
    except ns.InputError:  # this version has no such networks or settings any more
        return None


def _from(path: Path, folder: str) -> str:
    return Path(os.path.relpath(path, DOCS / folder)).as_posix()


# --- reference ------------------------------------------------------------------------------------------------


def reference() -> str:
    """The flat names first, then a page a package."""
    flat = "\n".join(f"| `ns.{name}` | {_link(name)} | {_first_line(getattr(ns, name))} |" for name in ns._NAMES)
    packages = "\n".join(f"| [`ns.{name}`]({name}.md) | {words} |" for name, words in REFERENCE.items())
    toc = "\n".join([*REFERENCE, "experiments", "command"])
    return f"""# Reference

`import nonsingular as ns` costs nothing until a name is used. What most programs need is at the top:

| name | is | what for |
|---|---|---|
{flat}

| package | holds |
|---|---|
{packages}
| [`ns.experiments`](experiments.md) | Figures, claims, verbs: what an experiment of your own declares. |
| [the command](command.md) | Every option of `nonsingular`. |

```{{toctree}}
:hidden:
{toc}
```
"""


def package(name: str) -> str:
    """Everything public of a package; of one that holds modules, theirs."""
    members = [getattr(getattr(ns, name), member) for member in getattr(ns, name).__all__]
    inner = [m.__name__.removeprefix("nonsingular.") for m in members if inspect.ismodule(m)]
    if name == "theory":
        return modules(name, inner)
    body = f"```{{eval-rst}}\n.. automodule:: nonsingular.{name}\n```\n"
    return f"# ns.{name}\n\n{REFERENCE[name]}\n\n{body}" + "\n".join(_module(m) for m in inner)


def modules(name: str, inner: Iterable[str]) -> str:
    """The modules of a package, each with its own names."""
    words = REFERENCE.get(name, "Figures, claims and verbs: what an experiment of your own declares.")
    return f"# ns.{name}\n\n{words}\n\n" + "\n".join(_module(m) for m in inner)


def _module(name: str) -> str:
    return f"## ns.{name}\n\n```{{eval-rst}}\n.. automodule:: nonsingular.{name}\n```\n"


def _link(name: str) -> str:
    value = getattr(ns, name)
    home = ns._NAMES[name].split(".")[0]
    page = {"errors": None, "papers": None}.get(home, home)
    kind = "module" if isinstance(value, types.ModuleType) else "class" if inspect.isclass(value) else "function"
    return f"[{kind}]({page}.md)" if page else kind


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").split("\n")[0]


def command() -> str:
    """The help of the command and of all its commands."""
    import typer
    from typer.testing import CliRunner

    from nonsingular.cli.app import app

    group = typer.main.get_command(app)
    shown = [name for name, c in group.commands.items() if not c.hidden]  # type: ignore[attr-defined]
    texts = {"": _help(CliRunner(), app, [])} | {name: _help(CliRunner(), app, [name]) for name in shown}
    parts = [f"## nonsingular {name}\n\n```text\n{text}\n```\n" for name, text in texts.items() if name]
    return f"# The command\n\n```text\n{texts['']}\n```\n\n" + "\n".join(parts)


def _help(runner: Any, app: Any, arguments: list[str]) -> str:
    text = runner.invoke(app, [*arguments, "--help"], env={"COLUMNS": "96", "TERMINAL_WIDTH": "96"}).output
    return re.sub(r"\s+$", "", text, flags=re.M)


def public() -> Iterator[tuple[str, object]]:
    """Every public class and function: those at the top, of the packages, and of the modules that packages hold."""
    return ((name, value) for name, value in _names() if inspect.isclass(value) or inspect.isroutine(value))


def _names() -> Iterator[tuple[str, object]]:
    for name in ns._NAMES:
        if not inspect.ismodule(getattr(ns, name)):
            yield f"ns.{name}", getattr(ns, name)
    for package_name in REFERENCE:
        holder = getattr(ns, package_name)
        for member in holder.__all__:
            value = getattr(holder, member)
            if inspect.ismodule(value):
                own = {n: v for n, v in vars(value).items() if getattr(v, "__module__", None) == value.__name__}
                yield from ((f"ns.{package_name}.{member}.{n}", v) for n, v in own.items() if not n.startswith("_"))
            else:
                yield f"ns.{package_name}.{member}", value
