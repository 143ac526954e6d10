"""Copies of a network trained side by side on the user's samples: what one arm of a comparison reached."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.data import Task
from nonsingular.diagnosis.optimisers import Steps, named
from nonsingular.errors import BadData, InputError
from nonsingular.objective import Batch, Objective, first_line, taken_by, tree_map
from nonsingular.objective.data import read, refuse_undense
from nonsingular.objective.losses import Evaluated
from nonsingular.training import Trainer, TrainingSpec
from nonsingular.training.trainer import Accuracy
from nonsingular.words import counted

MOST_SAMPLES = 1_000_000
MOST_TOLD = 512  # training samples on which the training loss is measured
POINTS = 10  # of the way at which it is
BATCH = 256  # samples evaluated at a time
STEPS = "net-steps"  # what progress is counted in


@checked
@dataclass(frozen=True)
class Protocol:
    """How copies are trained.

    Attributes:
        steps: of the optimiser.
        seeds: runs of each copy; they differ in the order of the batches, in the treatment's random numbers, and in the
            network's own where it can be built anew.
        batch: samples a step.
        learning_rate, optimiser: as in ``TrainingSpec``, where no optimiser of the user's own is given.
        held_out: part of the samples that is not trained on; copies' accuracies on it are told too.

    >>> import nonsingular as ns
    >>> ns.diagnosis.Protocol(steps=100, seeds=3, optimiser="sgd", learning_rate=0.1).seeds
    3
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
        TrainingSpec(batch=self.batch, learning_rate=self.learning_rate, optimiser=self.optimiser)

    def named(self) -> Steps:
        """The optimiser that is named."""
        return named(self.optimiser, self.learning_rate)


@dataclass(frozen=True)
class Curve:
    """What the copies of one arm reached.

    Attributes:
        loss: ``[run]``, on the training samples after the last step; infinite where a run diverged.
        held_out: ``[run]``, loss on held-out samples; not finite where a run diverged, or was left and nobody asks.
        accuracy: ``[run]``, on held-out samples; NaN where the task has none, and likewise.
        path: ``[point, run]``: training loss on the way.
        points: steps of the path; the last one is where training ended.

    >>> import nonsingular as ns
    >>> curve = ns.diagnosis.Curve((0.5, 0.6), (0.7, 0.8), (0.9, 0.8), ((2.3, 2.3), (0.5, 0.6)), (0, 100))
    >>> curve.points
    (0, 100)
    """

    loss: tuple[float, ...]
    held_out: tuple[float, ...]
    accuracy: tuple[float, ...]
    path: tuple[tuple[float, ...], ...]
    points: tuple[int, ...]

    @property
    def diverged(self) -> int:
        """Runs without a finite loss at the end."""
        return sum(not math.isfinite(x) for x in self.loss)

    def until(self, step: int) -> Curve:
        """What was known at a step of the path: losses on the training samples alone, if it is not the last one."""
        if step == self.points[-1]:
            return self
        at, unknown = self.points.index(step) + 1, (math.nan,) * len(self.loss)
        return Curve(self.path[at - 1], unknown, unknown, self.path[:at], self.points[:at])


@dataclass(frozen=True)
class Arm:
    """What is trained: treatments of the network change the networks, those of the program the rest.

    Attributes:
        networks: one a run.
        loss_fn, form: as in ``Objective``.
        samples: all of them, as one batch.
        train, test: numbers of the samples that are trained on, and held out.
        steps: how parameters are stepped.
    """

    networks: tuple[nn.Module, ...]
    loss_fn: Any
    form: str
    samples: Batch
    train: Tensor
    test: Tensor
    steps: Steps

    @property
    def example(self) -> Any:
        """Inputs of some training samples, for treatments that look at shapes."""
        return self._rows(self.train[:BATCH]).inputs

    @property
    def told(self) -> Batch:
        """The training samples on which losses are told."""
        return self._rows(self.train[:MOST_TOLD])

    @property
    def apart(self) -> Batch:
        """The held-out samples."""
        return self._rows(self.test)

    def _rows(self, numbers: Tensor) -> Batch:
        return self.samples.take(numbers, len(numbers))

    def with_loss(self, network: nn.Module) -> Evaluated:
        """A network and the loss as one module: batch -> loss."""
        return Evaluated(network, self.loss_fn, self.form)

    def predicted(self, batch: Batch) -> Any:
        """What the first network returns in evaluation mode."""
        with torch.no_grad(), _quiet():
            return self.with_loss(copy.deepcopy(self.networks[0])).eval().output(batch)

    def of_output(self, output: Tensor, target: Any) -> Tensor:
        """The loss of an output."""
        return self.with_loss(self.networks[0]).of_output(output, target)


