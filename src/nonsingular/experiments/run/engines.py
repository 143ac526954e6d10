"""Where jobs are done: in this process, on several devices of this machine, or on a Ray cluster.

A job is a chunk of a study to be trained, or a trained network to be measured. The process that was called alone writes
to the store and the checkpoints. The others are sent stretches of work that depend on nothing but what they are sent,
so a stretch that is lost with its machine is computed again, and nothing is done twice that was delivered.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch

from nonsingular.data import DataSpec, Task
from nonsingular.errors import InputError, MissingExtra
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.files import write_whole
from nonsingular.networks import OwnNetwork
from nonsingular.places import warn
from nonsingular.training.store import load_checkpoint


@dataclass(frozen=True)
class Segment:
    """A stretch of a job's work that was done elsewhere.

    Attributes:
        measured: epoch -> what was measured after it.
        checkpoint: the bytes of a checkpoint at the stretch's end.
        finished: whether it was the last stretch.
        units: how much of the job's ``size`` it was.
    """

    measured: Mapping[int, Any]
    checkpoint: bytes
    finished: bool
    units: int


class Job(Protocol):
    """Work that can be stopped at a checkpoint and go on from there, here or elsewhere."""

    @property
    def spec(self) -> Spec:
        """Of the study."""

    @property
    def checkpoint(self) -> Path:
        """Its file."""

    @property
    def task(self) -> Task:
        """What is worked on; a job that is sent elsewhere comes without."""

    @property
    def size(self) -> int:
        """All of its work, in the units of the progress."""

    def done(self, state: Mapping[str, Any]) -> int:
        """How much of it a checkpoint has behind it."""

    def is_finished(self, state: Mapping[str, Any]) -> bool:
        """Whether a checkpoint is the last."""

    def here(self, workspace: Workspace, state: dict[str, Any] | None, deliver: Deliver) -> None:
        """Do it all in this process, from a checkpoint on, with its own checkpoints kept."""

    def stretch(self, task: Task, device: str, begun: bytes | None, seconds: float) -> Segment:
        """Work from a checkpoint on until ``seconds`` are over; a function of its arguments alone."""


Deliver = Callable[[Any, int, Any], None]
"""Called with a job, an epoch and what was measured after it."""


class Engine(Protocol):
    """Something that does jobs.

    Attributes:
        workers: how many jobs it can do at the same time.
    """

    workers: int

    def run(self, jobs: Sequence[Job], workspace: Workspace, deliver: Deliver) -> None:
        """Do what is not finished of the jobs, from their checkpoints on."""


@contextmanager
def open_engine(workspace: Workspace) -> Iterator[Engine]:
    """The engine that the workspace asks for.

    Raises:
        MissingExtra: Ray is not installed.
    """
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
            if state is None or not job.is_finished(state):
                job.here(workspace, state, deliver)


class Elsewhere:
    """Jobs in other processes, stretch by stretch: what has arrived here is safe, whatever happens there.

    Args:
        workers: stretches computed at the same time.
        submit: (job, task, checkpoint, seconds) -> a handle of a stretch that is being computed.
        first: handles -> one that is done.
        result: its stretch.
    """

    def __init__(
        self,
        workers: int,
        submit: Callable[[Job, Task, bytes | None, float], Any],
        first: Callable[[Sequence[Any]], Any],
        result: Callable[[Any], Segment],
    ) -> None:
        self.workers, self._submit, self._first, self._result = workers, submit, first, result

    def run(self, jobs: Sequence[Job], workspace: Workspace, deliver: Deliver) -> None:
        """As ``Engine.run``."""
        waiting: list[tuple[Job, bytes | None]] = []
        for job in jobs:
            state = _begin(job, workspace)
            if state is None or not job.is_finished(state):
                waiting.append((job, None if state is None else job.checkpoint.read_bytes()))
        running: dict[Any, Job] = {}
        while waiting or running:
            while waiting and len(running) < self.workers:
                job, begun = waiting.pop(0)
                running[self._submit(job, job.task, begun, workspace.checkpoint_seconds)] = job
            done = self._first(list(running))
            job = running.pop(done)
            segment = self._result(done)
            for epoch, measured in segment.measured.items():
                deliver(job, epoch, measured)
            write_whole(job.checkpoint, segment.checkpoint)
            workspace.progress.advance(segment.units)
            if not segment.finished:
                waiting.insert(0, (job, segment.checkpoint))


def _begin(job: Job, workspace: Workspace) -> dict[str, Any] | None:
    """The state to go on from, with the progress told what of the job is done; a damaged one is done without."""
    try:
        state = load_checkpoint(job.checkpoint)
    except InputError as error:
        warn(f"{error}; they are started again now")
        return None
    if state is not None:
        workspace.progress.advance(job.done(state))
    return state


# --- several devices of this machine ------------------------------------------------------------------------


@contextmanager
def devices(names: Sequence[str]) -> Iterator[Engine]:
    """A process for each of the devices, such as ``["cuda:0", "cuda:1"]``."""
    free = list(names)
    used: dict[futures.Future[Segment], str] = {}

    def submit(job: Job, task: Task, begun: bytes | None, seconds: float) -> Any:
        device = free.pop()
        future = pool.submit(job.stretch, task, device, begun, seconds)
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
    def stretch(job: Job, task: Task, begun: bytes | None, seconds: float) -> Segment:
        torch.set_num_threads(1)
        return job.stretch(task, device.type, begun, seconds)

    def submit(job: Job, task: Task, begun: bytes | None, seconds: float) -> Any:
        if job.spec.data not in shared:
            shared[job.spec.data] = ray.put(task)
            for module in _users_modules(job.spec):  # workers cannot import them: they are sent along
                ray.cloudpickle.register_pickle_by_value(module)
        return stretch.remote(job, shared[job.spec.data], begun, seconds)

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
