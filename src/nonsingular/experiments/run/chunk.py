"""A chunk of a study: rows that are trained in one vectorised program, and measured epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import progress
from nonsingular.data import DataSpec, Task
from nonsingular.experiments.run import engines
from nonsingular.experiments.run.instruments import INSTRUMENTS, Snapshot
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.networks import build
from nonsingular.training import Trainer
from nonsingular.training.store import decode, encode, save_checkpoint

Measured = Mapping[str, Float[np.ndarray, "row ..."]]
"""Variable name -> its value for every row; NaN for rows that have diverged."""


@dataclass(frozen=True)
class Row:
    """One run of one network: its place in the results."""

    network: int
    run: int


def train(
    rows: Sequence[Row],
    spec: Spec,
    task: Task,
    device: torch.device,
    state: Mapping[str, object] | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Trainer, Measured]]:
    """Train the rows and measure them after every epoch; from ``state`` on where it is given, else from the start.

    Args:
        rows: of networks of equal structure.
        spec: of the study.
        task: what they are trained on.
        device: where.
        state: as ``Trainer.state`` gives it.
        on_step: called after every step.
    """
    assert spec.training is not None
    members = [spec.networks[row.network] for row in rows]
    seeds = [spec.seed + row.run for row in rows]
    networks = [build(m.network, task.shape, task.classes, s) for m, s in zip(members, seeds, strict=True)]
    penalties, breakers = [m.penalty for m in members], [m.breaker for m in members]
    trainer = Trainer(networks, seeds, task, spec.training, penalties, device, breakers=breakers)
    if state is None:
        yield trainer, _measure(trainer, spec)
    else:
        trainer.load(dict(state))
    while trainer.epoch < spec.training.epochs:
        trainer.train_epoch(on_step)
        yield trainer, _measure(trainer, spec)


Weights = list[list[dict[str, Tensor]]]
"""Epoch by epoch that is kept, row by row, the parameters and buffers by name."""


def keep_weights(weights: Weights, trainer: Trainer, spec: Spec) -> None:
    """Add the rows' weights as they are now, if the spec asks for those of this epoch."""
    if spec.keep == "epochs" or (spec.keep == "end" and _is_finished(trainer, spec)):
        networks = [trainer.population.network(run) for run in range(len(trainer.population))]
        weights.append([network.state_dict() for network in networks])


def checkpoint(trainer: Trainer, spec: Spec, weights: Weights) -> dict[str, object]:
    """What a chunk's training goes on from; of a finished one its epoch alone, and the weights that are kept."""
    state = {"epoch": trainer.epoch} if _is_finished(trainer, spec) else trainer.state()
    return state | ({"weights": weights} if spec.keep else {})


def _is_finished(trainer: Trainer, spec: Spec) -> bool:
    return spec.training is not None and trainer.epoch == spec.training.epochs


@dataclass(frozen=True)
class Chunk:
    """Rows that are trained in one vectorised program: a job for an engine.

    Attributes:
        rows: of networks of equal structure.
        checkpoint: file of its checkpoint.
        spec: by which the rows are trained.
        steps: training steps of an epoch of all rows.
        prepare: data -> the task; not sent elsewhere, where the task comes along.
    """

    rows: Sequence[Row]
    checkpoint: Path
    spec: Spec
    steps: int
    prepare: Callable[[DataSpec], Task]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "prepare"}

    @property
    def task(self) -> Task:
        """What it is trained on."""
        assert self.spec.data is not None
        return self.prepare(self.spec.data)

    @property
    def size(self) -> int:
        """Training steps of all rows."""
        assert self.spec.training is not None
        return self.spec.training.epochs * self.steps

    def done(self, state: Mapping[str, Any]) -> int:
        """Training steps that a checkpoint has behind it."""
        return int(state["epoch"]) * self.steps

    def is_finished(self, state: Mapping[str, Any]) -> bool:
        """Whether a checkpoint is that of the last epoch."""
        return self.spec.training is not None and state["epoch"] == self.spec.training.epochs

    def here(self, workspace: Workspace, state: dict[str, Any] | None, deliver: engines.Deliver) -> None:
        """Train in this process."""
        weights: Weights = list((state or {}).get("weights", []))
        step = partial(workspace.progress.advance, len(self.rows))
        saved = time.monotonic()
        for trainer, measured in train(self.rows, self.spec, self.task, workspace.device, state, step):
            keep_weights(weights, trainer, self.spec)
            deliver(self, trainer.epoch, measured)
            due = trainer.epoch and time.monotonic() - saved > workspace.checkpoint_seconds
            if due or _is_finished(trainer, self.spec):
                save_checkpoint(self.checkpoint, checkpoint(trainer, self.spec, weights))
                saved = time.monotonic()

    def stretch(self, task: Task, device: str, begun: bytes | None, seconds: float) -> engines.Segment:
        """Train from a checkpoint until ``seconds`` are over and an epoch is complete."""
        began = time.monotonic()
        measured: dict[int, Measured] = {}
        state = None if begun is None else decode(begun)
        weights: Weights = list((state or {}).get("weights", []))
        for trainer, values in train(self.rows, self.spec, task, torch.device(device), state):
            keep_weights(weights, trainer, self.spec)
            measured[trainer.epoch] = values
            if trainer.epoch and time.monotonic() - began > seconds:
                break
        units = self.steps * sum(epoch > 0 for epoch in measured)
        kept = encode(checkpoint(trainer, self.spec, weights))
        return engines.Segment(measured, kept, _is_finished(trainer, self.spec), units)


def _measure(trainer: Trainer, spec: Spec) -> Measured:
    """All instruments that are due at this epoch."""
    snapshot = Snapshot(trainer)
    diverged = ~trainer.finite().cpu().numpy()
    measured: dict[str, np.ndarray] = {}
    last = _is_finished(trainer, spec)
    due = [
        n
        for n, epochs in spec.instruments.items()
        if epochs is None or trainer.epoch in epochs or (last and LAST in epochs)
    ]
    for name in due:
        with progress.stretch(f"measuring {name.replace('_', ' ')}", None, ""):
            for variable, values in INSTRUMENTS[name].measure(snapshot).items():
                measured[variable] = values.detach().to("cpu", torch.float64).numpy()
                measured[variable][diverged] = np.nan
    return measured
