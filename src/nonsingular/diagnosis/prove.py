"""Proof: untreated and treated copies trained side by side on the user's batches; the difference with an interval."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.diagnosis.course import STEPS, Arm, Change, Curve, Protocol, arm, run
from nonsingular.diagnosis.learnability import numbers, percent, points
from nonsingular.diagnosis.optimisers import Steps
from nonsingular.diagnosis.programs import TREATMENTS, of_network
from nonsingular.diagnosis.racing import hopeless, stopped_at, told_of, why
from nonsingular.diagnosis.scale import MATERIAL, Scale, scaled
from nonsingular.diagnosis.treatments import Prescription
from nonsingular.errors import InputError
from nonsingular.files import plain
from nonsingular.intervals import Effect, difference, mean
from nonsingular.objective import told
from nonsingular.objective.failures import FAILURES

UNTREATED = "untreated"
TRAINING = "training copies"  # what progress calls it
Build = Callable[[int], nn.Module]
NOTHING = Effect(math.nan, math.nan, math.nan, 0)
SHOWN = 0.005  # of a share: what is less is no gain, however certain
VERDICTS = ("helps", "too few runs", "too little", "no difference", "left early", "diverges", "hurts", "does not apply")


@dataclass(frozen=True)
class Trial:
    """One treatment against none.

    Attributes:
        treatment: its name.
        what: what it did, or why it could not be applied.
        effect: training loss of treated minus untreated copies, paired by seed; negative is better. Not to be compared
            where the treatment changes loss or targets.
        held_out: the same difference on held-out samples.
        accuracy: difference of held-out accuracies, in percentage points; NaN where the task has none.
        reached: part of what the best constant leaves that the treated copies took away, at most 1.
        gained: that part, treated minus untreated, paired by seed: what the verdict is about. The question is
            whether a network trains; whether it generalises is told beside it.
        verdict: ``helps``, ``too little`` (better, but by less than 5 % of what the best constant leaves, at least by
            0.5 %, or no better than that constant), ``hurts``, ``no difference`` (less than 5 % either way), ``too
            few runs`` (chance may be more than that), ``left early`` (so too, of copies left with nothing gained: it
            may as well hurt), ``diverges`` or ``does not apply``.
        treated: what the treated copies reached; None where it does not apply.
        stopped: the step at which they were left, because they could not help any more (``racing``): all of the above
            is of that step, and intervals hold for all looks that were taken. None: they were trained to the end.

    >>> import nonsingular as ns
    >>> ns.diagnosis.Trial("add_skips", "identity skips around 18 layers").treatment
    'add_skips'
    """

    treatment: str
    what: str
    effect: Effect = NOTHING
    held_out: Effect = NOTHING
    accuracy: Effect = NOTHING
    reached: Effect = NOTHING
    gained: Effect = NOTHING
    verdict: str = "does not apply"
    treated: Curve | None = None
    stopped: int | None = None

    @property
    def short(self) -> str:
        """What came of it in a line."""
        if not self.gained.runs:
            return f"{self.treatment}: {self.verdict}"
        learned = f"learned {percent(self.reached.value)} ({points(self.gained.value)} points)"
        return f"{self.treatment}: {self.verdict}, {learned}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, what is not finite as null."""
        return {
            "treatment": self.treatment, "what": self.what, "verdict": self.verdict,
            "learned": numbers(self.reached), "learned_difference": numbers(self.gained),
            "loss_difference": numbers(self.effect), "held_out_loss_difference": numbers(self.held_out),
            "accuracy_difference": numbers(self.accuracy),
            "diverged": 0 if self.treated is None else self.treated.diverged, "stopped": self.stopped,
        }  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """All trials, what helps most first, and the untreated copies they are held against.

    Attributes:
        protocol: how copies were trained.
        steps: the optimiser of the untreated copies.
        untreated: what they reached.
        constant: loss of the best constant prediction.
        trials: ranked by what the treated copies learned.

    >>> import torch
    >>> import nonsingular as ns
    >>> inputs, model = torch.randn(200, 6), torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 2))
    >>> protocol = ns.diagnosis.Protocol(steps=5, seeds=2)
    >>> batch = inputs, (inputs[:, 0] > 0).long()
    >>> proof = ns.diagnosis.prove(model, torch.nn.functional.cross_entropy, [batch], ["reset_biases"], protocol)
    >>> len(proof.untreated.loss)  # one a run
    2
    """

    protocol: Protocol
    steps: Steps
    untreated: Curve
    constant: float
    trials: tuple[Trial, ...]

    def helps(self, treatment: str) -> bool:
        """Whether this treatment was tried and helped."""
        return any(t.treatment == treatment and t.verdict == "helps" for t in self.trials)

    @property
    def best(self) -> Trial | None:
        """The treatment that helps most; None where none helps."""
        return next((t for t in self.trials if t.verdict == "helps"), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        p = self.protocol
        return {
            "steps": p.steps, "seeds": p.seeds, "batch": p.batch, "learning_rate": p.learning_rate,
            "optimiser": self.steps.name.lower(), "stepped_by": self.steps.to_json(),
            "constant_loss": plain(self.constant),
            "untreated": {
                "loss": [plain(x) for x in self.untreated.loss],
                "accuracy": [plain(x) for x in self.untreated.accuracy],
            },
            "trials": [t.to_json() for t in self.trials],
        }  # fmt: skip


@checked
def prove(
    build: nn.Module | Build,
    loss_fn: Any,
    batches: Any,
    treatments: Sequence[str] | Mapping[str, Prescription],
    protocol: Protocol | None = None,
    on_run: Callable[[str], None] = lambda name: None,
    kept: MutableMapping[str, Curve] | None = None,
    steps: Steps | None = None,
) -> Proof:
    """Train the network with and without each treatment and compare.

    Args:
        build: seed -> network; a network alone stands for itself in every run.
        loss_fn: as ``Objective`` takes it.
        batches: likewise; all samples are used.
        treatments: names in ``programs.TREATMENTS``, or your own by name: (model, inputs, seed) -> treated copy.
        protocol: how to train.
        on_run: called with each arm that has been trained, and what came of it, in words.
        kept: curves of arms trained before, which are not trained again; new ones are added.
        steps: the user's own optimiser, as ``optimisers.like`` gives it.

    Raises:
        InputError: as ``Objective``; an unknown treatment; too few samples.

    >>> import torch
    >>> import nonsingular as ns
    >>> random = torch.manual_seed(0)
    >>> inputs = torch.randn(200, 6)
    >>> batch = inputs, (inputs[:, 0] > 0).long()
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 2))
    >>> protocol = ns.diagnosis.Protocol(steps=20, seeds=2)
    >>> proof = ns.diagnosis.prove(model, torch.nn.functional.cross_entropy, [batch], ["reset_biases"], protocol)
    >>> [trial.treatment for trial in proof.trials]
    ['reset_biases']
    """
    protocol = protocol or Protocol()
    untreated = arm(copies(build, protocol), loss_fn, batches, protocol, steps)
    changes = (
        {n: of_network(t) for n, t in treatments.items()} if isinstance(treatments, Mapping) else known(treatments)
    )
    kept = {} if kept is None else kept
    with progress.stretch(TRAINING, ahead({UNTREATED, *changes}, kept, protocol), STEPS):
        return proved(untreated, changes, protocol, kept, on_run)


def ahead(arms: Iterable[str], kept: Container[str], protocol: Protocol) -> int:
    """Steps of networks that training these arms takes, those that are kept left out."""
    return protocol.steps * protocol.seeds * sum(name not in kept for name in arms)


def copies(build: nn.Module | Build, protocol: Protocol) -> list[nn.Module]:
    """One network a run."""
    if isinstance(build, nn.Module):
        return [copy.deepcopy(build) for _ in range(protocol.seeds)]
    return [build(seed) for seed in range(protocol.seeds)]


def proved(
    untreated: Arm,
    treatments: Mapping[str, Change],
    protocol: Protocol,
    kept: MutableMapping[str, Curve],
    on_run: Callable[[str], None] = lambda name: None,
    scale: Scale | None = None,
) -> Proof:
    """The same for an arm: `prove` says what the arguments are."""
    if UNTREATED not in kept:
        kept[UNTREATED] = run(untreated, protocol)
        on_run(UNTREATED)
    before = kept[UNTREATED]
    scale = scale or scaled(untreated, [before])
    trials: list[Trial] = []
    for name, change in treatments.items():
        known_already = name in kept
        best = next((t.treated for t in ranked(trials) if t.verdict == "helps"), None)
        trials.append(_trial(name, change, untreated, protocol, kept, scale, best))
        if not known_already:
            on_run(trials[-1].short)
    return Proof(protocol, untreated.steps, before, scale.constant, tuple(ranked(trials)))


def known(names: Sequence[str]) -> dict[str, Change]:
    """Treatments by their names.

    Raises:
        InputError: an unknown one.
    """
    for name in names:
        if name not in TREATMENTS:
            raise InputError(f"unknown treatment {name!r}; there are {', '.join(TREATMENTS)}")
    return {name: TREATMENTS[name] for name in names}


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """What helps first, and of each verdict what learned most."""

    def order(t: Trial) -> tuple[int, float]:
        value = t.reached.value
        return VERDICTS.index(t.verdict), -value if math.isfinite(value) else math.inf

    return sorted(trials, key=order)


def _trial(
    name: str,
    change: Change,
    untreated: Arm,
    protocol: Protocol,
    kept: MutableMapping[str, Curve],
    scale: Scale,
    best: Curve | None,
) -> Trial:
    untold = ahead([name], kept, protocol)
    try:
        treated, what = change(untreated)
        untold = 0  # from here on the training tells its steps
        same = treated.samples is untreated.samples and treated.loss_fn is untreated.loss_fn
        if name not in kept:
            enough = hopeless(kept[UNTREATED], best, scale if same else None)
            kept[name] = run(treated, protocol, enough, apart=False)
    except InputError as reason:
        return Trial(name, str(reason))
    except FAILURES as error:  # the network relied on what was changed, such as class numbers among its inputs
        return Trial(name, f"the treated copies fail: {told(error)}")
    finally:
        progress.count(STEPS, untold)
    curve, stopped = kept[name], stopped_at(kept[name], protocol.steps)
    before = kept[UNTREATED].until(curve.points[-1])
    # Another loss, or other targets: another constant is best.
    reached = (scale if same else scaled(treated, [curve])).learned(curve.loss)
    with told_of(curve, protocol.steps):
        gained, verdict = compare(reached, scale.learned(before.loss))
        if stopped is not None and verdict == "too few runs":  # left because nothing was gained, not for want of runs
            verdict = "left early"
        return Trial(
            name, what + why(curve, protocol.steps),
            _paired(curve.loss, before.loss), _paired(curve.held_out, before.held_out),
            difference([100 * a for a in curve.accuracy], [100 * a for a in before.accuracy], paired=True),
            mean(reached), gained, verdict, curve, stopped,
        )  # fmt: skip


def _paired(treated: Sequence[float], untreated: Sequence[float]) -> Effect:
    both = [(a, b) for a, b in zip(treated, untreated, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return difference([a for a, _ in both], [b for _, b in both], paired=True)


def compare(treated: Sequence[float], untreated: Sequence[float]) -> tuple[Effect, str]:
    """What copies learned, treated minus untreated, paired by seed, and what it says.

    Args:
        treated: part of what the best constant leaves that each run took away; NaN for a run that diverged. A treatment
            with diverged runs never helps.
        untreated: the same of the untreated copies.
    """
    lost, lost_before = (sum(math.isnan(x) for x in parts) for parts in (treated, untreated))
    gained = _paired(treated, untreated)
    if lost:
        return gained, "hurts" if lost > lost_before else "diverges"
    reached = mean(treated)
    beats = reached.value >= MATERIAL and not reached.low <= 0
    if lost_before:  # those that diverged have nothing to subtract
        return gained, "helps" if beats else "too little"
    if gained.low > 0:
        if gained.value < SHOWN and gained.high < MATERIAL:
            return gained, "no difference"
        return gained, "helps" if gained.value >= MATERIAL and beats else "too little"
    if gained.high < 0 and gained.value <= -MATERIAL:
        return gained, "hurts"
    return gained, "no difference" if gained.low > -MATERIAL and gained.high < MATERIAL else "too few runs"
