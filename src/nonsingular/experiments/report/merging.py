"""Runs of one study that were computed apart, put together as if they had been computed as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments import about, looks
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report import differences, finished
from nonsingular.experiments.reproducing import Outcome, finished_data, keep, publish
from nonsingular.experiments.run import archive
from nonsingular.files import clear, held, is_empty

MERGING = ".merging"
"""Name of the file that is in the folder until all is: what a merge that was stopped has left, the next throws away."""
EACH_PARTS_OWN = {"seed", "runs"}
"""Fields of a spec in which parts of one study differ."""


def merge(folders: Sequence[Path], out: Path, experiment: Callable[[str], Experiment]) -> Outcome:
    """The runs of several finished results of one study as one result: drawn, judged and kept in a folder of its own.

    Args:
        folders: of the finished experiments.
        out: a folder that holds nothing yet.
        experiment: gives the experiment with an id.

    Raises:
        InputError: fewer than two folders; a folder without measured data; different studies (the message says what
            differs); a run that two parts hold with different numbers; ``out`` holds something.
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise InputError("merging takes the folders of at least two different results")
    parts = [(folder, *_read(folder)) for folder in folders]
    first, spec, _ = parts[0]
    for folder, other, _ in parts[1:]:
        _require_one_study(first, spec, folder, other)
    results = archive.joined([(str(folder), data) for folder, _, data in parts])
    seeds = results.run.values.tolist()
    whole = {**spec, "seed": min(seeds), "runs": len(seeds)}
    if seeds != list(range(min(seeds), min(seeds) + len(seeds))):
        whole["seeds"] = seeds  # of no consecutive runs: nothing can be added by --resume
    _require_free(out)
    with held(out):
        _require_free(out)  # another process may have finished there since
        clear(out)
        (out / MERGING).touch()
        keep(out, experiment(str(spec["experiment"])), json.dumps(whole, indent=2, sort_keys=True), results)
        looked = [found for folder, _, _ in parts if (found := looks.read(folder))]
        if looked:  # the whole is a further look
            looks.write(out, max(looked, key=lambda found: len(found.runs)))
            looks.note(out, len(seeds), begin=True)
        about.write(out, about.read(folders[0]))
        finished.write_machines(out, [folder for folder, _, _ in parts])
        outcome = publish(experiment(str(spec["experiment"])), archive.read(out), out)
        (out / MERGING).unlink()
        return outcome


def _require_free(out: Path) -> None:
    if out.exists() and not is_empty(out) and not (out / MERGING).exists():
        raise InputError(f"{out} is not empty; name another --out")


def _read(folder: Path) -> tuple[dict[str, Any], xr.Dataset]:
    spec = finished.read(folder).spec
    results = finished_data(folder)
    if results is None:
        raise archive.missing(folder)
    return spec, results


def _require_one_study(first: Path, a: Mapping[str, Any], other: Path, b: Mapping[str, Any]) -> None:
    fields = sorted(k for k in set(a) | set(b) if a.get(k) != b.get(k) and k not in EACH_PARTS_OWN)
    if not fields:
        return
    said = "; ".join(differences.between(a, b, passed=tuple(EACH_PARTS_OWN)))
    raise InputError(f"{first} and {other} are different studies: {said or 'other ' + ', '.join(fields)}")
