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
    seeds = set(range(spec.seed, spec.seed + spec.runs))
    folders = [] if (workspace.folder / "results.zarr").exists() else workspace.beside()
    for folder in folders:
        if _study(folder) == asked and (results := _finished(folder)) is not None and seeds <= set(results.run.values):
            return results.sel(run=sorted(seeds))
    return run_study(spec, workspace)


def _study(folder: Path) -> dict[str, Any] | None:
    """The spec that a folder holds, of whichever figure; None of somebody else's or a damaged one."""
    try:
        return dict(json.loads((folder / "spec.json").read_text())) | FIGURES_OWN
    except (OSError, ValueError, TypeError):
        return None


def _finished(folder: Path) -> xr.Dataset | None:
    """Its measured data; None where they are unfinished, damaged, or of a version that kept none."""
    try:
        return archive.read(folder)
    except InputError:
        return None
