"""The best and the worst of many equal plain networks, whose only difference is chance (§2.4; figures 4, S2 and S7)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.needs import Need
from nonsingular.experiments.quantities import SPEED, Quantity
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, Measure, Test, claim, correlation, larger, regrouped
from nonsingular.papers.orhan2018.parts.protocol import STARTED

TENTHS = "tenths of the runs by mean training accuracy"
FEWEST = 3  # of the best and of the worst: fewer have no standard error worth the name


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train all runs.

    Raises:
        InputError: fewer than two runs, which have no best and worst.
    """
    if spec.runs < 2:
        raise InputError(f"{spec.experiment} compares its best with its worst runs: --runs must be at least 2, got 1")
    return run_study(spec, workspace)


def groups(results: xr.Dataset) -> xr.Dataset:
    """The best and worst tenth of the runs by mean training accuracy, as two "networks".

    At least three of each where there are six runs or more; never the same run in both.
    """
    per_run(results, "train_accuracy", "plain")  # refuses results without it
    runs = results.sizes["run"]
    tenth = min(max(FEWEST, runs // 10), runs // 2)
    order = np.argsort(SPEED(results, "plain").fillna(-1).values, kind="stable")
    chosen = {"best": order[::-1][:tenth], "worst": order[:tenth]}
    return xr.concat(
        [results.sel(network="plain").isel(run=rows).assign_coords(run=np.arange(tenth)) for rows in chosen.values()],
        xr.Variable("network", list(chosen)),
    )


def best_minus_worst(quantity: Quantity) -> Measure:
    """By how much the best networks have more of a quantity than the worst."""
    return regrouped(groups, larger(quantity, "best", "worst"), TENTHS)


def with_speed(quantity: Quantity) -> Measure:
    """Rank correlation of a quantity with the training speed, over all runs."""
    return correlation(SPEED, quantity, "plain")


def correlated(statement: str, test: Test) -> Declared:
    """A claim about ``with_speed``: of its runs the best and the worst must have trained."""
    return claim(statement, test, needs=BOTH_TRAINED)


def _both_trained(results: xr.Dataset, measure: Measure) -> None:
    STARTED(groups(results), _of_both(measure))


def _of_both(measure: Measure) -> Measure:
    return replace(measure, networks=("best", "worst"))


BOTH_TRAINED = Need(_both_trained, lambda measure: f"{STARTED.said(_of_both(measure))} (best and worst {TENTHS})")
