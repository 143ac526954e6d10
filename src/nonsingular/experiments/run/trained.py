"""Trained networks, measured one by one on the engine: what surfaces, lines and paths are drawn of.

A study keeps its networks' weights; each network, or each group of networks, is then a job of its own. What has been
measured of it is kept in its checkpoint, so that a stopped run goes on here or on another engine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from nonsingular.data import Task, prepare
from nonsingular.experiments.run import archive, engines
from nonsingular.experiments.run.chunk import Row
from nonsingular.experiments.run.study import finished_training, kept_weights, run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.files import write_whole
from nonsingular.networks import build
from nonsingular.training.store import decode, encode, load_checkpoint

OF_TRAINING = "training"
"""The one of a spec's ``settings`` that changes what is trained."""


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        name: of the member.
        row: its place in the results.
        spec: of the study.
        task: what it was trained on.
        network: in evaluation mode, on the device where it is measured.
        states: its parameters and buffers, epoch by epoch if the study kept them all; the last are the network's.
    """

    name: str
    row: Row
    spec: Spec
    task: Task
    network: nn.Module
    states: Sequence[Mapping[str, Tensor]]


OfTrained = Callable[[Sequence[Trained], Path, Callable[[int], None]], xr.Dataset]
"""(networks, folder for what is finished in part, called with the points just done) -> what was measured of them."""


def run_trained(
    spec: Spec,
    workspace: Workspace,
    measure: OfTrained,
    points: int,
    groups: Mapping[str, Sequence[str]] | None = None,
    dimension: str = "network",
) -> xr.Dataset:
    """Train the networks of a spec on the engine, then measure them there.

    Args:
        spec: ``keep`` says whether a network's measure sees the weights of all epochs or of the last.
        workspace: where what is finished is kept.
        measure: a function of a module, so that it can be sent to other machines; it measures one group of a run.
        points: that it evaluates, for the progress.
        groups: name -> names of the networks that are measured together; by default every network by itself. A group
            that lacks a network, which the caller has left out, is left out too.
        dimension: what the groups are called in the results.

    Returns:
        The study's results without what it has by layer, and what was measured over ``dimension`` and ``run``.
    """
    assert spec.data is not None
    names = [m.name for m in spec.networks]
    groups = groups or {name: (name,) for name in names}
    groups = {group: members for group, members in groups.items() if set(members) <= set(names)}
    series, weights = _train(spec, workspace)
    task = prepare(spec.data, workspace.data_dir)
    jobs = {
        (group, run): Measuring(
            {Row(names.index(m), run): weights[Row(names.index(m), run)] for m in members},
            spec,
            workspace.folder / "checkpoints" / f"{group}-{run}.pt",
            measure,
            points,
            task,
        )
        for group, members in groups.items()
        for run in range(spec.runs)
    }
    if not jobs:
        return series
    for job in jobs.values():
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    workspace.progress.start(f"{spec.experiment}: measured", points * len(jobs), "points")
    with engines.open_engine(workspace) as engine:
        engine.run(list(jobs.values()), workspace, lambda job, epoch, measured: None)
    parts = [[jobs[group, run].result() for run in range(spec.runs)] for group in groups]
    measured = xr.combine_nested(parts, [dimension, "run"], combine_attrs="drop_conflicts")
    measured = measured.transpose(dimension, "run", ...).assign_coords(
        {dimension: list(groups), "run": series.run.values}
    )
    return series.assign(measured.variables).assign_attrs(measured.attrs)


def _train(spec: Spec, workspace: Workspace) -> tuple[xr.Dataset, dict[Row, list[dict[str, Tensor]]]]:
    """The study's results and its kept weights, here or in a folder beside the workspace's that has trained the same.

    Specs train the same whatever their other settings are.
    """
    training = {OF_TRAINING: spec.settings[OF_TRAINING]} if OF_TRAINING in spec.settings else {}
    study = replace(spec, experiment="trained networks", settings=training)
    folder = workspace.folder / "training"
    others = [] if folder.exists() else workspace.beside("training")
    done = next((path for path in others if finished_training(study, path)), None)
    there = replace(workspace, folder=done or folder)
    results = run_study(study, there)
    by_layer = [name for name, array in results.variables.items() if {"layer", "mode"} & set(array.dims)]
    results = results.drop_vars(by_layer)
    results.attrs = {k: v for k, v in results.attrs.items() if k in ("data", "scaling", "scale")}
    return results, kept_weights(there)


@dataclass(frozen=True)
class Measuring:
    """Trained networks that are measured together: a job for an engine.

    Attributes:
        weights: of each network, epoch by epoch that is kept.
        spec: of the study.
        checkpoint: file of what has been measured.
        measure: see ``run_trained``.
        points: that it evaluates.
        task: what the networks were trained on; not sent elsewhere with the job, it comes along.
    """

    weights: Mapping[Row, Sequence[Mapping[str, Tensor]]]
    spec: Spec
    checkpoint: Path
    measure: OfTrained
    points: int
    task: Task

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "task"}

    @property
    def size(self) -> int:
        """Points to evaluate."""
        return self.points

    def done(self, state: Mapping[str, Any]) -> int:
        """Points that a checkpoint has behind it."""
        return int(state["points"])

    def is_finished(self, state: Mapping[str, Any]) -> bool:
        """Whether a checkpoint holds what was measured."""
        return "measured" in state

    def result(self) -> xr.Dataset:
        """What was measured, of a finished job."""
        state = load_checkpoint(self.checkpoint)
        assert state is not None
        return archive.decode(_bytes(state["measured"]))

    def here(self, workspace: Workspace, state: dict[str, Any] | None, deliver: engines.Deliver) -> None:
        """Measure in this process, stretch by stretch: what is finished in part is kept as it would be elsewhere."""
        begun = None if state is None else encode(state)
        while True:
            segment = self._stretch(
                self.task, workspace.device, begun, workspace.checkpoint_seconds, workspace.progress.advance
            )
            write_whole(self.checkpoint, segment.checkpoint)
            if segment.finished:
                return
            begun = segment.checkpoint

    def stretch(self, task: Task, device: str, begun: bytes | None, seconds: float) -> engines.Segment:
        """Measure until ``seconds`` are over, or all is measured."""
        return self._stretch(task, torch.device(device), begun, seconds, lambda count: None)

    def _stretch(
        self, task: Task, device: torch.device, begun: bytes | None, seconds: float, advance: Callable[[int], None]
    ) -> engines.Segment:
        state: dict[str, Any] = {"points": 0, "files": {}} if begun is None else decode(begun)
        points, skip, began = 0, state["points"], time.monotonic()

        def on_points(count: int) -> None:
            nonlocal points, skip
            known = min(skip, count)  # what an earlier stretch has kept is told again
            skip -= known
            points += count - known
            advance(count - known)
            if points and time.monotonic() - began > seconds:
                raise _TimeIsUp

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, content in state["files"].items():
                (folder / file).write_bytes(_bytes(content))
            try:
                found = self.measure(self._networks(task, device), folder, on_points)
                kept: dict[str, Any] = {"points": self.points, "measured": _tensor(archive.encode(found))}
                points = self.points - state["points"]
            except _TimeIsUp:
                files = {path.name: _tensor(path.read_bytes()) for path in sorted(folder.iterdir())}
                kept = {"points": state["points"] + points, "files": files}
        return engines.Segment({}, encode(kept), "measured" in kept, points)

    def _networks(self, task: Task, device: torch.device) -> list[Trained]:
        found = []
        for row, states in self.weights.items():
            member = self.spec.networks[row.network]
            network = build(member.network, task.shape, task.classes, self.spec.seed + row.run)
            network.load_state_dict(states[-1])
            found.append(Trained(member.name, row, self.spec, task, network.eval().to(device), states))
        return found


class _TimeIsUp(Exception):
    """A stretch ends here."""


def _tensor(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def _bytes(content: Tensor) -> bytes:
    return content.numpy().tobytes()
