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
    if not (workspace.folder / "results.zarr").exists():
        mine = workspace.experiment_folder or workspace.folder
        for path in sorted(mine.parent.glob("*/spec.json")):
            found = _same_runs(spec, path) if path.parent != mine else None
            if found is not None:
                return found
    return run_study(spec, workspace)


def _same_runs(spec: Spec, path: Path) -> xr.Dataset | None:
    """The runs of ``spec`` among the measured data beside the spec at ``path``, if it is one of the same study."""
    if _kept(path) != json.loads(spec.to_json()) | FIGURES_OWN:
        return None
    try:
        results = archive.read(path.parent)
    except InputError:
        return None  # unfinished, damaged, or of a version that kept none
    seeds = list(range(spec.seed, spec.seed + spec.runs))
    return results.sel(run=seeds) if set(seeds) <= set(results.run.values.tolist()) else None


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text())) | FIGURES_OWN
    except (OSError, ValueError, TypeError):
        return None  # somebody else's or damaged: none of ours
