"""Studies that several figures of a paper share: trained once, and taken from the figure that trained them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.run import archive
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec

FIGURES_OWN = {"experiment": "", "runs": 0, "seed": 0}
"""Fields in which specs of one study may differ."""


def run_shared(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """As ``run_study``, unless a folder beside the workspace's holds the measured data of these runs of an equal study.

    Studies are equal when their specs differ in the experiment's id alone, and in which runs of them were asked for.
    """
    asked = json.loads(spec.to_json()) | FIGURES_OWN
    specs = [] if (workspace.folder / "results.zarr").exists() else workspace.beside("spec.json")
    seeds = list(range(spec.seed, spec.seed + spec.runs))
    for results in (_finished(path.parent) for path in specs if _study(path) == asked):
        if results is not None and set(seeds) <= set(results.run.values.tolist()):
            return results.sel(run=seeds)
    return run_study(spec, workspace)


def _study(path: Path) -> dict[str, Any] | None:
    """The spec that a file holds, of whichever figure; None of somebody else's or a damaged one."""
    try:
        return dict(json.loads(path.read_text())) | FIGURES_OWN
    except (OSError, ValueError, TypeError):
        return None


def _finished(folder: Path) -> xr.Dataset | None:
    """The measured data of a folder; None where they are unfinished, damaged, or of a version that kept none."""
    try:
        return archive.read(folder)
    except InputError:
        return None
