"""What is wrong, how bad it is, why, and what may help: one small rule a kind, held against healthy networks.

A rule compares one statistic (``statistics.py``) with the limit that healthy networks set (``healthy.py``). The
severity says how much of the network is lost: a share of units or parameters as it is, decades of growth or decay as
parts of the seven that float32 can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nonsingular.diagnosis.healthy import Limit
from nonsingular.diagnosis.look import Layer, Look
from nonsingular.diagnosis.statistics import Statistic

FLOAT32_DECADES = 7.0  # of relative precision


@dataclass(frozen=True)
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
        }


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Attributes:
        kind, mechanism, source, treatments: of the finding.
        statistic: its number; ``sign`` -1 turns it round, for growth where decay is the other rule's.
        severity: number -> 0 to 1.
        detail: what of a layer is shown as evidence: words and measure.
        needs: a further condition.
    """

    kind: str
    statistic: str
    mechanism: str
    source: str
    treatments: tuple[str, ...]
    severity: Callable[[float], float]
    sign: int = 1
    detail: tuple[str, Callable[[Layer], float]] | None = None
    needs: Callable[[Mapping[str, Statistic]], bool] = field(default=lambda s: True)


def _decades(value: float) -> float:
    return min(1.0, value / FLOAT32_DECADES)


def _share(value: float) -> float:
    return min(1.0, value)


SPREAD = ("spread over samples", lambda layer: layer.spread)
GRADIENT = ("gradient norm", lambda layer: layer.gradient)

RULES = (
    Rule(
        "exploding-signal", "overflow",
        "Some layer's numbers leave the range of floating point; nothing behind it can be computed.",
        "He et al. 2015, section 2.2; li2018, gradient identity",
        ("reinitialise", "insert_normalisation", "rescale_input", "shrink_branches"), lambda v: 1.0,
    ),
    Rule(
        "identical-features", "copies",
        "Units with the same incoming and outgoing weights get the same gradient, so they stay the same for ever and "
        "the layer is as wide as the number of different units.",
        "blumenfeld2020, section 2 and figure 1",
        ("break_symmetry", "reinitialise"), lambda v: 1 - 1 / v,
        detail=("different units, share", lambda layer: layer.distinct),
    ),
    Rule(
        "eliminated-units", "eliminated",
        "A unit without incoming weights is at an elimination singularity: its response is constant, the loss does not "
        "depend on its outgoing weights, and no gradient leads away from there.",
        "orhan2018, section 2.1",
        ("revive_units", "add_skips", "reinitialise"), _share,
        detail=("share of units eliminated", lambda layer: layer.eliminated),
    ),
    Rule(
        "dead-units", "dead",
        "A rectified unit whose input is negative for every sample passes neither signal nor gradient, so nothing it "
        "is made of will change.",
        "orhan2018, section 2.7 and figure 7b (zero responses)",
        ("reset_biases", "insert_normalisation", "reinitialise", "add_skips"), _share,
        detail=("share of units dead", lambda layer: layer.dead),
    ),
    Rule(
        "saturated-units", "saturated",
        "At the bounds of tanh or sigmoid the slope is zero: the response says little and no gradient passes.",
        "Glorot and Bengio 2010, section 3",
        ("reinitialise", "insert_normalisation", "rescale_input"), _share,
        detail=("share of responses at a bound", lambda layer: layer.saturated),
    ),
    Rule(
        "overlap", "twins",
        "Two units with the same incoming weights are at an overlap singularity: only the sum of their outgoing "
        "weights matters, and the difference has no gradient.",
        "orhan2018, section 2.1 and figure 4d",
        ("break_symmetry", "add_skips", "reinitialise"), lambda v: v / 2,
        detail=("different units, share", lambda layer: layer.distinct),
    ),
    Rule(
        "linear-dependence", "missing-rank",
        "Incoming weights that are linearly dependent leave directions of the layer's output unused, and along the "
        "combinations of outgoing weights that cancel the loss is flat.",
        "orhan2018, section 2.1 and figure 4e",
        ("reinitialise", "add_skips", "break_symmetry"), _share,
        detail=("missing directions, share", lambda layer: layer.missing_rank),
    ),
    Rule(
        "vanishing-signal", "signal-decades",
        "What tells samples apart shrinks from layer to layer, so the last layers see nearly the same input for every "
        "sample and have nothing to learn from.",
        "blumenfeld2020, section 3; Schoenholz et al. 2017",
        ("add_skips", "insert_normalisation", "reinitialise"), _decades, sign=-1, detail=SPREAD,
    ),
    Rule(
        "vanishing-signal", "blind",
        "All samples look alike behind these layers: their mean has outgrown what tells them apart.",
        "blumenfeld2020, section 3; Schoenholz et al. 2017",
        ("add_skips", "insert_normalisation", "reinitialise"), _decades, detail=SPREAD,
    ),
    Rule(
        "exploding-signal", "signal-decades",
        "Every layer, or every residual sum, makes the signal larger: the outputs are huge before anything is learnt "
        "and a small step of an early weight changes them by more than the loss can follow.",
        "He et al. 2015, section 2.2; blumenfeld2020, section 3 (Fixup)",
        ("reinitialise", "insert_normalisation", "shrink_branches"), _decades, detail=SPREAD,
    ),
    Rule(
        "vanishing-gradient", "gradient-decades",
        "The gradient shrinks on its way back, so early layers hardly move while late ones fit what those pass on.",
        "orhan2018, section 2.8 and figure 6; li2018, gradient identity",
        ("add_skips", "insert_normalisation", "reinitialise"), _decades, detail=GRADIENT,
    ),
    Rule(
        "exploding-gradient", "gradient-decades",
        "The gradient grows on its way back: a step that suits the last layers throws the first ones far off.",
        "li2018, gradient identity; Yang et al. 2019 (batch normalisation without skips)",
        ("add_skips", "reinitialise", "insert_normalisation"), _decades, sign=-1, detail=GRADIENT,
    ),
    Rule(
        "singular-representation", "collapse",
        "The hidden representation has fewer directions than the targets need: no readout can tell the classes apart.",
        "oyedotun2021, figures 5 to 8",
        ("add_skips", "insert_normalisation", "reinitialise"), lambda v: min(1.0, 1 - 10**-v),
        detail=("directions", lambda layer: layer.directions),
    ),
    Rule(
        "saturated-output", "output",
        "The softmax is sure of itself before anything is learnt: the loss is far above that of equal odds, and "
        "training first has to undo it.",
        "orhan2018, protocol (the scale of the inputs decides); Glorot and Bengio 2010",
        ("rescale_input", "zero_readout", "insert_normalisation"), lambda v: min(1.0, v / 2),
    ),
    Rule(
        "saturated-output", "output-scale",
        "The outputs spread far beyond the targets before anything is learnt: the squared error and its gradient are "
        "huge, and training first has to shrink them.",
        "orhan2018, protocol (the scale of the inputs decides); LeCun et al. 1998, section 4.3",
        ("rescale_input", "zero_readout", "insert_normalisation"), lambda v: min(1.0, v / 2),
    ),
    Rule(
        "untrained-parameters", "untrained",
        "No gradient reaches these parameters (frozen, detached, unused, or behind something dead): they stay as they "
        "are.",
        "orhan2018, section 2.1 (flat directions)",
        ("unfreeze",), _share,
    ),
    Rule(
        "degenerate-curvature", "flat",
        "Nearly all directions of the loss are flat: gradients there are small and steps lead nowhere.",
        "orhan2018, section 2.3 and figure 3",
        ("add_skips", "bias_targets", "insert_normalisation"), _share,
    ),
)  # fmt: skip

