"""Runs added until every claim is decided, with intervals that stay valid however often one has looked.

With ``n`` runs ``0.015 (1 - 7 / n)`` of the error of 5 % are spent (an alpha-spending function, Lan and DeMets 1983): a
look has what its runs add to that. What all looks spend together, were they endless, is 1.5 %; so the chance that an
interval at any look misses the truth, and with it that any look decides a claim against it, is at most that, however
many looks there are and whatever they depend on. The price is width: intervals of a first look at eight runs are of
99.8 %. Results of fewer than eight runs are shown and decide nothing.

That holds as far as single intervals cover (``intervals``): they are studentised, because runs are skewed, and where
all runs are equal they reach as far as another run could be. What is never spent, more than two thirds, is for what
they miss beyond their own error where runs are skewed and few (``benchmarks/test_intervals.py`` measures it).
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nonsingular.errors import InputError
from nonsingular.files import write_whole
from nonsingular.intervals import ERROR
from nonsingular.words import percentage

FILE = "looks.json"
GROWTH = 1.5
"""Runs at a look, over those of the look before."""
FIRST = 8
"""Runs from which on a look decides, and intervals are studentised: those of fewer miss too often where runs are
skewed."""
SPENT = 0.3 * ERROR
HELD_BACK = 7.0
"""Of ``spent``: runs until which all of the error is held back."""


def spent(runs: int) -> float:
    """The chance of an error that looks at up to so many runs may have together."""
    return SPENT * max(0.0, 1 - HELD_BACK / runs)


@dataclass(frozen=True)
class Looks:
    """When an experiment's claims were looked at while runs were being added.

    Attributes:
        runs: at each look.
        planned: runs of the look that was being prepared; 0 for none.
        cost: seconds that a run took at last; 0 where that is not known.
        stopped: why no more are added; empty while they are.
    """

    runs: tuple[int, ...]
    planned: int = 0
    cost: float = 0.0
    stopped: str = ""

    @property
    def error(self) -> float:
        """What the last look may spend; one that decides nothing has the intervals of the first that does."""
        before = self.runs[-2] if len(self.runs) > 1 else 0
        return spent(max(self.runs[-1], FIRST)) - (spent(before) if before >= FIRST else 0.0)

    def __str__(self) -> str:
        """For the note of a claim."""
        at = ", ".join(map(str, self.runs))
        why = f"; stopped: {self.stopped}" if self.stopped else ""
        return (
            f"look {len(self.runs)} (after {at} {'run' if at == '1' else 'runs'}), an interval of "
            f"{percentage(1 - self.error, 4)}, so that all looks "
            f"together err with at most {percentage(ERROR)}{why}"
        )


def read(folder: Path) -> Looks | None:
    """How the experiment of a folder was looked at; None where its runs were all asked for beforehand.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        runs = tuple(int(n) for n in kept["runs"])
        return Looks(runs, int(kept["planned"]), float(kept["cost"]), str(kept["stopped"])) if runs else None
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is damaged; copy it from where the experiment was run") from None


def write(folder: Path, looks: Looks) -> None:
    """Keep them beside the claims."""
    write_whole(folder / FILE, json.dumps(asdict(looks), indent=2) + "\n")


def note(folder: Path, runs: int, begin: bool) -> None:
    """The claims are looked at now, with so many runs: a look more if there are more runs than at the last.

    Args:
        folder: of the experiment.
        runs: that its results have.
        begin: whether looks are counted from now on; they are anyhow where there were some.
    """
    before = read(folder)
    if before is None and not begin:
        return
    earlier = tuple(n for n in before.runs if n >= FIRST) if before else ()  # fewer decided nothing
    if runs not in earlier:
        write(folder, Looks((*earlier, runs), cost=before.cost if before else 0.0))


@dataclass(frozen=True)
class Found:
    """What a look found.

    Attributes:
        runs: of the results.
        undecided: claims that are neither held nor failed.
        measured: those of them with a number.
        independent: whether the results have independent runs at all.
    """

    runs: int
    undecided: Sequence[str]
    measured: Sequence[str]
    independent: bool = True


def until_decided(
    look: Callable[[int], Found],
    folder: Path,
    runs: int,
    finished: int,
    budget: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look with more and more runs until nothing is undecided or the next run would take longer than what is left.

    Args:
        look: takes a number of runs, runs what is missing of them, and judges.
        folder: in which ``look`` works; what is kept there of earlier looks counts.
        runs: at the first look.
        finished: runs that are there already.
        budget: seconds.
        clock: seconds that have passed.
    """
    end = clock() + budget

    def timed(asked: int, before: int) -> tuple[Found, Looks]:
        began = clock()
        found = look(asked)
        looks = read(folder)
        assert looks is not None
        if found.runs > before:
            looks = replace(looks, cost=(clock() - began) / (found.runs - before))
        return found, looks

    earlier = read(folder)
    planned = earlier.planned if earlier else 0
    found, looks = timed(max(runs, finished), finished)
    while not (reason := _reason(found, looks.cost, end - clock())):
        affordable = int((end - clock()) / looks.cost) if looks.cost else 1  # one, to learn what it costs
        wanted = min(max(planned, FIRST, math.ceil(GROWTH * found.runs)), found.runs + affordable)
        write(folder, replace(looks, planned=wanted))  # a stopped look goes on as it was planned
        planned = 0
        found, looks = timed(wanted, found.runs)
    write(folder, replace(looks, planned=0, stopped=reason))


def _reason(found: Found, cost: float, left: float) -> str:
    """Why to stop, or nothing."""
    if not found.undecided and (found.runs >= FIRST or not found.independent):
        return "every claim is decided"
    if not found.independent:
        return "the results have no independent runs that could be added"
    if not found.measured and found.runs >= FIRST:
        return "what is undecided was not measured, which more runs do not change"
    if left <= cost:
        return "the budget is gone"
    return ""


def seconds(budget: str) -> float:
    """A time such as ``2h``, ``90m``, ``1h30m`` or ``45s``.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", budget.strip())
    total = sum(float(x or 0) * unit for x, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0.0
    if not total > 0:
        raise InputError(f"--budget takes a time such as 2h, 90m or 1h30m, got {budget!r}")
    return total
