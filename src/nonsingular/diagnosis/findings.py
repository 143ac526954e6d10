"""What is wrong, how bad it is, why, and what may help: one small rule a kind, held against healthy networks.

A rule (``rules``) compares one statistic with the limit that healthy networks set (``healthy.py``), whether the
statistic comes from a look at the network (``statistics.py``), from its contract with loss and data, or from its loop.
The severity says how much is lost: a share of units or parameters as it is, decades of growth or decay as parts of the
seven that float32 can tell apart, a certain mistake by what it costs.

What the program itself shows (a loss that takes logits and gets probabilities, a gradient that is never cleared) comes
before what is inferred from numbers (a signal that vanishes, steps that look too large): the first may bring about the
second, never the other way round.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nonsingular.diagnosis.healthy import Limit
from nonsingular.diagnosis.records import TRAINS, Look, Statistic
from nonsingular.diagnosis.rules import EXPLAINS, RULES, Rule, contract, loop, network
from nonsingular.diagnosis.statistics import resolved

NETWORK = {rule.kind for rule in network.RULES}


def named(layers: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(layers[:most]) + more


@dataclass(frozen=True, repr=False)
class Finding:
    """Something that healthy networks do not show.

    Attributes:
        kind: as in the contract of ``nonsingular diagnose --json``.
        severity: 0 to 1.
        layers: where, in the order of the forward pass.
        evidence: numbers: each with ``measure`` (words), ``value``, ``healthy`` (the limit) and perhaps ``layer``.
        mechanism: why it hurts, in one sentence.
        source: paper and section.
        treatments: names in ``ns.treatments`` that may help, best first.
        because: kind of another finding that explains this one; "" where none does.
        remark: further advice in a sentence, or "".
        where: a parameter, an operation or ``file:line``, where that says more than the layers; or "".
        remedy: what to change in the program, in a sentence, or "".
        certain: whether the program itself shows it; else it is inferred from numbers.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Softmax(-1))
    >>> batch = torch.randn(60, 6), torch.arange(60) % 3
    >>> found = ns.diagnose(model, torch.nn.functional.cross_entropy, [batch])
    >>> found.findings[0].kind
    'probabilities-as-logits'
    """

    kind: str
    severity: float
    layers: tuple[str, ...]
    evidence: tuple[Mapping[str, Any], ...]
    mechanism: str
    source: str
    treatments: tuple[str, ...]
    because: str = ""
    remark: str = ""
    where: str = ""
    remedy: str = ""
    certain: bool = False

    def __repr__(self) -> str:
        """In short, as lists show it."""
        return f"<{self.kind} {self.severity:.2f}{f' at {self.place}' if self.place else ''}: {self.advice}>"

    def __str__(self) -> str:
        """What, where, why, and what to change."""
        place = f" ({self.place})" if self.place else ""
        return f"{self.kind}{place}: {self.mechanism} {self.remedy}".strip()

    @property
    def place(self) -> str:
        """The line, else the first layers; "" where neither is known."""
        return self.where or named(self.layers)

    @property
    def advice(self) -> str:
        """What to change; where only treatments are known, their names."""
        return self.remedy or (f"try {', '.join(self.treatments[:2])}" if self.treatments else self.mechanism)

    def to_json(self) -> dict[str, Any]:
        """Plain values, infinities and NaN as null."""

        def plain(x: Any) -> Any:
            return None if isinstance(x, float) and not math.isfinite(x) else x

        return {
            "kind": self.kind,
            "severity": self.severity,
            "layers": list(self.layers),
            "evidence": [{k: plain(v) for k, v in e.items()} for e in self.evidence],
            "mechanism": self.mechanism,
            "source": self.source,
            "treatments": list(self.treatments),
            "because": self.because,
            "remark": self.remark,
            "where": self.where,
            "remedy": self.remedy,
            "certain": self.certain,
        }


def findings(numbers: Mapping[str, Statistic], limits: Mapping[str, Limit], look: Look | None = None) -> list[Finding]:
    """Everything that healthy networks do not show, certain and worst first; of each kind the first.

    Args:
        numbers: statistics of a look, a contract, a loop, or several of them.
        limits: of healthy networks.
        look: at the network before a loop's first step, where there was one: its layers give evidence, and nothing that
            it shows comes of the loop.
    """
    found: dict[str, Finding] = {}
    judged: dict[str, Statistic] = {}
    from_loop: set[str] = set()
    trains = TRAINS in numbers and numbers[TRAINS].value == 1
    for rule in RULES:
        if trains and rule in network.RULES:
            continue  # what would keep a network from training does not
        statistic, limit = numbers.get(rule.statistic), limits.get(rule.statistic)
        if statistic is None or limit is None or math.isnan(statistic.value):
            continue
        edge = limit.high if rule.sign > 0 else -limit.low
        value = rule.sign * statistic.value
        if value > edge:
            one = _finding(rule, statistic, value, edge, look)
            if rule.kind not in found or _first(one) < _first(found[rule.kind]):
                found[rule.kind], judged[rule.kind] = one, statistic
                (from_loop.add if rule in loop.RULES else from_loop.discard)(rule.kind)
    settled = _settled(sorted(found.values(), key=_first), judged)
    for kind, by in settled.items():
        found[kind] = replace(found[kind], remedy=found[by].remedy, treatments=found[by].treatments)
    if _blown_up(judged, numbers):
        cause, effect = found["exploding-signal"], found["saturated-output"]
        worst, remedy = max(cause.severity, effect.severity), cause.remedy or effect.remedy
        found[cause.kind] = replace(cause, severity=worst, remedy=remedy)  # growth is as bad as what it ends in
        settled[effect.kind] = cause.kind
    if look is None:
        return _ranked(list(found.values()), settled=settled)
    later = [(kind, other) for kind in found if kind in from_loop for other in NETWORK]
    later += [(kind, other) for kind in contract.BEHIND for other in NETWORK.difference(contract.OF_THE_LOSS)]
    # Nor does what is mild at the start explain what the loop does.
    later += [(a, b) for a in NETWORK for b in from_loop if a in found and 2 * found[a].severity < found[b].severity]
    dead = found.get("dead-units")
    if dead is None:
        return _ranked(list(found.values()), later, settled)
    # Dead units take the signal away, and where the signal is gone units are dead: what came first is the cause.
    others = ("vanishing-signal", "vanishing-gradient", "exploding-signal")
    gone = _signal_gone(look, dead.layers)
    later += [(dead.kind, kind) if gone else (kind, dead.kind) for kind in others]
    return _ranked(list(found.values()), later, settled)


def _settled(order: Sequence[Finding], judged: Mapping[str, Statistic]) -> dict[str, str]:
    """Kind -> the kind whose remedy takes out the operation that both are about: what is gone need not be mended."""
    settled: dict[str, str] = {}
    for by in order:
        cause = judged[by.kind]
        if not (cause.of and cause.takes_out) or by.kind in settled:
            continue
        same = [f.kind for f in order if f is not by and judged[f.kind].of == cause.of]
        settled |= {kind: by.kind for kind in same if kind not in settled and kind not in settled.values()}
    return settled


def _blown_up(judged: Mapping[str, Statistic], numbers: Mapping[str, Statistic]) -> bool:
    """Whether outputs are too large by no more decades than the signal grows on its way to them."""
    signal, output = judged.get("exploding-signal"), judged.get("saturated-output")
    if signal is None or signal is not numbers.get("signal-decades"):
        return False
    of_outputs = output is not None and any(output is numbers.get(name) for name in ("output", "output-scale"))
    return of_outputs and output is not None and signal.value >= output.value


def _signal_gone(look: Look, dead: Sequence[str]) -> bool:
    """Whether samples look alike in the dead layers, or dead units account for less than half of the spread's fall.

    Where samples look alike, a unit responds to all of them or to none: then dead units are no cause. A share d of dead
    units takes away a share d of the spread's square.
    """
    first = next((layer for layer in look.layers if layer.name in dead), None)
    if first is not None and 0 < first.spread < 0.1 * first.signal:
        return True
    if any(layer.spread == 0 for layer in look.layers):
        return False  # a layer that is dead altogether explains all
    # Below the floor of rounding the spread falls no further, and whether a unit is dead is chance.
    seen = list(itertools.takewhile(resolved, look.layers))
    if len(seen) < 2:
        return True
    fall = math.log10(max(seen[0].spread, seen[1].spread) / seen[-1].spread)
    taken = sum(-0.5 * math.log10(1 - min(layer.dead, 1 - 1e-9)) for layer in seen if layer.dead > 0)
    return fall > 1 and taken < fall / 2


def _finding(rule: Rule, statistic: Statistic, value: float, edge: float, look: Look | None) -> Finding:
    measured: Mapping[str, Any] = {"measure": statistic.words, "value": value, "healthy": edge}
    evidence = list(statistic.evidence) if rule.fact else [measured, *statistic.evidence]
    by_name = {layer.name: layer for layer in look.layers} if look is not None else {}
    if rule.detail is not None:
        words, measure = rule.detail
        shown = [name for name in statistic.layers if name in by_name]
        for name in dict.fromkeys([*shown[:1], *shown[-1:]] if len(shown) > 4 else shown):
            evidence += [{"measure": words, "layer": name, "value": measure(by_name[name])}]
    return Finding(
        rule.kind, rule.severity(value), statistic.layers, tuple(evidence), rule.mechanism, rule.source,
        network.treatments_for(rule, look),
        remark=rule.remark(look) if rule.remark is not None and look is not None else "",
        where=statistic.where, remedy=statistic.remedy or rule.remedy, certain=rule.certain,
    )  # fmt: skip


def _first(finding: Finding) -> tuple[bool, float]:
    """Sorts what is certain, unless it is a trifle, before what is inferred; the worst first of each."""
    return not (finding.certain and finding.severity >= TRIFLE), -finding.severity


TRIFLE = 0.2  # of a severity
CONSEQUENCES = {rule.kind for rule in RULES} - {rule.kind for rule in RULES if rule.alone}
"""Kinds that are told beside what brings them about, and not by themselves."""


def _ranked(
    found: Sequence[Finding], but: Sequence[tuple[str, str]] = (), settled: Mapping[str, str] | None = None
) -> list[Finding]:
    """Certain and worst first; what another finding explains, unless that is far milder, comes behind it.

    Args:
        found: in any order.
        but: pairs of kinds of which the first does not explain the second here.
        settled: kind -> the kind that explains it here, whatever is true elsewhere.
    """
    order = sorted(found, key=_first)
    causes = {f.kind: cause for f in order if (cause := _cause(f, order, but)) is not None}
    causes |= {kind: next(f for f in order if f.kind == by) for kind, by in (settled or {}).items()}
    ranked = [
        f if f.kind not in causes
        else replace(f, because=causes[f.kind].kind, severity=min(f.severity, 0.9 * causes[f.kind].severity) / 2)
        for f in order
    ]  # fmt: skip
    return sorted((f for f in ranked if f.because or f.kind not in CONSEQUENCES), key=_first)


def _cause(finding: Finding, order: Sequence[Finding], but: Sequence[tuple[str, str]]) -> Finding | None:
    """The worst finding that explains this one, unless this one explains it and is worse; roots come first."""

    def explains(a: Finding, b: Finding) -> bool:
        if (a.kind, b.kind) in but or (b.certain and not a.certain):
            return False
        return b.kind in EXPLAINS.get(a.kind, ()) or (a.certain and not b.certain and b.kind in NETWORK)

    causes = [
        f for f in order
        if explains(f, finding) and (f.severity >= finding.severity / 3 or (f.certain and f.severity >= TRIFLE))
        and not (explains(finding, f) and order.index(finding) < order.index(f))
    ]  # fmt: skip
    roots = [f for f in causes if not any(explains(other, f) for other in causes if other is not f)]
    return next(iter(roots or causes), None)
