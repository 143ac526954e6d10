"""From an id to a folder with results, figures, verdicts and a report."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nonsingular import progress
from nonsingular.errors import InputError
from nonsingular.experiments import about, looks
from nonsingular.experiments.about import About
from nonsingular.experiments.claims import Judgement, judge
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report import differences
from nonsingular.experiments.report.finished import INTERACTIVE, read, write_machine
from nonsingular.experiments.report.pages import write_report
from nonsingular.experiments.run import archive
from nonsingular.experiments.run.archive import described, joined
from nonsingular.experiments.run.workspace import LOCAL, Workspace
from nonsingular.experiments.spec import Spec, digest
from nonsingular.files import LOCK, clear, held, is_empty, to_json, write_whole
from nonsingular.intervals import ERROR, erring_with
from nonsingular.places import warn
from nonsingular.plots import live
from nonsingular.plots.saving import write_figure
from nonsingular.plots.style import palette
from nonsingular.training import Store
from nonsingular.words import counted


@dataclass(frozen=True)
class Outcome:
    """What a reproduction left behind."""

    results: xr.Dataset
    judgements: Sequence[Judgement]
    folder: Path
    report: Path


def reproduce(
    experiment: Experiment,
    spec: Spec,
    workspace: Workspace,
    resume: bool = False,
    look: bool = False,
    asked: About | None = None,
) -> Outcome:
    """Run an experiment, draw its figures, judge its claims and write them all into the workspace's folder.

    Args:
        experiment: what to run.
        spec: as ``make_spec`` gives it.
        workspace: where.
        resume: go on in a folder that already holds part of the same spec's results; of more runs than those, the
            others are added.
        look: whether this is a look after which runs may be added (``looks``); once it was, it always is.
        asked: how it was asked for (``about.asked``), for who reads the folder.

    Raises:
        InputError: the folder holds results and ``resume`` is False, or those of another spec; another process writes
            to it.
    """
    folder = workspace.folder
    with claimed(folder, spec, resume, more_runs=True) as begun:
        try:
            results = _measured(experiment, replace(spec, runs=begun or spec.runs), workspace)
        except InputError:
            if begun is None and {p.name for p in folder.iterdir()} <= {"spec.json", LOCK}:  # nothing was begun
                (folder / "spec.json").unlink()
            raise
        if begun is not None and begun < spec.runs:  # what was begun is finished first
            results = _with_more_runs(results, experiment, spec, workspace)
        looks.note(folder, results.sizes.get("run", spec.runs), look)
        if asked is not None:
            about.update(folder, experiment, asked)
        return publish(experiment, results, folder)


STORE = "results.zarr"
PARTS = "parts-of-more-runs"
"""Folder of runs that are being added to finished ones."""


def _measured(experiment: Experiment, spec: Spec, workspace: Workspace) -> xr.Dataset:
    """The measured data of a spec: those that the folder holds, or those of a run that begins or goes on now."""
    folder = workspace.folder
    results = finished_data(folder)
    if results is None:
        results = _run(experiment, spec, workspace)
        write_machine(folder, workspace.device)
    if not (folder / archive.FILE).exists():
        keep(folder, experiment, spec.to_json(), results)
    return archive.read(folder)  # judged is what is kept


def _with_more_runs(results: xr.Dataset, experiment: Experiment, spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Finished results, and the runs of ``spec`` that they lack, which are run now."""
    folder = workspace.folder
    wanted = set(range(spec.seed, spec.seed + spec.runs))
    if "run" not in results.coords:
        raise InputError(f"{spec.experiment} has no runs to which others could be added; name another --out")
    held = set(results.run.values.tolist())
    if held - wanted:
        raise InputError(f"{folder} holds runs of seeds that are not consecutive; run the others apart and merge them")
    parts = [("the finished runs", results), *_added(experiment, spec, workspace, sorted(wanted - held))]
    shutil.rmtree(folder / STORE, ignore_errors=True)
    keep(folder, experiment, spec.to_json(), joined(parts))
    write_machine(folder, workspace.device)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    return archive.read(folder)


