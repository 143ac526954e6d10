"""Where the chunks of a study are computed: in this process, on several devices of this machine, or on a Ray cluster.

The process that was called alone writes to the store and the checkpoints. The others are sent stretches of training
that depend on nothing but what they are sent, so a stretch that is lost with its machine is computed again, and
nothing is done twice that was delivered.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch

from nonsingular.data import DataSpec, Task
from nonsingular.errors import InputError, MissingExtra
from nonsingular.experiments.run.chunk import (
    Measured,
    Row,
    Segment,
    Weights,
    checkpoint,
    keep_weights,
    train,
    train_segment,
)
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.files import write_whole
from nonsingular.networks import OwnNetwork
from nonsingular.training.store import load_checkpoint, save_checkpoint

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Job:
    """A chunk to be trained.

    Attributes:
        rows: its runs.
        checkpoint: file of what its training goes on from.
        spec: by which its rows are trained.
        steps: training steps of an epoch of all its rows.
        prepare: data -> the task.
    """

    rows: Sequence[Row]
    checkpoint: Path
    spec: Spec
    steps: int
    prepare: Callable[[DataSpec], Task]

    @property
    def task(self) -> Task:
        """What it is trained on."""
        assert self.spec.data is not None
        return self.prepare(self.spec.data)

    @property
    def epochs(self) -> int:
        """Of its training."""
        assert self.spec.training is not None
        return self.spec.training.epochs


Deliver = Callable[[Job, int, Measured], None]
"""Called with a job, an epoch and what was measured after it."""


class Engine(Protocol):
    """Something that trains jobs.

    Attributes:
        workers: how many jobs it can train at the same time.
    """

    workers: int

    def run(self, jobs: Sequence[Job], workspace: Workspace, deliver: Deliver) -> None:
        """Train what is not finished of the jobs, from their checkpoints on."""


@contextmanager
def open_engine(workspace: Workspace) -> Iterator[Engine]:
    """The engine that the workspace asks for.

    Raises:
        InputError: unknown name.
        MissingExtra: Ray is not installed.
    """
    if workspace.engine not in ENGINES:
        raise InputError(f"unknown engine {workspace.engine!r}; there are {', '.join(ENGINES)}")
    several = torch.cuda.device_count() if workspace.device.type == "cuda" else 1
    if workspace.engine == "ray":
        with _ray(workspace.device) as engine:
            yield engine
    elif several > 1:
        with devices([f"cuda:{i}" for i in range(several)]) as engine:
            yield engine
    else:
        yield InProcess()


class InProcess:
    """One job after another, on the workspace's device."""

    workers = 1

    def run(self, jobs: Sequence[Job], workspace: Workspace, deliver: Deliver) -> None:
        """As ``Engine.run``."""
        for job in jobs:
            state = _begin(job, workspace)
            if state is not None and state["epoch"] == job.epochs:
                continue
            weights: Weights = list((state or {}).get("weights", []))
            step = partial(workspace.progress.advance, len(job.rows))
            saved = time.monotonic()
            for trainer, measured in train(job.rows, job.spec, job.task, workspace.device, state, step):
                keep_weights(weights, trainer, job.spec)
                deliver(job, trainer.epoch, measured)
                due = trainer.epoch and time.monotonic() - saved > workspace.checkpoint_seconds
                if due or trainer.epoch == job.epochs:
                    save_checkpoint(job.checkpoint, checkpoint(trainer, job.spec, weights))
                    saved = time.monotonic()


class Elsewhere:
    """Jobs in other processes, stretch by stretch: what has arrived here is safe, whatever happens there.

    Args:
        workers: stretches computed at the same time.
        submit: (rows, spec, checkpoint, seconds) -> a handle of a stretch that is being computed.
        first: handles -> one that is done.
        result: its stretch.
    """

    def __init__(
        self,
        workers: int,
        submit: Callable[[Sequence[Row], Spec, Task, bytes | None, float], Any],
        first: Callable[[Sequence[Any]], Any],
        result: Callable[[Any], Segment],
    ) -> None:
        self.workers, self._submit, self._first, self._result = workers, submit, first, result

    def run(self, jobs: Sequence[Job], workspace: Workspace, deliver: Deliver) -> None:
        """As ``Engine.run``."""
        waiting: list[tuple[Job, bytes | None]] = []
        for job in jobs:
            state = _begin(job, workspace)
            if state is None or state["epoch"] < job.epochs:
                waiting.append((job, None if state is None else job.checkpoint.read_bytes()))
        running: dict[Any, Job] = {}
        while waiting or running:
            while waiting and len(running) < self.workers:
                job, begun = waiting.pop(0)
                running[self._submit(job.rows, job.spec, job.task, begun, workspace.checkpoint_seconds)] = job
            done = self._first(list(running))
            job = running.pop(done)
            segment = self._result(done)
            for epoch, measured in segment.measured.items():
                deliver(job, epoch, measured)
            write_whole(job.checkpoint, segment.checkpoint)
            workspace.progress.advance(job.steps * sum(epoch > 0 for epoch in segment.measured))
            if not segment.finished:
                waiting.insert(0, (job, segment.checkpoint))


