"""A search: rounds of trials, each trained as one population, judged by the mean training accuracy over the epochs.

All trials see the same seeds, so that they differ in the searched numbers alone: the same initial weights, orders of
batches and standard normal numbers behind the target biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nonsingular.checks import checked
from nonsingular.data import prepare
from nonsingular.errors import InputError
from nonsingular.experiments.overrides import Overrides, override
from nonsingular.experiments.quantities import SPEED
from nonsingular.experiments.reproducing import claimed
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Progress, Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.files import to_json, write_whole
from nonsingular.networks import named
from nonsingular.papers.orhan2018.parts import bias_regularisation, protocol
from nonsingular.plots.saving import write_figure
from nonsingular.plots.search import draw
from nonsingular.search.numbers import NUMBERS, Range, applied
from nonsingular.search.proposals import Proposals, check, full_disk_named
from nonsingular.training import Member

OBJECTIVE = "mean training accuracy over the epochs (%)"
REFERENCE = "reference"


@dataclass(frozen=True)
class Size:
    """How much a search does at a scale: epochs of each trial, trials in all, trials trained together."""

    epochs: int
    trials: int
    together: int


SIZES = {"smoke": Size(2, 6, 3), "laptop": Size(12, 20, 10), "overnight": Size(20, 60, 20), "paper": Size(100, 200, 50)}
"""The paper tells neither how many trials it made nor for how long it trained them."""


@checked
def make_spec(
    scale: str, found: tuple[Range, ...], network: str, sampler: str, overrides: Overrides | None = None
) -> Spec:
    """The protocol of a search: 30-layer networks (orhan2018 §2.6) with the caller's changes.

    Args:
        scale: one of ``SCALES``.
        found: what is searched, as ``ranges`` reads it.
        network: one of the named networks.
        sampler: a name in ``proposals.SAMPLERS``.
        overrides: as of ``reproduce``.

    Raises:
        InputError: unknown scale, network, data set, scaling or sampler; numbers out of range.
        MissingExtra: Optuna is not installed.

    >>> import nonsingular as ns
    >>> spec = ns.search.make_spec("smoke", ns.search.ranges(["mu", "sigma", "lambda"]), "plain", "random")
    >>> spec.experiment, spec.networks[0].network.depth
    ('search', 30)
    """
    size = at_scale(SIZES, scale)
    check(sampler, found)
    images = protocol.images((overrides or Overrides()).data, scale)
    spec = Spec(
        "search",
        scale,
        data=images,
        networks=(Member(network, named(network, depth=30)),),
        training=protocol.training(images, size.epochs, at_scale(bias_regularisation.BATCH, scale)),
        instruments={"train_accuracy": None},
        settings={"ranges": {r.name: [r.low, r.high] for r in found}, "sampler": sampler},
    )
    return override(spec, replace(overrides or Overrides(), data=None))


@checked
def search(
    spec: Spec, workspace: Workspace, trials: int | None = None, together: int | None = None, resume: bool = False
) -> xr.Dataset:
    """Train ``trials`` trials in rounds and keep them; or go on where an earlier call stopped.

    The number of trials is no part of the spec: a finished search goes on when more are asked for.

    Args:
        spec: as ``make_spec`` gives it.
        workspace: its folder gets ``spec.json``, ``study.db`` (Optuna's), ``trials/``, ``search.json``, ``figures/``.
        trials: how many in all; None takes the scale's number.
        together: trials trained as one population. Only those of equal depth, width and learning rate can be; others
            are trained one after the other. None takes the scale's number.
        resume: go on in a folder that already holds part of the same spec's search.

    Returns:
        Per ``trial``: the searched numbers, ``accuracy`` (%, NaN where a run diverged) and ``best`` so far.

    Raises:
        InputError: missing data; a folder with another search, or with this one and ``resume`` False.
        MissingExtra: Optuna is not installed.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import nonsingular as ns
    >>> from nonsingular.experiments.overrides import Overrides
    >>> from nonsingular.experiments.run.workspace import Workspace
    >>> small = Overrides(data="digits", runs=1, epochs=1)
    >>> spec = ns.search.make_spec("smoke", ns.search.ranges(["mu"]), "plain", "random", small)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = ns.search.search(spec, Workspace(Path(folder)), trials=1)
    >>> sorted(found.dims)
    ['trial']
    """
    size = at_scale(SIZES, spec.scale)
    trials, together = (size.trials if trials is None else trials), (size.together if together is None else together)
    for what, count in (("trials", trials), ("trials at once", together)):
        if count < 1:
            raise InputError(f"{what} must be at least 1, got {count}")
    if spec.data is None or spec.training is None:
        raise InputError("a search needs data and training")
    found = tuple(Range(name, *ends) for name, ends in spec.settings["ranges"].items())
    for end in (0, 1):  # values that a network does not allow are refused before anything is written
        applied(
            {name: ends[end] for name, ends in spec.settings["ranges"].items()}, "", spec.networks[0], spec.training
        )
    task = prepare(spec.data, workspace.data_dir)  # missing data, likewise
    steps = spec.runs * spec.training.epochs * spec.training.steps(len(task.train_labels))
    study = workspace.folder / "study.db"
    with claimed(workspace.folder, spec, resume), full_disk_named(study):
        proposals = Proposals(study, found, spec.settings["sampler"], spec.seed)
        workspace.progress.start("search", (max(trials, len(proposals.trials)) + 1) * steps)
        inner = replace(workspace, progress=_Within(workspace.progress))
        reference = _train({REFERENCE: {}}, spec, inner, REFERENCE)[REFERENCE]
        workspace.progress.advance(steps * sum(t.state.is_finished() for t in proposals.trials))
        _run_rounds(proposals, spec, inner, trials, together)
        return _publish(_results(proposals, spec, reference), workspace.folder)


def _run_rounds(proposals: Proposals, spec: Spec, workspace: Workspace, trials: int, together: int) -> None:
    while (number := proposals.unfinished()) is not None or len(proposals.trials) < trials:
        if number is None:
            number = proposals.ask(min(together, trials - len(proposals.trials)))
        asked = {str(place): t for place, t in proposals.round(number).items()}
        values = {name: proposals.values(t) for name, t in asked.items()}
        for name, value in _train(values, spec, workspace, f"{number:04d}").items():
            proposals.tell(asked[name], value)


class _Within:
    """Progress of a round within that of the search."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def start(self, name: str, total: int, unit: str = "net-steps") -> None:
        """The search has started its own."""

    def advance(self, steps: int = 1) -> None:
        """Some steps of the search are done."""
        self._whole.advance(steps)


def _train(
    trials: Mapping[str, Mapping[str, float]], spec: Spec, workspace: Workspace, folder: str
) -> dict[str, float | None]:
    """Accuracy in percent of each trial, None where one of its runs diverged; all are one study."""
    assert spec.training is not None
    members, own = [], {}
    for name, values in trials.items():
        member, training = applied(values, name, spec.networks[0], spec.training)
        members.append(member)
        if training != spec.training:
            own[name] = {"learning_rate": training.learning_rate}
    settings = {**spec.settings, **({"training": own} if own else {})}
    part = replace(spec, networks=tuple(members), settings=settings)
    results = run_study(part, replace(workspace, folder=workspace.folder / "trials" / folder))
    told: dict[str, float | None] = {}
    for member in members:
        whole = results.train_accuracy.sel(network=member.name).notnull().all()
        told[member.name] = float(SPEED(results, member.name).mean()) if whole else None
    return told


def _results(proposals: Proposals, spec: Spec, reference: float | None) -> xr.Dataset:
    trials = proposals.trials
    accuracy = np.array([np.nan if t.value is None else t.value for t in trials])
    best = np.fmax.accumulate(accuracy) if trials else accuracy
    values = [proposals.values(t) for t in trials]
    assert spec.data is not None
    paper = paper_values(spec.data.name)
    return xr.Dataset(
        {
            "accuracy": ("trial", accuracy, {"label": OBJECTIVE}),
            "best": ("trial", best, {"label": OBJECTIVE}),
            **{
                name: (
                    "trial",
                    np.array([v[name] for v in values], dtype=float),
                    {"label": NUMBERS[name].label, "log": NUMBERS[name].log, "low": low, "high": high}
                    | ({"paper": paper[name]} if name in paper else {}),
                )
                for name, (low, high) in spec.settings["ranges"].items()
            },
        },
        coords={"trial": np.arange(len(trials))},
        attrs={
            "data": spec.data.name,
            "scaling": spec.data.scaling,
            "sampler": spec.settings["sampler"],
            "network": spec.networks[0].name,
            "reference": np.nan if reference is None else reference,
            "runs": spec.runs,
        },
    )


def paper_values(data: str) -> dict[str, float]:
    """What the paper found for a data set (orhan2018 Note 2), by name; it does not give its lambda."""
    if data not in ("cifar10", "cifar100"):
        return {}
    found = bias_regularisation.penalty(data)
    return {"mu": found.mean, "sigma": found.deviation}


def summary(results: xr.Dataset) -> dict[str, Any]:
    """What a search found, for programs: the best trial, the reference and every trial; NaN as None.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import nonsingular as ns
    >>> from nonsingular.experiments.overrides import Overrides
    >>> from nonsingular.experiments.run.workspace import Workspace
    >>> small = Overrides(data="digits", runs=1, epochs=1)
    >>> spec = ns.search.make_spec("smoke", ns.search.ranges(["mu"]), "plain", "random", small)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = ns.search.summary(ns.search.search(spec, Workspace(Path(folder)), trials=1))
    >>> found["searched"], len(found["trials"])
    (['mu'], 1)
    """
    names = [name for name in results.data_vars if name not in ("accuracy", "best")]
    trials = [
        {
            "trial": int(t.trial),
            **{str(name): float(t[name]) for name in names},
            "accuracy": float(t.accuracy) if np.isfinite(t.accuracy) else None,
        }
        for t in (results.sel(trial=n) for n in results.trial)
    ]
    finished = [t for t in trials if t["accuracy"] is not None]
    reference = float(results.attrs["reference"])
    return {
        "objective": OBJECTIVE,
        "searched": [str(n) for n in names],
        "best": max(finished, key=lambda t: t["accuracy"]) if finished else None,  # type: ignore[arg-type, return-value]
        "reference": reference if np.isfinite(reference) else None,
        "paper": {str(n): results[n].attrs["paper"] for n in names if "paper" in results[n].attrs},
        "failed": len(trials) - len(finished),
        "trials": trials,
        **{key: results.attrs[key] for key in ("data", "scaling", "network", "sampler", "runs")},
    }


def _publish(results: xr.Dataset, folder: Path) -> xr.Dataset:
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    write_figure(figures, "search", draw(results))
    write_whole(folder / "search.json", to_json(summary(results)) + "\n")
    return results
