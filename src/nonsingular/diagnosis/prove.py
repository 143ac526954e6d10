"""Proof: untreated and treated copies trained side by side on the user's batches; the difference with an interval."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.data import Task
from nonsingular.diagnosis.batches import LossFn, problem
from nonsingular.diagnosis.treatments import PRESCRIPTIONS, Treated
from nonsingular.errors import InputError
from nonsingular.intervals import Effect, difference
from nonsingular.objective import Batch
from nonsingular.training import Trainer, TrainingSpec
from nonsingular.training.trainer import Accuracy

UNTREATED = "untreated"
MOST_SAMPLES = 1_000_000
MOST_EVALUATED = 512  # training samples on which the training loss is measured
POINTS = 10  # of the way at which it is
BATCH = 256  # samples evaluated at a time
Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Protocol:
    """How copies are trained.

    Attributes:
        steps: of the optimiser.
        seeds: runs of each copy; they differ in the order of the batches, in the treatment's random numbers, and in the
            network's own where it can be built anew.
        batch: samples a step.
        learning_rate, optimiser: as in ``TrainingSpec``.
        held_out: part of the samples that is not trained on; copies' accuracies on it are told too.
    """

    steps: int = 200
    seeds: int = 5
    batch: int = 64
    learning_rate: float = 1e-3
    optimiser: str = "adam"
    held_out: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if self.seeds < 2:
            raise InputError(f"at least 2 seeds are needed for an interval, got {self.seeds}")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out must lie between 0 and 1, got {self.held_out}")
        self.training(self.batch)

    def training(self, batch: int) -> TrainingSpec:
        """As the project's trainer takes it.

        Raises:
            InputError: an unknown optimiser, a learning rate or batch that is not positive.
        """
        return TrainingSpec(batch=batch, learning_rate=self.learning_rate, optimiser=self.optimiser)


@dataclass(frozen=True)
class Curve:
    """What the copies of one kind reached.

    Attributes:
        loss: ``[run]``, on the training samples after the last step; infinite where a run diverged.
        held_out: ``[run]``, loss on held-out samples.
        accuracy: ``[run]``, on held-out samples; NaN where the task has none.
        path: ``[point, run]``: training loss on the way.
        points: steps of the path.
    """

    loss: tuple[float, ...]
    held_out: tuple[float, ...]
    accuracy: tuple[float, ...]
    path: tuple[tuple[float, ...], ...]
    points: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One treatment against none.

    Attributes:
        treatment: its name.
        what: what it did, or why it could not be applied.
        effect: training loss of treated minus untreated copies, paired by seed; negative is better. The question is
            whether a network trains; whether it generalises is told beside it.
        held_out: the same difference on held-out samples.
        accuracy: difference of held-out accuracies, in percentage points; NaN where the task has none.
        verdict: ``helps``, ``hurts``, ``no difference shown`` or ``does not apply``.
        treated: what the treated copies reached; None where it does not apply.
    """

    treatment: str
    what: str
    effect: Effect
    held_out: Effect
    accuracy: Effect
    verdict: str
    treated: Curve | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, what is not finite as null."""

        def numbers(e: Effect) -> dict[str, Any]:
            low_high = [e.low, e.high]
            return {
                "value": e.value if math.isfinite(e.value) else None,
                "interval": [x if math.isfinite(x) else None for x in low_high],
                "runs": e.runs,
            }

        return {
            "treatment": self.treatment, "what": self.what, "verdict": self.verdict,
            "loss_difference": numbers(self.effect), "held_out_loss_difference": numbers(self.held_out),
            "accuracy_difference": numbers(self.accuracy),
        }  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """All trials, and the untreated copies they are held against."""

    protocol: Protocol
    untreated: Curve
    trials: tuple[Trial, ...]

    def helps(self, treatment: str) -> bool:
        """Whether this treatment was tried and helped."""
        return any(t.treatment == treatment and t.verdict == "helps" for t in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        p = self.protocol
        return {
            "steps": p.steps, "seeds": p.seeds, "batch": p.batch, "learning_rate": p.learning_rate,
            "optimiser": p.optimiser,
            "untreated": {
                "loss": [x if math.isfinite(x) else None for x in self.untreated.loss],
                "accuracy": [x if math.isfinite(x) else None for x in self.untreated.accuracy],
            },
            "trials": [t.to_json() for t in self.trials],
        }  # fmt: skip


def prove(
    build: nn.Module | Build,
    loss_fn: LossFn,
    batches: Iterable[tuple[Any, Any]],
    treatments: Sequence[str] | Mapping[str, Callable[[nn.Module, Any, int], Treated]],
    protocol: Protocol | None = None,
    on_run: Callable[[str], None] = lambda name: None,
    kept: MutableMapping[str, Curve] | None = None,
) -> Proof:
    """Train the network with and without each treatment and compare.

    Args:
        build: seed -> network; a network alone stands for itself in every run.
        loss_fn: (output, target) -> scalar.
        batches: pairs (inputs, target); all their samples are used.
        treatments: names in ``treatments.PRESCRIPTIONS``, or your own by name.
        protocol: how to train.
        on_run: called with the name of each copy that has been trained.
        kept: curves of copies trained before, which are not trained again; new ones are added.

    Raises:
        InputError: as in ``batches.problem``; an unknown treatment; too few samples.
    """
    protocol = protocol or Protocol()
    chosen = treatments if isinstance(treatments, Mapping) else {name: _known(name) for name in treatments}
    make = build if not isinstance(build, nn.Module) else lambda seed: copy.deepcopy(build)
    first = make(0)
    data = problem(first, loss_fn, batches, MOST_SAMPLES)
    course = _Course(_joined(data.batches), loss_fn, protocol, next(first.parameters()).device)
    networks = [make(seed) for seed in range(protocol.seeds)]
    kept = {} if kept is None else kept
    if UNTREATED not in kept:
        kept[UNTREATED] = course.run([copy.deepcopy(n) for n in networks])
    untreated = kept[UNTREATED]
    on_run(UNTREATED)
    trials = []
    for name, treat in chosen.items():
        trials.append(_trial(name, treat, networks, course, kept))
        on_run(name)
    return Proof(protocol, untreated, tuple(trials))


def _known(name: str) -> Callable[[nn.Module, Any, int], Treated]:
    if name not in PRESCRIPTIONS:
        raise InputError(f"unknown treatment {name!r}; there are {', '.join(PRESCRIPTIONS)}")
    return PRESCRIPTIONS[name]


def _trial(
    name: str,
    treat: Callable[[nn.Module, Any, int], Treated],
    networks: Sequence[nn.Module],
    course: _Course,
    kept: MutableMapping[str, Curve],
) -> Trial:
    nothing = Effect(math.nan, math.nan, math.nan, 0)
    try:
        treated = [treat(n, course.example, seed) for seed, n in enumerate(networks)]
    except InputError as reason:
        return Trial(name, str(reason), nothing, nothing, nothing, "does not apply", None)
    if name not in kept:
        kept[name] = course.run([t.model for t in treated])
    curve, untreated = kept[name], kept[UNTREATED]
    effect, verdict = compare(curve.loss, untreated.loss)
    held_out, _ = compare(curve.held_out, untreated.held_out)
    accuracy = difference([100 * a for a in curve.accuracy], [100 * a for a in untreated.accuracy], paired=True)
    return Trial(name, treated[0].what, effect, held_out, accuracy, verdict, curve)


def compare(treated: Sequence[float], untreated: Sequence[float]) -> tuple[Effect, str]:
    """Difference of final losses, paired by seed, and what it says.

    Runs that diverged have no loss to subtract. A treatment after which more runs diverge hurts, one after which fewer
    do helps, whatever the others' losses.
    """
    lost, lost_before = (sum(not math.isfinite(x) for x in losses) for losses in (treated, untreated))
    both = [(a, b) for a, b in zip(treated, untreated, strict=True) if math.isfinite(a) and math.isfinite(b)]
    effect = difference([a for a, _ in both], [b for _, b in both], paired=True)
    if lost != lost_before:
        return effect, "hurts" if lost > lost_before else "helps"
    if effect.high < 0:
        return effect, "helps"
    return effect, "hurts" if effect.low > 0 else "no difference shown"


class _Course:
    """The user's samples as a task of the project's trainer.

    Plain tensors in and out are trained as they are. Everything else (dictionaries, tuples, outputs that are no tensor)
    goes through a module that looks the samples up by number and returns their loss.
    """

    def __init__(self, samples: Batch, loss_fn: LossFn, protocol: Protocol, device: torch.device) -> None:
        self.example = samples.split(min(256, samples.samples))[0].inputs
        self._samples, self._loss, self._protocol, self._device = samples, loss_fn, protocol, device
        held = max(1, round(protocol.held_out * samples.samples))
        order = torch.randperm(samples.samples, generator=torch.Generator().manual_seed(0)).to(device)
        self._test, self._train = order[:held], order[held:]
        if len(self._train) < 2:
            raise InputError(f"{samples.samples} samples are too few to train on and to compare on; give more batches")

    def run(self, networks: Sequence[nn.Module]) -> Curve:
        """Train copies side by side."""
        p, plain = self._protocol, self._is_plain(networks[0])
        spec = p.training(min(p.batch, len(self._train)))
        members = list(networks) if plain else [_Lookup(n, self._loss, self._samples) for n in networks]
        inputs: Any = (
            self._samples.inputs if plain else torch.arange(self._samples.samples, device=self._device)[:, None]
        )
        target: Any = self._samples.target if plain else inputs[:, 0].float()
        task = Task(inputs[self._train], target[self._train], inputs[self._test], target[self._test], classes=0)
        loss = self._loss if plain else (lambda output, target: output)
        trainer = Trainer(
            members, range(len(members)), task, spec, device=self._device, loss=loss,
            vectorised=None if plain and self._vectorises(members, task, loss) else False,
        )  # fmt: skip
        return self._train_steps(trainer)

    def _train_steps(self, trainer: Trainer) -> Curve:
        task, steps = trainer.task, self._protocol.steps
        inputs, target = task.train_inputs[:MOST_EVALUATED], task.train_labels[:MOST_EVALUATED]
        points = sorted({round(i * steps / POINTS) for i in range(POINTS + 1)})
        path: list[tuple[float, ...]] = []
        done = 0

        def measure() -> None:
            if done in points:
                path.append(_loss(trainer.evaluate(inputs, target, BATCH)))
                trainer.population.train()

        def count() -> None:
            nonlocal done
            done += 1
            measure()
            if done == steps:
                raise _Enough

        measure()
        try:
            while True:
                trainer.train_epoch(count)
        except _Enough:
            pass
        rest = trainer.evaluate(task.test_inputs, task.test_labels, BATCH)
        return Curve(path[-1], _loss(rest), tuple(rest.accuracy.tolist()), tuple(path), tuple(points))

    def _is_plain(self, network: nn.Module) -> bool:
        if not (isinstance(self._samples.inputs, Tensor) and isinstance(self._samples.target, Tensor)):
            return False
        with torch.no_grad():
            mode = network.training
            output = network.eval()(self._samples.inputs[:2])
            network.train(mode)
        return isinstance(output, Tensor)

    def _vectorises(self, members: Sequence[nn.Module], task: Task, loss: Any) -> bool:
        """Whether one vectorised step works; a network that looks at its own numbers (``if x.max() > 1``) does not."""
        try:
            spec = TrainingSpec(batch=2)
            inputs, labels = task.train_inputs[:2], task.train_labels[:2]
            tiny = Task(inputs, labels, inputs, labels, classes=0)
            Trainer(
                [copy.deepcopy(m) for m in members[:2]], [0, 1], tiny, spec, device=self._device, loss=loss
            ).train_epoch()
        except (RuntimeError, ValueError, TypeError):
            return False
        return True


def _loss(found: Accuracy) -> tuple[float, ...]:
    """Of every run; infinite where it diverged."""
    return tuple(x if math.isfinite(x) else math.inf for x in found.loss.tolist())


class _Enough(Exception):
    """All steps are done."""


class _Samples:
    """Data that copies of a module share instead of copying."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __deepcopy__(self, memo: dict[int, Any]) -> _Samples:
        return self

    def rows(self, index: Tensor) -> tuple[Any, Any]:
        def take(t: Tensor) -> Tensor:
            return t[index] if t.ndim and t.shape[0] == self.batch.samples else t

        inputs, target = (tree_map_only(Tensor, take, x) for x in (self.batch.inputs, self.batch.target))
        return inputs, target


