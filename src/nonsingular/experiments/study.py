"""A population study: train the networks of a spec side by side, measure them epoch by epoch, keep the results.

The results have the dimensions ``network``, ``run``, ``epoch`` (0 is the start) and ``layer`` (from 1). A study
that was stopped at any moment goes on from its last checkpoint and ends with the results of one that was not.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from nonsingular.data import Task, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.instruments import INSTRUMENTS, Snapshot
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.workspace import Workspace
from nonsingular.networks import build
from nonsingular.training import Store, Trainer, TrainingSpec, runs_that_fit
from nonsingular.training.population import structure
from nonsingular.training.store import load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Row:
    """One run of one network: its place in the results."""

    network: int
    run: int


def run_study(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train, measure and store; or go on where an earlier call with the same spec and folder stopped.

    Args:
        spec: with data, networks, training and instruments.
        workspace: folder of the store and checkpoints, device, progress.

    Raises:
        InputError: the data are missing, or the spec asks for what they do not have.
    """
    if spec.data is None or spec.training is None or not spec.networks:
        raise InputError(f"{spec.experiment}: a study needs data, training and at least one network")
    task = prepare(spec.data, workspace.data_dir)
    store = Store(workspace.folder / "results.zarr")
    if not store.path.exists():
        store = _empty_store(store.path, spec, spec.training)
    chunks = _chunks(spec, task, spec.training, workspace)
    workspace.progress.start(
        spec.experiment, len(spec.networks) * spec.runs * spec.training.epochs * _steps(task, spec.training)
    )
    for number, rows in enumerate(chunks):
        _run_chunk(rows, workspace.folder / "checkpoints" / f"{number}.pt", spec, task, store, workspace)
    return store.read()


def _steps(task: Task, training: TrainingSpec) -> int:
    return len(task.train_labels) // training.batch


def _empty_store(path: Path, spec: Spec, training: TrainingSpec) -> Store:
    variables = {
        name: ("network", "run", "epoch", *dims)
        for instrument in spec.instruments
        for name, dims in INSTRUMENTS[instrument].variables.items()
    }
    coordinates = {
        "network": np.array([m.name for m in spec.networks]),
        "run": np.arange(spec.runs) + spec.seed,
        "epoch": np.arange(training.epochs + 1),
        "layer": np.arange(1, max(m.network.depth for m in spec.networks) + 1),
    }
    assert spec.data is not None
    attributes = {"digest": spec.digest, "data": spec.data.name, "scaling": spec.data.scaling, "scale": spec.scale}
    return Store.create(path, coordinates, variables, attributes)


def _chunks(spec: Spec, task: Task, training: TrainingSpec, workspace: Workspace) -> list[list[Row]]:
    """Rows that are trained in one vectorised program: equal structure, and no more than memory holds.

    Decided once and kept beside the checkpoints: a resumed study must cut where the first one did.
    """
    plan = workspace.folder / "checkpoints" / "plan.json"
    if plan.exists():
        return [[Row(*row) for row in chunk] for chunk in json.loads(plan.read_text())]
    kinds: dict[object, list[Row]] = {}
    sizes: dict[object, int] = {}
    for n, member in enumerate(spec.networks):
        network = build(member.network, task.shape, task.classes, spec.seed)
        kind = structure(network)
        kinds.setdefault(kind, []).extend(Row(n, r) for r in range(spec.runs))
        sizes[kind] = workspace.runs_at_once or runs_that_fit(network, task, training, workspace.device)
    chunks = [rows[i : i + sizes[kind]] for kind, rows in kinds.items() for i in range(0, len(rows), sizes[kind])]
    plan.parent.mkdir(parents=True, exist_ok=True)
    plan.write_text(json.dumps([[(row.network, row.run) for row in chunk] for chunk in chunks]))
    return chunks


def _run_chunk(rows: list[Row], checkpoint: Path, spec: Spec, task: Task, store: Store, workspace: Workspace) -> None:
    assert spec.training is not None
    state = load_checkpoint(checkpoint)
    if state is not None and state["epoch"] == spec.training.epochs:  # finished earlier
        workspace.progress.advance(len(rows) * spec.training.epochs * _steps(task, spec.training))
        return
    trainer = _trainer(rows, spec, task, workspace)
    if state is None:
        _measure(trainer, rows, spec, store)
    else:
        trainer.load(state)
        workspace.progress.advance(len(rows) * trainer.epoch * trainer.steps)
    saved = time.monotonic()
    while trainer.epoch < spec.training.epochs:
        trainer.train_epoch(lambda: workspace.progress.advance(len(rows)))
        _measure(trainer, rows, spec, store)
        if time.monotonic() - saved > workspace.checkpoint_seconds:
            save_checkpoint(checkpoint, trainer.state())
            saved = time.monotonic()
    save_checkpoint(checkpoint, {"epoch": trainer.epoch})


def _trainer(rows: list[Row], spec: Spec, task: Task, workspace: Workspace) -> Trainer:
    assert spec.training is not None
    members = [spec.networks[row.network] for row in rows]
    seeds = [spec.seed + row.run for row in rows]
    networks = [build(m.network, task.shape, task.classes, s) for m, s in zip(members, seeds, strict=True)]
    return Trainer(networks, seeds, task, spec.training, [m.penalty for m in members], workspace.device)


def _measure(trainer: Trainer, rows: list[Row], spec: Spec, store: Store) -> None:
    """All instruments that are due at this epoch, written to the rows' places; NaN for runs that have diverged."""
    snapshot = Snapshot(trainer)
    diverged = ~trainer.finite().cpu().numpy()
    measured: dict[str, np.ndarray] = {}
    for name, epochs in spec.instruments.items():
        if epochs is not None and trainer.epoch not in epochs:
            continue
        for variable, values in INSTRUMENTS[name].measure(snapshot).items():
            measured[variable] = values.detach().to("cpu", torch.float64).numpy()
            measured[variable][diverged] = np.nan
    depth = len(trainer.population.layers)
    for network in sorted({row.network for row in rows}):
        mine = [i for i, row in enumerate(rows) if row.network == network]
        runs = slice(rows[mine[0]].run, rows[mine[-1]].run + 1)
        store.write(
            {name: values[mine] for name, values in measured.items()},
            {"network": network, "run": runs, "epoch": trainer.epoch, "layer": slice(0, depth)},
        )