def keep(folder: Path, experiment: Experiment, spec: str, results: xr.Dataset) -> None:
    """Write the measured data, and the spec that asks for them, into a folder.

    Args:
        folder: held by this process.
        experiment: whose they are.
        spec: as ``Spec.to_json`` writes it.
        results: of that spec.
    """
    if "run" in results.dims and "run" not in results.coords:
        first = int(json.loads(spec)["seed"])
        results = results.assign_coords(run=np.arange(first, first + results.sizes["run"]))
    whole = described(results, experiment.labels, experiment=experiment.id, spec=spec, digest=digest(spec))
    if not (folder / STORE).exists():
        Store.save(folder / STORE, whole)
    archive.write(folder, whole)  # first: a crash between the two leaves more runs than were asked for, never fewer
    write_whole(folder / "spec.json", spec + "\n")


def _added(
    experiment: Experiment, spec: Spec, workspace: Workspace, seeds: Sequence[int]
) -> Iterator[tuple[str, xr.Dataset]]:
    """The runs with these seeds, each stretch of them as an experiment of its own."""
    stretches = [seed for seed in seeds if seed - 1 not in seeds]
    for first in stretches:
        last = next(seed for seed in seeds if seed >= first and seed + 1 not in seeds)
        folder = workspace.folder / PARTS / f"{first}-{last}"
        folder.mkdir(parents=True, exist_ok=True)
        part = replace(spec, seed=first, runs=last - first + 1)
        there = replace(workspace, folder=folder, experiment_folder=workspace.folder)
        yield f"runs {first} to {last}", _run(experiment, part, there)


def _run(experiment: Experiment, spec: Spec, workspace: Workspace) -> xr.Dataset:
    """The experiment's results; who asked for another engine is told where there is no work for it."""
    if spec.training is None and workspace.engine != LOCAL:
        warn(f"{experiment.id} trains no networks: it is computed in this process, not on {workspace.engine}")
    return experiment.run(spec, workspace)


def reproduce_until_decided(
    experiment: Experiment,
    spec: Spec,
    workspace: Workspace,
    budget: float,
    resume: bool = False,
    asked: About | None = None,
) -> Outcome:
    """As ``reproduce``, and then with more runs until every claim is decided or ``budget`` seconds are gone.

    Intervals are as ``looks`` has them: valid however often claims were looked at.

    Raises:
        InputError: as ``reproduce``.
    """
    began = {"resume": resume}

    def look(runs: int) -> looks.Found:
        outcome = reproduce(experiment, replace(spec, runs=runs), workspace, began["resume"], True, asked)
        began["resume"] = True
        undecided = [j for j in outcome.judgements if j.verdict == "inconclusive"]
        measured = [j.id for j in undecided if j.measured is not None and math.isfinite(j.measured)]
        results = outcome.results
        return looks.Found(results.sizes.get("run", runs), [j.id for j in undecided], measured, "run" in results.coords)

    folder = workspace.folder
    runs = spec.runs
    if resume and (folder / "spec.json").exists():
        runs = max(runs, int(_kept_spec(folder / "spec.json")["runs"]))
    before = finished_data(folder) if resume else None
    finished = before.sizes.get("run", runs) if before is not None else 0
    looks.until_decided(look, folder, runs, finished, budget)
    with held(folder):
        return publish(experiment, archive.read(folder), folder)  # now that it is known why no more runs were added


def finished_data(folder: Path) -> xr.Dataset | None:
    """The measured data of a finished experiment, or None where there are none; earlier versions kept a store alone.

    Raises:
        InputError: they are damaged.
    """
    if (folder / archive.FILE).exists():
        return archive.read(folder)
    if (folder / "claims.json").exists() and (folder / STORE).exists():
        return Store(folder / STORE).read()
    return None


