"""What a rule is: one statistic, the limit beyond which it is a finding, and what to say then."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nonsingular.diagnosis.records import Layer, Look

FLOAT32_DECADES = 7.0  # of relative precision


@dataclass(frozen=True)
class Rule:
    """One way to find one kind.

    Attributes:
        kind, mechanism, source, treatments, remedy: of the finding; a statistic with a remedy of its own goes before.
        statistic: its number; ``sign`` -1 turns it round, for growth where decay is the other rule's.
        severity: number -> 0 to 1.
        material: below it the number is no finding, however narrow the healthy networks' own range is.
        most: no limit goes beyond it, however much healthy networks vary: shares end at 1.
        detail: what of a layer is shown as evidence: words and measure.
        fact: that is there (1) or not (0): the statistic's own evidence is shown, no limit.
        sure: whether the program itself shows it, so that it comes before whatever is inferred from numbers; by
            default facts are sure.
        remark: further advice from the look, "" where there is none.
        alone: whether it is told where no other finding explains it; what keeps no network from training is not.
    """

    kind: str
    statistic: str
    mechanism: str
    source: str
    treatments: tuple[str, ...] = ()
    severity: Callable[[float], float] = lambda value: min(1.0, value)
    sign: int = 1
    material: float = 0.5
    most: float = math.inf
    detail: tuple[str, Callable[[Layer], float]] | None = None
    remark: Callable[[Look], str] | None = None
    remedy: str = ""
    fact: bool = False
    sure: bool | None = None
    alone: bool = True

    @property
    def certain(self) -> bool:
        """Whether what it finds is shown by the program, and not inferred."""
        return self.fact if self.sure is None else self.sure


def decades(value: float) -> float:
    """Severity of growth or decay: a part of what float32 tells apart."""
    return min(1.0, value / FLOAT32_DECADES)


def share(value: float) -> float:
    """Severity of a share of the network that is lost."""
    return min(1.0, value)


def certain(severity: float) -> Callable[[float], float]:
    """Severity of a fact that is there or not (statistic 1 or 0)."""
    return lambda value: severity