class _Lookup(nn.Module):
    """Sample numbers in, their loss out: any model and any loss as one module of tensors."""

    def __init__(self, model: nn.Module, loss_fn: LossFn, samples: Batch) -> None:
        super().__init__()
        self.model, self._loss, self._samples = model, loss_fn, _Samples(samples)

    def forward(self, numbers: Tensor) -> Tensor:
        inputs, target = self._samples.rows(numbers[:, 0])
        if isinstance(inputs, Mapping):
            return self._loss(self.model(**inputs), target)
        return self._loss(self.model(*inputs) if isinstance(inputs, tuple) else self.model(inputs), target)


def _joined(batches: Sequence[Batch]) -> Batch:
    """All batches as one; what does not count samples is the first batch's."""
    if len(batches) == 1:
        return batches[0]
    leaves = [tree_leaves((b.inputs, b.target)) for b in batches]
    total = sum(b.samples for b in batches)
    joined: list[Any] = []
    for parts in zip(*leaves, strict=True):
        counts = all(
            isinstance(t, Tensor) and t.ndim and t.shape[0] == b.samples for t, b in zip(parts, batches, strict=True)
        )
        try:
            joined.append(torch.cat(parts) if counts else parts[0])
        except RuntimeError as error:
            raise InputError(
                f"the batches cannot be joined: {str(error).splitlines()[0]}; pad them to one shape"
            ) from error
    both, spec = torch.utils._pytree.tree_flatten((batches[0].inputs, batches[0].target))
    assert len(both) == len(joined)
    inputs, target = torch.utils._pytree.tree_unflatten(joined, spec)
    return Batch(inputs, target, total)