EXPLAINS = {
    "identical-features": (
        "overlap", "linear-dependence", "singular-representation", "untrained-parameters", "degenerate-curvature",
        "vanishing-gradient", "dead-units",
    ),
    "overlap": ("linear-dependence", "singular-representation"),
    "linear-dependence": ("singular-representation",),
    "eliminated-units": (
        "dead-units", "vanishing-signal", "vanishing-gradient", "untrained-parameters", "singular-representation",
        "linear-dependence",
    ),
    "dead-units": ("vanishing-signal", "vanishing-gradient", "untrained-parameters", "singular-representation"),
    "saturated-units": ("vanishing-gradient", "singular-representation"),
    "vanishing-signal": (
        "vanishing-gradient", "singular-representation", "untrained-parameters", "degenerate-curvature", "dead-units",
    ),
    "exploding-signal": (
        "exploding-gradient", "saturated-output", "saturated-units", "singular-representation", "dead-units",
    ),
    "vanishing-gradient": ("degenerate-curvature", "singular-representation", "untrained-parameters", "dead-units"),
    "exploding-gradient": ("singular-representation",),
    "singular-representation": ("degenerate-curvature",),
}  # fmt: skip
"""Which kinds bring which others along. The first in the order of severity is taken for the cause."""


def findings(look: Look, numbers: Mapping[str, Statistic], limits: Mapping[str, Limit]) -> list[Finding]:
    """Everything that healthy networks do not show, worst first.

    Args:
        look: what was measured.
        numbers: its statistics.
        limits: of healthy networks.
    """
    found: list[Finding] = []
    for rule in RULES:
        statistic, limit = numbers.get(rule.statistic), limits.get(rule.statistic)
        if statistic is None or limit is None or math.isnan(statistic.value):
            continue
        edge = limit.high if rule.sign > 0 else -limit.low
        value = rule.sign * statistic.value
        if value > edge and all(f.kind != rule.kind for f in found):
            found.append(_finding(rule, statistic, value, edge, look))
    dead = next((f for f in found if f.kind == "dead-units"), None)
    if dead is None:
        return _ranked(found)
    # Dead units take the signal away, and where the signal is gone units are dead: what came first is the cause.
    others = ("vanishing-signal", "vanishing-gradient", "exploding-signal")
    gone = _signal_gone(look, dead.layers)
    return _ranked(found, but=[(dead.kind, kind) if gone else (kind, dead.kind) for kind in others])