def _begin(job: Job, workspace: Workspace) -> dict[str, Any] | None:
    """The state to go on from, with the progress told what of the job is done; a damaged one is done without."""
    try:
        state = load_checkpoint(job.checkpoint)
    except InputError as error:
        warnings.warn(f"{error}; they are started again now", stacklevel=2)
        return None
    if state is not None:
        workspace.progress.advance(job.steps * state["epoch"])
    return state


# --- several devices of this machine ------------------------------------------------------------------------


@contextmanager
def devices(names: Sequence[str]) -> Iterator[Engine]:
    """A process for each of the devices, such as ``["cuda:0", "cuda:1"]``."""
    free = list(names)
    used: dict[futures.Future[Segment], str] = {}

    def submit(rows: Sequence[Row], spec: Spec, task: Task, begun: bytes | None, seconds: float) -> Any:
        device = free.pop()
        future = pool.submit(train_segment, rows, spec, task, device, begun, seconds)
        used[future] = device
        return future

    def first(handles: Sequence[futures.Future[Segment]]) -> futures.Future[Segment]:
        done, _ = futures.wait(handles, return_when=futures.FIRST_COMPLETED)
        future = done.pop()
        free.append(used.pop(future))
        return future

    context = torch.multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(len(names), context, torch.set_num_threads, (1,)) as pool:
        yield Elsewhere(len(names), submit, first, lambda future: future.result())


# --- Ray ----------------------------------------------------------------------------------------------------

RETRIES = 10
"""Times that a stretch is computed again when its machine is lost."""


@contextmanager
def _ray(device: torch.device) -> Iterator[Engine]:
    """A Ray cluster: the one that ``RAY_ADDRESS`` names, or one of this machine's own for as long as it takes."""
    try:
        import ray
    except ImportError:
        raise MissingExtra("--engine ray", "ray") from None
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS")
        # A cluster of this machine's own must not be reached from elsewhere.
        own: dict[str, Any] = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        yield _ray_engine(device)
    finally:
        if ours:
            ray.shutdown()


def _ray_engine(device: torch.device) -> Engine:
    import ray

    kind = "GPU" if device.type == "cuda" else "CPU"
    shared: dict[DataSpec | None, Any] = {}  # a task is sent to the cluster once

    @ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=int(kind == "GPU"))
    def stretch(rows: Sequence[Row], spec: Spec, task: Task, begun: bytes | None, seconds: float) -> Segment:
        torch.set_num_threads(1)
        return train_segment(rows, spec, task, device.type, begun, seconds)

    def submit(rows: Sequence[Row], spec: Spec, task: Task, begun: bytes | None, seconds: float) -> Any:
        if spec.data not in shared:
            shared[spec.data] = ray.put(task)
            for module in _users_modules(spec):  # workers cannot import them: they are sent along
                ray.cloudpickle.register_pickle_by_value(module)
        return stretch.remote(rows, spec, shared[spec.data], begun, seconds)

    def first(handles: Sequence[Any]) -> Any:
        return ray.wait(list(handles), num_returns=1)[0][0]

    workers = max(1, int(ray.cluster_resources().get(kind, 1)))
    return Elsewhere(workers, submit, first, ray.get)


def _users_modules(spec: Spec) -> list[ModuleType]:
    """The modules that a user's own networks come from, and what these have imported from the same folder."""
    factories = [m.network.factory for m in spec.networks if isinstance(m.network, OwnNetwork)]
    sources = [sys.modules.get(getattr(factory, "__module__", "")) for factory in factories]
    folders = {Path(file).resolve().parent for source in sources if (file := getattr(source, "__file__", None))}
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and Path(file).resolve().parent in folders:
            found.append(module)
    return found
