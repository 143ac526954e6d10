"""A population study: train the networks of a spec side by side, measure them epoch by epoch, keep the results.

The results have the dimensions ``network``, ``run``, ``epoch`` (0 is the start) and ``layer`` (from 1). A study
that was stopped at any moment goes on from its last checkpoint and ends with the results of one that was not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import xarray as xr
from torch import Tensor

from nonsingular.data import DataSpec, Task, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.known import known
from nonsingular.experiments.run import engines
from nonsingular.experiments.run.archive import described
from nonsingular.experiments.run.chunk import Chunk, Measured, Row
from nonsingular.experiments.run.instruments import INSTRUMENTS
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.files import write_whole
from nonsingular.measures import layer_names
from nonsingular.networks import Architecture, OwnNetwork, build
from nonsingular.training import Store, TrainingSpec, runs_that_fit
from nonsingular.training.alike import settings, structure
from nonsingular.training.store import load_checkpoint

DIMENSIONS = {name: dims for instrument in INSTRUMENTS.values() for name, dims in instrument.variables.items()}
"""Variable -> its dimensions beyond network, run and epoch."""


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
    for name in spec.instruments:
        known("instrument", name, INSTRUMENTS, f"{spec.experiment}: ")
    # One at a time: a study whose networks have data of their own would hold as many copies of the images.
    prepared = lru_cache(maxsize=1)(partial(prepare, data_dir=workspace.data_dir))
    task = prepared(spec.data)
    store = Store(workspace.folder / "results.zarr")
    if not store.path.exists():
        store = _empty_store(store.path, spec, spec.training, task)
    with engines.open_engine(workspace) as engine:
        chunks = _chunks(spec, task, spec.training, workspace, engine.workers)
        jobs = [_job(rows, _checkpoint(workspace, k), spec, task, prepared) for k, rows in enumerate(chunks)]
        workspace.progress.start(spec.experiment, sum(job.size for job in jobs))

        def deliver(job: Chunk, epoch: int, measured: Measured) -> None:
            _write(store, job.rows, epoch, measured)

        engine.run(jobs, workspace, deliver)
    return store.read()


def _job(rows: Sequence[Row], checkpoint: Path, spec: Spec, task: Task, prepared: Callable[[DataSpec], Task]) -> Chunk:
    own = spec.of_member(rows[0].network)
    assert own.training is not None
    return Chunk(rows, checkpoint, own, len(rows) * own.training.steps(len(task.train_labels)), prepared)


def kept_weights(workspace: Workspace) -> dict[Row, list[dict[str, Tensor]]]:
    """The weights that a finished study has kept in its folder, as its spec asked: of each row, epoch by epoch."""
    kept: dict[Row, list[dict[str, Tensor]]] = {}
    for number, rows in enumerate(_plan(workspace) or []):
        state = load_checkpoint(_checkpoint(workspace, number))
        assert state is not None
        for place, row in enumerate(rows):
            kept[row] = [epoch[place] for epoch in state["weights"]]
    return kept


def finished_training(spec: Spec, folder: Path) -> bool:
    """Whether a folder holds the whole study of this spec, with the weights that it keeps."""
    try:
        with Store(folder / "results.zarr").opened() as data:
            if data.attrs.get("digest") != spec.digest:
                return False
        states = [load_checkpoint(path) for path in (folder / "checkpoints").glob("*.pt")]
    except (OSError, ValueError, InputError):
        return False  # somebody else's, or damaged: none of ours
    chunks = _plan(Workspace(folder)) or []
    epochs = spec.training.epochs if spec.training else 0
    return len(states) == len(chunks) > 0 and all(state and state["epoch"] == epochs for state in states)


def _checkpoint(workspace: Workspace, number: int) -> Path:
    return workspace.folder / "checkpoints" / f"{number}.pt"


def _plan(workspace: Workspace) -> list[list[Row]] | None:
    plan = workspace.folder / "checkpoints" / "plan.json"
    return [[Row(*row) for row in chunk] for chunk in json.loads(plan.read_text())] if plan.exists() else None


def _empty_store(path: Path, spec: Spec, training: TrainingSpec, task: Task) -> Store:
    variables = {
        name: ("network", "run", "epoch", *dims)
        for instrument in spec.instruments
        for name, dims in INSTRUMENTS[instrument].variables.items()
    }
    coordinates = {
        "network": np.array([m.name for m in spec.networks]),
        "run": np.arange(spec.runs) + spec.seed,
        "epoch": np.arange(training.epochs + 1),
        "layer": np.arange(1, max(_depth(m.network, task) for m in spec.networks) + 1),
    }
    if any("mode" in dims for dims in variables.values()):  # of matrices between hidden layers
        coordinates["mode"] = np.arange(1, max(getattr(m.network, "width", 1) for m in spec.networks) + 1)
    assert spec.data is not None
    attributes = {
        "data": spec.data.name,
        "scaling": spec.data.scaling,
        "scale": spec.scale,
        "experiment": spec.experiment,
        "spec": spec.to_json(),
        "digest": spec.digest,
    }
    return Store.create(path, coordinates, variables, attributes, described)


def _depth(network: Architecture, task: Task) -> int:
    """Hidden layers; those of a user's own module are counted once it is built."""
    if isinstance(network, OwnNetwork):
        return len(layer_names(build(network, task.shape, task.classes, 0)))
    return network.depth


def _chunks(spec: Spec, task: Task, training: TrainingSpec, workspace: Workspace, workers: int) -> list[list[Row]]:
    """Rows that are trained in one vectorised program: equal structure and protocol, and no more than memory holds.

    Where there are several workers, every kind of network is cut into a chunk for each of them at least. Decided once
    and kept beside the checkpoints: a resumed study must cut where the first one did.
    """
    cut = _plan(workspace)
    if cut is not None:
        return cut
    kinds: dict[object, list[Row]] = {}
    fits: dict[object, int] = {}
    for n, member in enumerate(spec.networks):
        mine = spec.of_member(n)
        own = mine.training or training
        network = build(member.network, task.shape, task.classes, spec.seed)
        kind = (mine.data, structure(network), settings(network), own)
        kinds.setdefault(kind, []).extend(Row(n, r) for r in range(spec.runs))
        if kind not in fits:
            fits[kind] = workspace.runs_at_once or runs_that_fit(network, task, own, workspace.device)
    sizes = {kind: min(fits[kind], math.ceil(len(rows) / workers)) for kind, rows in kinds.items()}
    chunks = [rows[i : i + sizes[kind]] for kind, rows in kinds.items() for i in range(0, len(rows), sizes[kind])]
    plan = workspace.folder / "checkpoints" / "plan.json"
    plan.parent.mkdir(parents=True, exist_ok=True)
    write_whole(plan, json.dumps([[(row.network, row.run) for row in chunk] for chunk in chunks]))
    return chunks


def _write(store: Store, rows: Sequence[Row], epoch: int, measured: Measured) -> None:
    """Put what was measured of ``rows``, which have equally many layers, into their places of the store."""
    by_layer = [name for name in measured if "layer" in DIMENSIONS.get(name, ())]
    layers = measured[by_layer[0]].shape[1] if by_layer else 0
    for network in sorted({row.network for row in rows}):
        mine = [i for i, row in enumerate(rows) if row.network == network]
        store.write(
            {name: values[mine] for name, values in measured.items()},
            {
                "network": network,
                "run": slice(rows[mine[0]].run, rows[mine[-1]].run + 1),
                "epoch": epoch,
                "layer": slice(0, layers),
            },
        )