def publish(experiment: Experiment, results: xr.Dataset, folder: Path) -> Outcome:
    """Figures, claims and report from results, for the spec that the folder holds."""
    spec = _kept_spec(folder / "spec.json")
    with progress.stretch("drawing and judging", None, ""):
        figures = folder / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        networks = results.network.values if "network" in results.coords else ()
        with palette(map(str, networks)):  # of all figures: a network looks the same in each
            for name, figure in experiment.draw(results).items():
                write_figure(figures, name, figure)
        data = str(spec["data"]["name"]) if spec.get("data") else "none"
        share = differences.share(experiment, spec)
        about.update(folder, experiment)
        looked = looks.read(folder)
        with erring_with(looked.error if looked else ERROR):
            judgements = [
                judge(claim, results, scale=str(spec["scale"]), data=data, share=share) for claim in experiment.claims
            ]
        if looked:
            judgements = [replace(j, note="; ".join(filter(None, (j.note, str(looked))))) for j in judgements]
        write_whole(folder / "claims.json", to_json([j.to_json() for j in judgements]) + "\n")
        _keep_interactive(experiment, results, folder / INTERACTIVE)
        report = write_report(folder / "report.html", [read(folder)], {experiment.id: experiment})
        return Outcome(results, judgements, folder, report)


def _keep_interactive(experiment: Experiment, results: xr.Dataset, folder: Path) -> None:
    """Keep the plotly figures as JSON, for pages made later; the report stands without them where plotly is missing."""
    if experiment.interactive is None or not live.available():
        return
    folder.mkdir(exist_ok=True)
    figures = experiment.interactive(results)
    for old in folder.glob("*.json"):
        if old.stem not in figures:
            old.unlink()
    for name, figure in figures.items():
        write_whole(folder / f"{name}.json", figure.to_json())


@contextmanager
def claimed(folder: Path, spec: Spec, resume: bool, more_runs: bool = False) -> Iterator[int | None]:
    """Hold a folder for the results of ``spec``; None if they are begun now (``spec.json`` is written).

    If not, the number of runs that were begun there: those of ``spec``, or fewer where ``more_runs`` may be added.

    Raises:
        InputError: the folder holds results and ``resume`` is False; those of another spec, or more runs; or other
            files; or another process writes to it.
    """
    _begun(folder, spec, resume, more_runs)  # what is refused is not touched, not even by a lock
    with held(folder):
        runs = _begun(folder, spec, resume, more_runs)
        if runs is None:
            write_whole(folder / "spec.json", spec.to_json() + "\n")
        yield runs


def _begun(folder: Path, spec: Spec, resume: bool, more_runs: bool) -> int | None:
    """How many runs of ``spec`` the folder is meant to hold, or None where there is nothing of it yet."""
    path = folder / "spec.json"
    if path.exists():
        if not resume:
            raise InputError(f"{folder} already holds results; add --resume to go on there, or name another --out")
        kept, asked = _kept_spec(path), json.loads(spec.to_json())
        if (kept | {"runs": 0} != asked | {"runs": 0}) if more_runs else kept != asked:
            raise InputError(
                f"{folder} holds the results of another spec (see {path}); "
                "repeat the command that began it, or name another --out"
            )
        if kept["runs"] > spec.runs:
            raise InputError(
                f"{folder} holds the results of {counted(kept['runs'], 'run')}; ask for as many or more (--runs), "
                "or name another --out"
            )
        return int(kept["runs"])
    if folder.exists() and not is_empty(folder):
        raise InputError(f"{folder} is not empty and holds no spec.json; name another --out")
    return None


def discard(folder: Path, experiment: str) -> None:
    """Remove an earlier run of ``experiment`` from ``folder``, if that is what the folder holds."""
    path = folder / "spec.json"
    if path.exists() and _kept_spec(path)["experiment"] == experiment:
        with held(folder):
            clear(folder)


def _kept_spec(path: Path) -> dict[str, Any]:
    try:
        spec: dict[str, Any] = json.loads(path.read_text())
        spec["experiment"], int(spec["runs"])
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