def _signal_gone(look: Look, dead: Sequence[str]) -> bool:
    """Whether nine tenths of what tells samples apart are lost before the first layer of dead units.

    Where samples look alike, a unit responds to all of them or to none: then dead units are no cause.
    """
    first = next((i for i, layer in enumerate(look.layers) if layer.name in dead), 0)
    return first > 0 and look.layers[first - 1].spread < 0.1 * look.layers[0].spread


def _finding(rule: Rule, statistic: Statistic, value: float, edge: float, look: Look) -> Finding:
    evidence: list[dict[str, Any]] = [{"measure": statistic.words, "value": value, "healthy": edge}]
    by_name = {layer.name: layer for layer in look.layers}
    if rule.detail is not None:
        words, measure = rule.detail
        shown = [name for name in statistic.layers if name in by_name]
        for name in dict.fromkeys([*shown[:1], *shown[-1:]] if len(shown) > 4 else shown):
            evidence += [{"measure": words, "layer": name, "value": measure(by_name[name])}]
    return Finding(
        rule.kind, rule.severity(value), statistic.layers, tuple(evidence), rule.mechanism, rule.source,
        rule.treatments, remark=_remark(rule, look),
    )  # fmt: skip


def _remark(rule: Rule, look: Look) -> str:
    if rule.kind == "saturated-output" and look.input_norm > 10:
        return f"The inputs' root mean square is {look.input_norm:.3g}: scale them to about 1."
    if rule.kind == "untrained-parameters":
        frozen, unused, zero = (
            [p.name for p in look.parameters if getattr(p, what)] for what in ("frozen", "unused", "zero_gradient")
        )
        words = [
            f"{word}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for word, names in (("frozen", frozen), ("not used by the loss", unused), ("zero gradient", zero))
            if names
        ]
        return "; ".join(words) + ". Frozen parameters are right where they were trained before."
    if rule.kind in ("vanishing-signal", "vanishing-gradient", "exploding-gradient"):
        plain = sum(layer.bypassed is False for layer in look.layers)
        killers = [n for n, (before, after, _) in look.norms.items() if after < 1e-4 * before]
        if killers:
            return (
                f"Normalisation {killers[0]} removes what tells samples apart: it has too few values to normalise over."
            )
        return f"{plain} of {len(look.layers)} layers have no connection that leads around them."
    return ""


def _ranked(found: Sequence[Finding], but: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """Worst first; what another finding explains, unless that is far milder, comes behind it.

    Args:
        found: in any order.
        but: pairs of kinds of which the first does not explain the second here.
    """
    order = sorted(found, key=lambda f: -f.severity)
    causes = {f.kind: cause for f in order if (cause := _cause(f, order, but)) is not None}
    ranked = [
        f if f.kind not in causes
        else replace(f, because=causes[f.kind].kind, severity=min(f.severity, 0.9 * causes[f.kind].severity) / 2)
        for f in order
    ]  # fmt: skip
    return sorted(ranked, key=lambda f: -f.severity)


def _cause(finding: Finding, order: Sequence[Finding], but: Sequence[tuple[str, str]]) -> Finding | None:
    """The worst finding that explains this one, unless this one explains it and is worse; roots come first."""

    def explains(a: Finding, b: Finding) -> bool:
        return (a.kind, b.kind) not in but and b.kind in EXPLAINS.get(a.kind, ())

    causes = [
        f for f in order
        if explains(f, finding) and f.severity >= finding.severity / 3
        and not (explains(finding, f) and order.index(finding) < order.index(f))
    ]  # fmt: skip
    roots = [f for f in causes if not any(explains(other, f) for other in causes if other is not f)]
    return next(iter(roots or causes), None)
