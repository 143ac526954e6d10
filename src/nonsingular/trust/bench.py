"""Many programs judged, and what came of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nonsingular.errors import InputError
from nonsingular.files import write_whole
from nonsingular.trust.checks import CHECKS, Verdict, judged, runs
from nonsingular.trust.programs import seeded

OUTCOMES = ("right", "refused", "beyond", "wrong", "crashed")


@dataclass(frozen=True)
class Fault:
    """A number that is wrong, or an error that is no refusal."""

    seed: int
    check: str
    detail: str
    program: str


@dataclass
class Tally:
    """Of all programs.

    Attributes:
        programs: that were judged.
        unusable: that do not run by themselves: nobody could train them.
        outcomes: check -> outcome -> programs.
        reasons: refusal, without its names and numbers -> how often.
        faults: what is to be mended.
    """

    programs: int = 0
    unusable: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CHECKS})
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def add(self, seed: int, program: str, verdicts: Iterable[Verdict]) -> None:
        """Every check of one program; none of one that does not run by itself."""
        verdicts = list(verdicts)
        self.programs += bool(verdicts)
        self.unusable += not verdicts
        for verdict in verdicts:
            self.outcomes[verdict.check][verdict.outcome] += 1
            if verdict.outcome == "refused":
                self.reasons[_kind(verdict.detail)] += 1
            elif verdict.outcome in ("wrong", "crashed"):
                self.faults.append(Fault(seed, verdict.check, verdict.detail, program))

    def to_json(self) -> dict[str, Any]:
        """As ``bench-trust --json`` prints it."""
        return {
            "programs": self.programs, "unusable": self.unusable,
            "outcomes": {check: {o: counted[o] for o in OUTCOMES} for check, counted in self.outcomes.items()},
            "refusals": dict(self.reasons.most_common()), "faults": [asdict(f) for f in self.faults],
        }  # fmt: skip


def bench(
    seeds: Iterable[int], on_program: Callable[[int], None] = lambda seed: None, keep: Path | None = None
) -> Tally:
    """Judge the programs of some seeds.

    Args:
        seeds: of the programs.
        on_program: told of each when it is done.
        keep: file of a line for each program that was judged: those that it has are not judged again, and several such
            files are one when they are written behind each other.

    Raises:
        InputError: ``keep`` is another file.

    Example:
        >>> from nonsingular.trust import bench
        >>> found = bench([0])
        >>> found.programs, found.faults
        (1, [])
    """
    tally, known = Tally(), {} if keep is None else _kept(keep)
    for seed in seeds:
        if seed not in known:
            known[seed] = _judge(seed)
            if keep is not None:
                with keep.open("a") as file:
                    file.write(json.dumps(known[seed]) + "\n")
        row = known.pop(seed)
        tally.add(seed, row["program"], [Verdict(*verdict) for verdict in row["verdicts"]])
        on_program(seed)
    return tally


def _judge(seed: int) -> dict[str, Any]:
    program = seeded(seed)
    verdicts = judged(program) if runs(program) else []
    return {"seed": seed, "program": program.words, "verdicts": [[v.check, v.outcome, v.detail] for v in verdicts]}


def _kept(path: Path) -> dict[int, dict[str, Any]]:
    """Seed -> what was found of its program; half a line, of a run that was killed, is cut off."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    try:
        rows = {row["seed"]: row for row in map(json.loads, whole.splitlines())}
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} holds no judged programs; name another file") from None
    if whole != text:
        write_whole(path, whole)
    return rows


def _kind(refusal: str) -> str:
    """A refusal without what is particular to the program."""
    plain = re.sub(r"\b(body|head|front)[\w.]*", "NAME", refusal)
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "N", plain)[:120]
