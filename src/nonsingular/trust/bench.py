"""Many programs judged, and what came of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

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

    def add(self, seed: int, verdict: Verdict, words: str) -> None:
        """One check of one program."""
        self.outcomes[verdict.check][verdict.outcome] += 1
        if verdict.outcome == "refused":
            self.reasons[_kind(verdict.detail)] += 1
        elif verdict.outcome in ("wrong", "crashed"):
            self.faults.append(Fault(seed, verdict.check, verdict.detail, words))

    def to_json(self) -> dict[str, Any]:
        """As ``bench-trust --json`` prints it."""
        return {
            "programs": self.programs, "unusable": self.unusable,
            "outcomes": {check: {o: counted[o] for o in OUTCOMES} for check, counted in self.outcomes.items()},
            "refusals": dict(self.reasons.most_common()), "faults": [asdict(f) for f in self.faults],
        }  # fmt: skip


def bench(seeds: Iterable[int], on_program: Callable[[int], None] = lambda seed: None) -> Tally:
    """Judge the programs of some seeds; ``on_program`` is told of each when it is done.

    Example:
        >>> from nonsingular.trust import bench
        >>> found = bench([0])
        >>> found.programs, found.faults
        (1, [])
    """
    tally = Tally()
    for seed in seeds:
        program = seeded(seed)
        if runs(program):
            tally.programs += 1
            for verdict in judged(program):
                tally.add(seed, verdict, program.words)
        else:
            tally.unusable += 1
        on_program(seed)
    return tally


def _kind(refusal: str) -> str:
    """A refusal without what is particular to the program."""
    plain = re.sub(r"\b(body|head|front)[\w.]*", "NAME", refusal)
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "N", plain)[:120]
