"""What can be learned here, and what from: one batch, alike inputs and permuted targets against a constant prediction.

Four arms of the same network, loss and optimiser. Their pattern separates the data, the network with its loss and
optimiser, and the loop around them, which is not run here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nonsingular.diagnosis.course import Arm, Curve, Enough, Protocol, never, run, with_inputs, with_targets
from nonsingular.diagnosis.racing import complete, stopped_at, told_of, why
from nonsingular.diagnosis.scale import MATERIAL, Scale, held_out_scale, scaled
from nonsingular.diagnosis.verdicts import Seen, judged
from nonsingular.files import plain
from nonsingular.intervals import Effect, mean
from nonsingular.words import counted

FEW = 3
"""Runs of the arms that are only there to be compared with."""

AS_IT_IS, ONE_BATCH, ALIKE, PERMUTED = "untreated", "one batch", "inputs alike", "targets permuted"

NOTHING = 0.01
"""Part of what the best constant leaves that is nothing to speak of, where no more than that is left to learn."""
REASONS = {
    ONE_BATCH: "all of it is learned",
    ALIKE: "no more can be learned",
    PERMUTED: "by then nearly as good as untreated copies at their end",
}
"""Why the arms that are only there to be compared are left before their end."""


@dataclass(frozen=True)
class Row:
    """One arm.

    Attributes:
        arm: ``untreated``, ``one batch``, ``inputs alike`` or ``targets permuted``.
        what: what was trained on, in words.
        first, loss: mean loss before and after.
        learned: part of what the best constant leaves, mean over runs, with its interval; at most 1.
        best, worst: the same of the best and the worst run.
        held_out: the same of samples that were not trained on; NaN where there are none.
        diverged, runs: how many runs ended without a finite loss, of how many.
        stopped: the step at which an arm was left, because it had told what it is there for: all of the above is of
            that step, and intervals hold for all looks that were taken. None: it was trained to its end.
    """

    arm: str
    what: str
    first: float
    loss: float
    learned: Effect
    best: float
    worst: float
    held_out: Effect
    diverged: int
    runs: int
    stopped: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, what is not finite as null."""
        return {
            "arm": self.arm, "what": self.what, "first_loss": plain(self.first), "loss": plain(self.loss),
            "learned": numbers(self.learned), "best": plain(self.best), "worst": plain(self.worst),
            "held_out": numbers(self.held_out), "diverged": self.diverged, "runs": self.runs,
            "stopped": self.stopped,
        }  # fmt: skip


@dataclass(frozen=True)
class Learnability:
    """What the arms say together.

    Attributes:
        constant: loss of the best constant prediction.
        constant_is: in words, what that is.
        rows: one an arm.
        verdict: ``learns``, ``memorises``, ``unrelated``, ``slow``, ``stuck``, ``depends on the start``, ``diverges``
            or ``nothing to learn``.
        words: what that means, and where to look.

    >>> import torch
    >>> import nonsingular as ns
    >>> random = torch.manual_seed(0)
    >>> inputs = torch.randn(200, 6)
    >>> batch, loss_fn = (inputs, (inputs[:, 0] > 0).long()), torch.nn.functional.cross_entropy
    >>> protocol = ns.diagnosis.Protocol(learning_rate=0.1)
    >>> found = ns.diagnose(torch.nn.Linear(6, 2), loss_fn, [batch], steps=60, protocol=protocol)
    >>> found.learns.verdict
    'learns'
    """

    constant: float
    constant_is: str
    rows: tuple[Row, ...]
    verdict: str
    words: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "verdict": self.verdict, "words": self.words, "constant_loss": plain(self.constant),
            "constant_is": self.constant_is, "rows": [r.to_json() for r in self.rows],
        }  # fmt: skip


def percent(share: float) -> str:
    """A share as it is shown, or a dash; below 10 % with a decimal, so that differences are those of what is shown."""
    return f"{_rounded(100 * share)} %" if math.isfinite(share) else "–"


def points(share: float) -> str:
    """A difference of shares in percentage points as it is shown, likewise, or a dash."""
    return _rounded(100 * share, "+") if math.isfinite(share) else "–"


def _rounded(value: float, sign: str = "") -> str:
    digits = 1 if 0.05 <= abs(value) < 9.95 else 0
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def numbers(e: Effect) -> dict[str, Any]:
    """An effect as JSON has it."""
    return {"value": plain(e.value), "interval": [plain(e.low), plain(e.high)], "runs": e.runs}


