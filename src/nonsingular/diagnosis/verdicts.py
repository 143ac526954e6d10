"""What four arms say together: a word for their pattern, and where to look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonsingular.diagnosis.course import Arm
from nonsingular.diagnosis.relation import chance_of_relation
from nonsingular.diagnosis.scale import MATERIAL, Scale
from nonsingular.intervals import Effect
from nonsingular.words import counted

if TYPE_CHECKING:
    from nonsingular.diagnosis.learnability import Row

FITS = 0.5
"""Part of what the best constant leaves on one batch that counts as having fitted it."""
UNRELATED = 0.05
"""p-value from where neighbours in the inputs are taken to have targets no more alike than others."""


@dataclass(frozen=True)
class Seen:
    """What a verdict is read from.

    Attributes:
        whole, one, permuted: rows of the arms; None where targets cannot be permuted.
        arm: the untreated one.
        scale: of its losses.
        how: how long it was trained, in words.
        suspected: whether something was found without training.
    """

    whole: Row
    one: Row
    permuted: Row | None
    arm: Arm
    scale: Scale
    how: str
    suspected: bool

    @property
    def told(self) -> str:
        """What all samples teach, in words."""
        return f"{_percent(self.whole.learned.value)} of what {self.scale.what} leaves"

    def permuted_as_well(self, margin: float) -> bool:
        """Whether permuted targets are fitted as well as the true ones, but for a margin."""
        return self.permuted is not None and self.permuted.learned.value > self.whole.learned.value - margin


_Verdict = tuple[str, str] | None


def judged(seen: Seen) -> tuple[str, str]:
    """What the pattern of the rows says, as a word and in words: that of the first rule that holds."""
    rules = (_diverges, _nothing_to_learn, _depends_on_the_start, _memorises, _learns, _stuck, _unrelated)
    return next((found for rule in rules if (found := rule(seen)) is not None), None) or _slow(seen)


def _diverges(seen: Seen) -> _Verdict:
    if not seen.whole.diverged:
        return None
    return "diverges", (
        f"{seen.whole.diverged} of {counted(seen.whole.runs, 'run')} diverged within {seen.how}: the step is too large "
        "for this network, or its numbers overflow. Data and loop are not needed to explain the failure."
    )


def _nothing_to_learn(seen: Seen) -> _Verdict:
    if not seen.scale.trivial:
        return None
    return "nothing to learn", (
        "A constant prediction reaches the smallest possible loss: all targets are alike, or the loss does not "
        "look at them."
    )


def _depends_on_the_start(seen: Seen) -> _Verdict:
    best, worst = seen.whole.best, seen.whole.worst
    if not (best >= FITS and worst < MATERIAL):
        return None
    return "depends on the start", (
        f"Some runs learn ({_percent(best)} of what a constant leaves), others {_percent(worst)}: the "
        "first weights decide. Units that never respond, a clipped readout or a large step are the usual causes."
    )


def _memorises(seen: Seen) -> _Verdict:
    apart = seen.whole.held_out.value
    if not (_at_least(seen.whole.learned, MATERIAL) and math.isfinite(apart) and apart < MATERIAL):
        return None
    where = (
        "Permuted targets are fitted as well: look at how inputs and targets were put together, or bring more samples."
        if seen.permuted_as_well(MATERIAL)
        else "It fits these targets better than permuted ones, so there is something to learn: bring more samples, or "
        "regularise."
    )
    return "memorises", (
        f"{seen.how} take away {seen.told} on training samples and nothing on held-out ones: the network memorises. "
        + where
    )


def _learns(seen: Seen) -> _Verdict:
    if not _at_least(seen.whole.learned, MATERIAL):
        return None
    further = (
        "What was found limits how far, or how fast."
        if seen.suspected
        else "If your own training fails, look at your loop: what the optimiser holds, zero_grad, the mode, the "
        "schedule, and the data it is fed (nonsingular watch)."
    )
    held_out = _percent(seen.whole.held_out.value)
    return "learns", f"It trains here: {seen.how} take away {seen.told} (held out: {held_out}). {further}"


def _stuck(seen: Seen) -> _Verdict:
    one = seen.one
    if not one.diverged and _at_least(one.learned, MATERIAL):
        return None
    away = f"{seen.how} take away {_percent(one.learned.value)} of what a constant leaves"
    if not one.diverged and one.runs > 1 and one.learned.high >= FITS:
        return "stuck", (
            f"Not even one batch is seen to be fitted: {away}, but the runs differ so much that it may be most of "
            "it. More of them (--seeds) and more steps (--steps) tell."
        )
    return "stuck", (
        f"Not even one batch is fitted: {away}. The cause lies in the network, its loss or the optimiser, whose "
        "steps may be too few or too small, not in the data."
    )


def _unrelated(seen: Seen) -> _Verdict:
    if seen.permuted is None or not seen.permuted_as_well(MATERIAL / 2):
        return None
    chance = chance_of_relation([seen.arm.told])
    if not chance > UNRELATED or seen.whole.held_out.value >= MATERIAL:
        return None
    return "unrelated", (
        f"Inputs tell nothing of these targets: within {seen.how} one batch is learnt by heart "
        f"({_percent(seen.one.learned.value)}), all samples ({seen.told}) no better than permuted targets "
        f"({_percent(seen.permuted.learned.value)}), and samples that are alike have targets no more alike than "
        f"others (permutation test, p = {chance:.2f}). "
        "Look at how inputs and targets were put together: shuffled apart, shifted by a row, sorted, or joined "
        "by the wrong key."
    )


def _slow(seen: Seen) -> tuple[str, str]:
    one = seen.one.learned
    if not _at_least(one, FITS):
        return "slow", (
            f"One batch is fitted in part ({_percent(one.value)}), the whole hardly ({seen.told}): the network "
            f"learns slowly under {seen.how}. Look at the step, the scale of inputs and targets, and the network's "
            "signals."
        )
    return "slow", (
        f"One batch can be fitted ({_percent(one.value)}), all samples cannot ({seen.told}) within {seen.how}: inputs "
        "that tell little about the targets, wrongly paired samples, or too few or too small steps."
    )


def _at_least(effect: Effect, size: float) -> bool:
    return effect.value >= size and not effect.low <= 0


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "nothing"