def arm(networks: Sequence[nn.Module], loss_fn: Any, data: Any, protocol: Protocol, steps: Steps | None = None) -> Arm:
    """The untreated arm.

    Args:
        networks: one a run, of equal structure.
        loss_fn: as ``Objective`` takes it.
        data: likewise.
        protocol: how to train.
        steps: the user's own optimiser; without it the one that the protocol names.

    Raises:
        InputError: as ``Objective``; too few samples to train on and to hold out, or batches that cannot be joined.
    """
    batches = list(read(data, MOST_SAMPLES))
    if not batches:
        raise BadData("no batches: give at least one (inputs, target) pair")
    for batch in batches:
        refuse_undense(batch)
    few = batches[0] if batches[0].samples <= BATCH else batches[0].take(slice(0, BATCH), BATCH)
    with _quiet():
        checked = Objective(networks[0], loss_fn, [few.whole], seed=0, weights="equal", mode="own")
    samples = joined(batches).map(taken_by(networks[0]))
    held = max(1, round(protocol.held_out * samples.samples))
    order = torch.randperm(samples.samples, generator=torch.Generator().manual_seed(0)).to(checked.device)
    if samples.samples - held < 2:
        raise BadData(
            f"only {counted(samples.samples, 'sample')}, too few to train on and to compare on: give more batches"
        )
    return Arm(
        tuple(networks), checked.loss_fn, checked.form, samples, order[held:], order[:held], steps or protocol.named()
    )


Enough = Callable[[Sequence[Sequence[float]], Sequence[bool]], bool]
"""Losses on the way ``[point, run]``, and whether each run's parameters are finite -> whether to stop."""


def never(path: Sequence[Sequence[float]], finite: Sequence[bool]) -> bool:
    """Every step is taken."""
    return False


def run(arm: Arm, protocol: Protocol, enough: Enough = never, apart: bool = True) -> Curve:
    """Train copies of the arm's networks side by side with the project's one trainer.

    With ``apart`` held-out samples are told of copies that ``enough`` stops too.

    Plain tensors in and out are trained as they are. Everything else (dictionaries, tuples, outputs that are no tensor)
    goes through a module that looks the samples up by number and returns their loss. Progress is told of all steps,
    also where they fail on the way, or where ``enough`` stops them.
    """
    left = protocol.steps * len(arm.networks)

    def on_step() -> None:
        nonlocal left
        left -= len(arm.networks)
        progress.count(STEPS, len(arm.networks))

    try:
        with _quiet():
            return _train(_trainer(arm, protocol), protocol.steps, on_step, enough, apart)
    finally:
        progress.count(STEPS, left)


