"""How numbers, lines, tables and complaints reach the terminal: at any width, no number is cut."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from nonsingular.words import digits

if TYPE_CHECKING:
    from rich.console import Console

PIPED = 120
"""Columns where standard output is no terminal and ``COLUMNS`` is not set."""
_GAP = 2


def console() -> Console:
    """Standard output. Lines that begin with spaces keep that indentation where they are broken."""
    from rich.console import Console
    from rich.text import Text

    class Lines(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            """As rich's, with hanging indentation, and without colouring numbers."""
            if len(objects) == 1 and isinstance(objects[0], str) and objects[0].strip():
                text = objects[0].lstrip("\n")
                super().print("\n" * (len(objects[0]) - len(text)), end="")
                indent = len(text) - len(text.lstrip(" "))
                lines = Text.from_markup(text.lstrip(" ")).wrap(self, max(1, self.width - indent))
                for line in lines:
                    line.rstrip()  # of the space at which it was broken
                objects = (Text("\n").join(Text(" " * indent).append_text(line) for line in lines),)
            super().print(*objects, **{"highlight": False, **options})

    found = Lines()
    return found if found.is_terminal or os.environ.get("COLUMNS", "").isdigit() else Lines(width=PIPED)


def number(value: float | None) -> str:
    """Three digits, whole numbers below a million as they are, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else digits(value)


def in_words(data: Mapping[str, object]) -> str:
    """Whose data were used, as `targets.bring` describes them: ``cifar10, scaling unit``, ``batches() of mine.py``."""
    named = ("name", "batches")
    return ", ".join(str(value) if what in named else f"{what} {value}" for what, value in data.items())


class Column(NamedTuple):
    """A column of `print_table`.

    Attributes:
        heading: its name.
        least: characters to which its text may be broken; 0 for numbers and names, which are never broken.
        right: whether it is set flush right.
    """

    heading: str
    least: int = 0
    right: bool = False


def numbers(*headings: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(heading, right=True) for heading in headings]


def print_table(
    to: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]], parts: bool = False, fold: bool = False
) -> None:
    """A table that fits; cells may have rich's markup.

    Text is broken between words. Where the numbers do not fit beside each other even so, the table falls into parts
    below one another, each with the first column; or every row becomes a paragraph beside its first cell, its first
    text in front.

    Args:
        to: where.
        columns: the first one is what a row is known by.
        rows: cells, as many as columns.
        parts: which of the two.
        fold: three or more rows of a part that say the same, one below another, become one.
    """
    from rich.text import Text

    plain = [[Text.from_markup(row[i]).plain for row in rows] for i in range(len(columns))]
    widths = [_width([c.heading, *cells]) for c, cells in zip(columns, plain, strict=True)]
    unbroken = [_width([*c.heading.split(), *cells]) for c, cells in zip(columns, plain, strict=True)]
    words = [_width([word for cell in cells for word in cell.split()]) for cells in plain]
    least = [
        w if not c.least else max(min(c.least, w), min(longest, to.width // 2))
        for c, w, longest in zip(columns, unbroken, words, strict=True)
    ]
    if sum(least) + _GAP * (len(columns) - 1) <= to.width:
        _print_grid(to, columns, rows, _shared(least, widths, to.width - _GAP * (len(columns) - 1)))
    elif parts:
        first = min(least[0], to.width // 2)
        for chosen in _parts(least[1:], to.width - first):
            some = [0, *(i + 1 for i in chosen)]
            shown = [[row[i] for i in some] for row in rows]
            shown = _folded(shown) if fold else shown
            rest = [min(least[i], to.width - first - _GAP) for i in some[1:]]
            names = _width([Text.from_markup(row[0]).plain for row in shown])
            width = [max(first, min(names, to.width - sum(rest) - _GAP * len(rest))), *rest]
            _print_grid(to, [columns[i] for i in some], shown, width)
    else:
        _print_paragraphs(to, columns, rows, min(widths[0], to.width // 3))


def _folded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Three or more rows of equal cells, but for the first, as one: from where to where, and how many."""
    told: list[list[str]] = []
    for cells, group in itertools.groupby(rows, key=lambda row: list(row[1:])):
        names = [row[0] for row in group]
        if len(names) > 2:
            names = [f"{names[0]} to {names[-1]} ({len(names)})"]
        told += [[name, *cells] for name in names]
    return told


def _width(cells: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max((cell_len(line) for cell in cells for line in cell.split("\n")), default=0)


def _shared(least: Sequence[int], most: Sequence[int], width: int) -> list[int]:
    """Widths between the least and the most, the room that is left shared out evenly."""
    widths = list(least)
    for _ in range(max(0, min(width, sum(most)) - sum(widths))):
        room = [i for i in range(len(widths)) if widths[i] < most[i]]
        widths[min(room, key=lambda i: widths[i])] += 1
    return widths


def _parts(widths: Sequence[int], available: int) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    used = 0
    for i, width in enumerate(widths):
        if parts[-1] and used + width + _GAP > available:
            parts.append([])
            used = 0
        parts[-1].append(i)
        used += width + _GAP
    return parts


def _print_grid(
    to: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], head: bool = True
) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if head else None, show_header=head, show_edge=False, pad_edge=False,
                  padding=(0, _GAP - 1 if head else _GAP, 0, 0))  # fmt: skip
    for column, width in zip(columns, widths, strict=True):
        justify = "right" if column.right else "left"
        table.add_column(column.heading, width=width, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    to.print(table)
    to.print()


def _print_paragraphs(to: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]], first: int) -> None:
    lead = next((i for i, column in enumerate(columns) if i and column.least), None)
    told = []
    for row in rows:
        rest = [f"[dim]{c.heading}:[/] {row[i]}" for i, c in enumerate(columns) if i not in (0, lead) and row[i]]
        told.append([row[0], "\n".join(filter(None, [row[lead] if lead else "", "; ".join(rest)]))])
    _print_grid(to, [columns[0], Column("", least=1)], told, [first, to.width - first - _GAP], head=False)


@contextmanager
def telling_of_folders(file: Path | None) -> Iterator[None]:
    """What writes ``file`` makes the folders above it: that there is a new one is told, a name may be mistyped."""
    new = file is not None and not file.parent.exists()
    yield
    if new and file is not None:
        complain(f"made the folder {file.parent}")


def complain(message: str, status: int = 0) -> int:
    """One line on standard error; gives the status back."""
    typer.echo(f"nonsingular: {' '.join(message.split())}", err=True)
    return status