def learnability(
    arm: Arm,
    protocol: Protocol,
    kept: MutableMapping[str, Curve],
    on_run: Callable[[str], None] = lambda name: None,
    suspected: bool = False,
) -> tuple[Learnability, Scale]:
    """Train the four arms.

    Args:
        arm: the untreated one.
        protocol: how to train.
        kept: curves of arms trained before, which are not trained again; new ones are added.
        on_run: called with each arm that has been trained, and what it learned, in words.
        suspected: whether something wrong was found without training.
    """
    arms = four(arm, protocol)
    for name, (changed, _) in arms.items():
        if name not in kept:
            enough = never if name == AS_IT_IS else _told(name, changed, arm, kept[AS_IT_IS])
            kept[name] = run(changed, protocol, enough)
        reached = scaled(changed, [kept[name]], kept.get(ALIKE)).learned(kept[name].loss)
        on_run(f"{name}: learned {percent(mean(reached).value)}")
    seen = [kept[name] for name in arms]
    scale = scaled(arm, seen, kept.get(ALIKE))
    apart = held_out_scale(arm, scale, kept.get(ALIKE))
    # Each arm has targets of its own on the samples that its loss is told of, and so a best constant of its own.
    scales = {
        name: scale if changed is arm else scaled(changed, seen, kept.get(ALIKE)) for name, (changed, _) in arms.items()
    }
    rows = tuple(
        row(name, what, kept[name], scales[name], apart if name in (AS_IT_IS, PERMUTED) else None, protocol.steps)
        for name, (_, what) in arms.items()
    )
    by = {r.arm: r for r in rows}
    how = f"{counted(protocol.steps, 'step')} of {arm.steps}"
    verdict, words = judged(Seen(by[AS_IT_IS], by[ONE_BATCH], by.get(PERMUTED), arm, scale, how, suspected))
    return Learnability(scale.constant, scale.what, rows, verdict, words), scale


def _told(name: str, changed: Arm, arm: Arm, before: Curve) -> Enough:
    """When an arm that is only there to be compared with the untreated one has told what it is there for.

    No verdict hangs on how much more it would learn (``judged``): of one batch whether it is fitted, of alike inputs
    nothing, and of permuted targets whether they are learned nearly as well as the true ones in the end.
    """
    scale = scaled(changed, [before])
    if name == PERMUTED:
        untreated = mean(scaled(arm, [before]).learned(before.loss)).value
        # NaN, of copies that diverged, stays it; of those that got worse, not to get worse is more than they did.
        return complete(before, max(untreated, -MATERIAL) - MATERIAL / 4, scale)
    return complete(before, 1 - NOTHING if name == ONE_BATCH else -NOTHING, scale)


def four(arm: Arm, protocol: Protocol) -> dict[str, tuple[Arm, str]]:
    """The arms by name, each with what it is trained on in words; there are fewer where batches have no target."""
    few = replace(arm, networks=arm.networks[:FEW])
    arms = {
        AS_IT_IS: (arm, f"{counted(len(arm.train), 'sample')} as they are"),
        ONE_BATCH: (_one_batch(few, protocol), f"one batch of {min(protocol.batch, len(arm.train))}, again and again"),
    }
    if arm.samples.target is not None:
        arms[ALIKE] = _alike(few), "all inputs those of one sample: only a constant can be learned"
        arms[PERMUTED] = _permuted(few), "targets of other samples: only memory can help"
    return arms


def row(name: str, what: str, curve: Curve, scale: Scale, apart: Scale | None, steps: int) -> Row:
    """One arm's numbers; ``apart`` is the scale of held-out losses, where they are told."""
    nothing = Effect(math.nan, math.nan, math.nan, 0)
    learned = scale.learned(curve.loss)
    known = [x for x in learned if math.isfinite(x)] or [math.nan]
    with told_of(curve, steps):
        return Row(
            name, what + why(curve, steps, REASONS.get(name, "")),
            _mean(curve.path[0]), _mean(curve.loss), mean(learned), max(known), min(known),
            mean(apart.learned(curve.held_out)) if apart is not None else nothing,
            curve.diverged, len(curve.loss), stopped_at(curve, steps),
        )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    known = [x for x in values if math.isfinite(x)]
    return sum(known) / len(known) if known else math.nan


def _one_batch(arm: Arm, protocol: Protocol) -> Arm:
    few = arm.train[: protocol.batch]
    return replace(arm, train=few, test=few)


def _alike(arm: Arm) -> Arm:
    """Every sample with the inputs of the first."""

    def first(t: Tensor) -> Tensor:
        return t[:1].expand_as(t).contiguous() if t.ndim and t.shape[0] == arm.samples.samples else t

    return replace(arm, samples=with_inputs(arm.samples, first))


def _permuted(arm: Arm) -> Arm:
    """Training targets permuted among the training samples; held-out ones stay."""
    order = torch.arange(arm.samples.samples, device=arm.train.device)
    shuffled = torch.randperm(len(arm.train), generator=torch.Generator().manual_seed(1)).to(arm.train.device)
    order[arm.train] = arm.train[shuffled]

    def mixed(t: Tensor) -> Tensor:
        return t[order] if t.ndim and t.shape[0] == arm.samples.samples else t

    return replace(arm, samples=with_targets(arm.samples, mixed))