def _trainer(arm: Arm, protocol: Protocol) -> Trainer:
    networks = [copy.deepcopy(n) for n in arm.networks]
    plain, samples, device = _is_plain(arm), arm.samples, arm.train.device
    spec = TrainingSpec(batch=min(protocol.batch, len(arm.train)))
    members: list[nn.Module] = networks if plain else [_Lookup(arm.with_loss(n), samples) for n in networks]
    inputs: Any = samples.inputs if plain else torch.arange(samples.samples, device=device)[:, None]
    target: Any = samples.target if plain else inputs[:, 0].float()
    task = Task(inputs[arm.train], target[arm.train], inputs[arm.test], target[arm.test], classes=0)
    loss = arm.loss_fn if plain else (lambda output, target: output)

    def optimiser(stacked: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        return arm.steps(stacked if plain else {n.removeprefix("evaluated.model."): p for n, p in stacked.items()})

    return Trainer(
        members, range(len(members)), task, spec, device=device, loss=loss, optimiser=optimiser,
        vectorised=None if plain and _vectorises(members, task, loss, device) else False,
    )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """The user's own warnings are said once by the look; here they would come by the hundred."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _train(trainer: Trainer, steps: int, on_step: Callable[[], None], enough: Enough, apart: bool) -> Curve:
    task = trainer.task
    inputs, target = task.train_inputs[:MOST_TOLD], task.train_labels[:MOST_TOLD]
    points = sorted({round(i * steps / POINTS) for i in range(POINTS + 1)})
    path: list[tuple[float, ...]] = []
    done = 0

    def measure() -> None:
        if done in points:
            path.append(_loss(trainer.evaluate(inputs, target, BATCH)))
            trainer.population.train()
            finite = trainer.finite().tolist()
            if done == steps or enough(path, finite):
                raise _Enough
            if not any(finite):  # no later step mends that: the rest is known
                path.extend([(math.inf,) * len(finite)] * (len(points) - len(path)))
                raise _Enough

    def count() -> None:
        nonlocal done
        done += 1
        on_step()
        measure()

    try:
        measure()
        while True:
            trainer.train_epoch(count)
    except _Enough:
        pass
    whole, lost = len(path) == len(points), not trainer.finite().any()
    accuracy = (math.nan,) * len(path[-1])
    held_out = path[-1] if lost else accuracy
    if not lost and (apart or whole):
        rest = trainer.evaluate(task.test_inputs, task.test_labels, BATCH)
        held_out, accuracy = _loss(rest), tuple(rest.accuracy.tolist())
    return Curve(path[-1], held_out, accuracy, tuple(path), tuple(points[: len(path)]))


def _is_plain(arm: Arm) -> bool:
    """Whether inputs, targets and outputs are tensors, and the loss one of output and target."""
    if arm.form != "output" or not (isinstance(arm.samples.inputs, Tensor) and isinstance(arm.samples.target, Tensor)):
        return False
    return isinstance(arm.predicted(arm.samples.take(arm.train[:2], 2)), Tensor)


def _vectorises(members: Sequence[nn.Module], task: Task, loss: Any, device: torch.device) -> bool:
    """Whether one vectorised step works; a network that looks at its own numbers (``if x.max() > 1``) does not."""
    try:
        spec = TrainingSpec(batch=2)
        inputs, labels = task.train_inputs[:2], task.train_labels[:2]
        tiny = Task(inputs, labels, inputs, labels, classes=0)
        Trainer([copy.deepcopy(m) for m in members[:2]], [0, 1], tiny, spec, device=device, loss=loss).train_epoch()
    except (RuntimeError, ValueError, TypeError):
        return False
    return True


def _loss(found: Accuracy) -> tuple[float, ...]:
    """Of every run; infinite where it diverged."""
    return tuple(x if math.isfinite(x) else math.inf for x in found.loss.tolist())


class _Enough(Exception):
    """All steps are done, or the rest is not needed."""


# --- samples as one batch -------------------------------------------------------------------------------------


def joined(batches: Sequence[Batch]) -> Batch:
    """All batches as one; what does not count samples is the first batch's.

    Raises:
        BadData: they are of different structures, or shapes.
    """
    if len(batches) == 1:
        return batches[0]
    leaves = [tree_leaves((b.inputs, b.target)) for b in batches]
    if len(sizes := {len(entries) for entries in leaves}) > 1:
        found = " and ".join(map(str, sorted(sizes)))
        raise BadData(f"the batches cannot be joined: they hold {found} entries; give all of them one structure")
    total = sum(b.samples for b in batches)
    parts: list[Any] = []
    made: dict[int, Any] = {}  # a target that is an entry of the inputs stays one
    for same in zip(*leaves, strict=True):
        if id(same[0]) in made:
            parts.append(made[id(same[0])])
            continue
        counts = all(
            isinstance(t, Tensor) and t.ndim and t.shape[0] == b.samples for t, b in zip(same, batches, strict=True)
        )
        try:
            parts.append(torch.cat(same) if counts else same[0])
            made[id(same[0])] = parts[-1]
        except RuntimeError as error:
            raise BadData(f"the batches cannot be joined: {first_line(error)}; pad them to one shape") from error
    inputs, target = tree_unflatten(parts, tree_flatten((batches[0].inputs, batches[0].target))[1])
    return replace(batches[0], inputs=inputs, target=target, samples=total)


def with_inputs(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with changed inputs and the targets that it has."""
    return replace(batch, inputs=tree_map(lambda t: t if _is_target(t, batch) else change(t), batch.inputs))


def with_targets(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with changed targets and the inputs that it has."""
    if batch.pair:
        return replace(batch, target=tree_map(change, batch.target))
    target = tree_map(change, batch.target)
    return replace(batch, inputs=tree_map(lambda t: target if _is_target(t, batch) else t, batch.inputs), target=target)


def _is_target(t: Tensor, batch: Batch) -> bool:
    """Whether an entry of a batch that is no pair is its target."""
    held = batch.target
    return not batch.pair and isinstance(held, Tensor) and t.data_ptr() == held.data_ptr() and t.shape == held.shape


class _Samples:
    """Data that copies of a module share instead of copying."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __deepcopy__(self, memo: dict[int, Any]) -> _Samples:
        return self


class _Lookup(nn.Module):
    """Sample numbers in, their loss out: any model and any loss as one module of tensors."""

    def __init__(self, evaluated: Evaluated, samples: Batch) -> None:
        super().__init__()
        self.evaluated, self._samples = evaluated, _Samples(samples)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.evaluated(self._samples.batch.take(numbers[:, 0], len(numbers))).reshape(())


Change = Callable[[Arm], tuple[Arm, str]]
"""A treatment: an arm changed, and in a sentence how. Raises InputError with the reason where it does not apply."""
