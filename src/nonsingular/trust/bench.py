"""Many programs judged, and what came of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import nonsingular as ns
from nonsingular.errors import InputError
from nonsingular.files import write_whole
from nonsingular.trust.checks import CHECKS, Verdict, judged, runs
from nonsingular.trust.programs import seeded

OUTCOMES = ("right", "refused", "beyond", "wrong", "crashed")
LINE = '{"judged_by": '  # how each line of a kept file begins


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
            files are one when they are written behind each other. Each line names the code that judged.

    Raises:
        InputError: ``keep`` is another file, or other code judged there.

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
        tally.add(seed, row["program"], _verdicts(row))
        on_program(seed)
    return tally


def _judge(seed: int) -> dict[str, Any]:
    program = seeded(seed)
    verdicts = judged(program) if runs(program) else []
    return {
        "judged_by": _code(), "seed": seed, "program": program.words,
        "verdicts": [[v.check, v.outcome, v.detail] for v in verdicts],
    }  # fmt: skip


def _verdicts(row: dict[str, Any]) -> list[Verdict]:
    return [Verdict(*verdict) for verdict in row["verdicts"]]


@cache
def _code() -> str:
    """Versions, and a hash of all of the package: its checks call most of it, and what they call calls the rest."""
    digest, root = hashlib.sha256(), Path(ns.__file__).parent
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".json")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return f"nonsingular {ns.__version__} ({digest.hexdigest()[:16]}), torch {torch.__version__}"


def _kept(path: Path) -> dict[int, dict[str, Any]]:
    """Seed -> what was found of its program; half a line, of a run that was killed, is cut off."""
    try:
        text = path.read_text() if path.exists() else ""
        whole, half = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        rows = {row["seed"]: row for row in map(_row, whole.splitlines())}
    except (ValueError, TypeError, KeyError):
        rows, half = {}, "of another file"
    if not half.startswith(LINE[: len(half)]):
        raise InputError(f"{path} holds no judged programs; name another file")
    for other in {str(row["judged_by"]) for row in rows.values()} - {_code()}:
        raise InputError(f"{path} was judged by {other}, and this is {_code()}; name another file")
    if half:
        write_whole(path, whole)
    return rows


def _row(line: str) -> dict[str, Any]:
    """What a line tells of a program; of this code's lines, all that is to be told."""
    row: dict[str, Any] = json.loads(line)
    if row["judged_by"] == _code():
        Tally().add(row["seed"], row["program"], _verdicts(row))
    return row


def _kind(refusal: str) -> str:
    """A refusal without what is particular to the program."""
    plain = re.sub(r"\b(body|head|front)[\w.]*", "NAME", refusal)
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "N", plain)[:120]
