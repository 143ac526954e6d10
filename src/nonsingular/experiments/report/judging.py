"""Finished experiments judged again: claims and figures from the data that they kept, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonsingular import progress
from nonsingular.errors import InputError
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report.finished import Finished, find, read_rows
from nonsingular.experiments.reproducing import Outcome, finished_data, keep, publish
from nonsingular.experiments.run import archive
from nonsingular.files import held

EXPERIMENTS = "experiments"  # what progress is counted in


@dataclass(frozen=True)
class Again:
    """A finished experiment after it was judged again.

    Attributes:
        folder: where.
        rows: of its ``claims.json`` now.
        changed: claim -> verdict before and now, of those that changed; None for a verdict that there was not.
        refused: why it could not be judged again; empty where it was.
    """

    folder: Path
    rows: Sequence[Mapping[str, Any]]
    changed: Mapping[str, tuple[str | None, str | None]]
    refused: str = ""


def judge_all(folders: Sequence[Path], experiment: Callable[[str], Experiment]) -> list[Again]:
    """Judge every finished experiment in the folders and below; those that kept no data stay as they are.

    Args:
        folders: to look in.
        experiment: gives the experiment with an id.

    Raises:
        InputError: none of them could be judged; the message says why not.
    """
    ended, found = find(folders), []
    with progress.stretch("judging", len(ended), EXPERIMENTS):
        for one in ended:
            found.append(_judged(one, experiment))
            progress.count(EXPERIMENTS)
    if all(again.refused for again in found):
        others = f" (and {len(found) - 1} more folders)" if len(found) > 1 else ""
        raise InputError(found[0].refused + others)
    return found


def _judged(finished: Finished, experiment: Callable[[str], Experiment]) -> Again:
    before = {str(row["id"]): str(row["verdict"]) for row in finished.claims}
    try:
        judge_again(experiment(finished.id), finished.folder)
    except InputError as reason:
        return Again(finished.folder, finished.claims, {}, str(reason))
    rows = read_rows(finished.folder / "claims.json")
    now = {str(row["id"]): str(row["verdict"]) for row in rows}
    changed = {id: (before.get(id), now.get(id)) for id in now | before if before.get(id) != now.get(id)}
    return Again(finished.folder, rows, changed)


def judge_again(experiment: Experiment, folder: Path) -> Outcome:
    """Draw and judge a finished experiment again from the data that it kept.

    Raises:
        InputError: it kept none, or they are damaged; another process writes to the folder.
    """
    with held(folder):
        results = finished_data(folder)
        if results is None:
            raise archive.missing(folder)
        if not (folder / archive.FILE).exists():  # of a version that kept a store alone
            keep(folder, experiment, (folder / "spec.json").read_text().strip(), results)
        return publish(experiment, archive.read(folder), folder)
