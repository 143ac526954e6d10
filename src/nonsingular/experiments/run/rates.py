"""Learning rates by a small search before a study, architecture by architecture, and kept with its results.

What is searched for is the lowest training loss after a few epochs of a seed apart: never what a claim is about.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.training import Member

LABELS = {
    "tried_loss": "training loss after the search of a rate (nats)",
    "learning_rate": "learning rate",
    "rate": "learning rate that was tried",
}
"""Of what a search gives."""

SEED = 1_000_000
"""Of the networks that are tried: none of a study's own."""


def with_rates(spec: Spec, workspace: Workspace) -> tuple[Spec, xr.Dataset]:
    """The spec with a learning rate for each network, if its settings ask for a search, and what the search found.

    Args:
        spec: ``settings["rates"]`` has the rates ``tried`` and the ``epochs`` that each is tried for.
        workspace: the search is kept in a folder of it; runs that are added later take it up there.

    Returns:
        The spec, and ``tried_loss`` over ``network`` and ``rate`` (infinite where training diverged) with the
        ``learning_rate`` taken; an empty data set where nothing is searched.
    """
    search = spec.settings.get("rates")
    if search is None or spec.training is None:
        return spec, xr.Dataset()
    own = spec.settings.get("training", {})
    tries = {f"{m.name} at {rate:g}": (m, rate) for m in spec.networks for rate in search["tried"]}
    trial = replace(
        spec,
        experiment="search of rates",
        runs=1,
        seed=SEED,
        networks=tuple(Member(name, m.network, m.penalty, m.breaker) for name, (m, _) in tries.items()),
        training=replace(spec.training, epochs=search["epochs"], milestones=()),
        instruments={"train_accuracy": (LAST,)},
        settings={"training": {n: own.get(m.name, {}) | {"learning_rate": rate} for n, (m, rate) in tries.items()}},
        keep="",
    )
    folder = (workspace.experiment_folder or workspace.folder) / "rates"
    found = run_study(trial, replace(workspace, folder=folder))
    loss = found.train_loss.isel(run=0, epoch=-1).values.reshape(len(spec.networks), -1)
    loss = np.where(np.isfinite(loss), loss, np.inf)
    rates = [search["tried"][best] for best in loss.argmin(axis=1)]
    chosen = {m.name: own.get(m.name, {}) | {"learning_rate": r} for m, r in zip(spec.networks, rates, strict=True)}
    searched = xr.Dataset(
        {"tried_loss": (("network", "rate"), loss), "learning_rate": ("network", rates)},
        {"network": [m.name for m in spec.networks], "rate": search["tried"]},
    )
    return replace(spec, settings={**spec.settings, "training": chosen}), searched
