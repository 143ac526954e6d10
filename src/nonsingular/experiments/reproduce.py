"""From an id to a folder with results, figures, verdicts and a report."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.claims import Judgement, judge
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.finished import read, write_machine
from nonsingular.experiments.report import write_report
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.workspace import Workspace
from nonsingular.files import clear, held, is_empty, write_whole
from nonsingular.training import Store

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure


@dataclass(frozen=True)
class Outcome:
    """What a reproduction left behind."""

    spec: Spec
    results: xr.Dataset
    judgements: Sequence[Judgement]
    folder: Path
    report: Path


def reproduce(experiment: Experiment, spec: Spec, workspace: Workspace, resume: bool = False) -> Outcome:
    """Run an experiment, draw its figures, judge its claims and write them all into the workspace's folder.

    Args:
        experiment: what to run.
        spec: as ``make_spec`` gives it.
        workspace: where.
        resume: go on in a folder that already holds part of the same spec's results.

    Raises:
        InputError: the folder holds results and ``resume`` is False, or those of another spec; another process writes
            to it.
    """
    store = workspace.folder / "results.zarr"
    with claimed(workspace.folder, spec, resume) as began:
        try:
            results = experiment.run(spec, workspace)
        except InputError:
            if began and not store.exists():  # nothing was begun: leave nothing in the way of the next try
                (workspace.folder / "spec.json").unlink()
            raise
        if not store.exists():
            Store.save(store, results)
        write_machine(workspace.folder, workspace.device)
        return publish(experiment, spec, results, workspace.folder)


def publish(experiment: Experiment, spec: Spec, results: xr.Dataset, folder: Path) -> Outcome:
    """Figures, claims and report from results."""
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for name, figure in experiment.draw(results).items():
        for suffix in ("png", "svg"):
            figure.savefig(figures / f"{name}.{suffix}")
    data = spec.data.name if spec.data else "none"
    judgements = [judge(claim, results, scale=spec.scale, data=data) for claim in experiment.claims]
    write_whole(folder / "claims.json", json.dumps([j.to_json() for j in judgements], indent=2) + "\n")
    report = write_report(
        folder / "report.html", [read(folder)], {experiment.id: experiment}, _interactive(experiment, results)
    )
    return Outcome(spec, results, judgements, folder, report)


def _interactive(experiment: Experiment, results: xr.Dataset) -> Mapping[str, PlotlyFigure]:
    """The plotly figures, or none where the optional library is missing: the report stands without them."""
    if experiment.interactive is None or importlib.util.find_spec("plotly") is None:
        return {}
    return experiment.interactive(results)


@contextmanager
def claimed(folder: Path, spec: Spec, resume: bool) -> Iterator[bool]:
    """Hold a folder for the results of ``spec``; True if they are begun now (``spec.json`` is written).

    Raises:
        InputError: the folder holds results and ``resume`` is False; those of another spec; or other files; or another
            process writes to it.
    """
    _begins(folder, spec, resume)  # what is refused is not touched, not even by a lock
    with held(folder):
        begins = _begins(folder, spec, resume)
        if begins:
            write_whole(folder / "spec.json", spec.to_json() + "\n")
        yield begins


def _begins(folder: Path, spec: Spec, resume: bool) -> bool:
    """Whether there is nothing of ``spec`` in the folder yet."""
    path = folder / "spec.json"
    if path.exists():
        if not resume:
            raise InputError(f"{folder} already holds results; add --resume to go on there, or name another --out")
        if _kept_spec(path) != json.loads(spec.to_json()):
            raise InputError(
                f"{folder} holds the results of another spec (see {path}); "
                "repeat the command that began it, or name another --out"
            )
        return False
    if folder.exists() and not is_empty(folder):
        raise InputError(f"{folder} is not empty and holds no spec.json; name another --out")
    return True


def discard(folder: Path, experiment: str) -> None:
    """Remove an earlier run of ``experiment`` from ``folder``, if that is what the folder holds."""
    path = folder / "spec.json"
    if path.exists() and _kept_spec(path)["experiment"] == experiment:
        with held(folder):
            clear(folder)


def _kept_spec(path: Path) -> dict[str, Any]:
    try:
        spec: dict[str, Any] = json.loads(path.read_text())
        spec["experiment"]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is damaged; name another --out") from None
    return spec


def summary(results: xr.Dataset, variables: Sequence[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Network -> variable -> (mean, standard error) over runs at the last epoch, averaged over layers."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for network in results.network.values:
        table[str(network)] = {}
        for name in variables:
            values = results[name].sel(network=network).isel(epoch=-1)
            values = values.mean("layer") if "layer" in values.dims else values
            runs = int(values.notnull().sum())
            error = float(values.std("run", ddof=1)) / math.sqrt(runs) if runs > 1 else math.nan
            table[str(network)][name] = (float(values.mean("run")), error)
    return table
