"""A chunk of a study: rows that are trained in one vectorised program, and measured epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.data import Task
from nonsingular.experiments.run.instruments import INSTRUMENTS, Snapshot
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.networks import build
from nonsingular.training import Trainer
from nonsingular.training.store import decode, encode

Measured = Mapping[str, Float[np.ndarray, "row ..."]]
"""Variable name -> its value for every row; NaN for rows that have diverged."""


@dataclass(frozen=True)
class Row:
    """One run of one network: its place in the results."""

    network: int
    run: int


@dataclass(frozen=True)
class Segment:
    """A stretch of a chunk's training that was computed elsewhere.

    Attributes:
        measured: epoch -> what was measured after it.
        checkpoint: the bytes of a checkpoint at the stretch's end.
        finished: whether it was the last stretch.
    """

    measured: Mapping[int, Measured]
    checkpoint: bytes
    finished: bool


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


def train_segment(
    rows: Sequence[Row], spec: Spec, task: Task, device: str, begun: bytes | None, seconds: float
) -> Segment:
    """Train from a checkpoint until ``seconds`` are over and an epoch is complete: a task for another process.

    It depends on its arguments alone, and leaves nothing behind: a stretch that was lost with its machine is computed
    again from the same arguments.
    """
    assert spec.training is not None
    began = time.monotonic()
    measured: dict[int, Measured] = {}
    state = None if begun is None else decode(begun)
    weights: Weights = list((state or {}).get("weights", []))
    for trainer, values in train(rows, spec, task, torch.device(device), state):
        keep_weights(weights, trainer, spec)
        measured[trainer.epoch] = values
        if trainer.epoch and time.monotonic() - began > seconds:
            break
    return Segment(measured, encode(checkpoint(trainer, spec, weights)), _is_finished(trainer, spec))


def _measure(trainer: Trainer, spec: Spec) -> Measured:
    """All instruments that are due at this epoch."""
    snapshot = Snapshot(trainer)
    diverged = ~trainer.finite().cpu().numpy()
    measured: dict[str, np.ndarray] = {}
    for name, epochs in spec.instruments.items():
        last = _is_finished(trainer, spec)
        if epochs is not None and trainer.epoch not in epochs and not (last and LAST in epochs):
            continue
        for variable, values in INSTRUMENTS[name].measure(snapshot).items():
            measured[variable] = values.detach().to("cpu", torch.float64).numpy()
            measured[variable][diverged] = np.nan
    return measured
