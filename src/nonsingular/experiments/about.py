"""What a finished experiment's folder says of it beside its spec, so that it can be told of without its code.

That is its title, what it does otherwise than the paper, and how it was asked for: a figure in a user's own file is not
known to who reads its folder later.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.overrides import Overrides
from nonsingular.files import to_json, write_whole

FILE = "about.json"


@dataclass(frozen=True)
class About:
    """What is said of an experiment.

    Attributes:
        title: one line; empty where nothing was kept.
        differs: as ``Experiment``.
        name: what ``nonsingular reproduce`` was given: an id, or ``FILE.py:NAME``; empty where that was not kept.
        asked: what was asked for instead of the scale's own: fields of ``Overrides`` but for the runs.
    """

    title: str = ""
    differs: tuple[str, ...] = ()
    name: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> Overrides:
        """What was asked for."""
        known = {f.name for f in dataclasses.fields(Overrides)}
        given = {name: value for name, value in self.asked.items() if name in known}
        return Overrides(**(given | {"networks": tuple(given.get("networks", ()))}))


def read(folder: Path) -> About:
    """What a folder says; nothing where it is silent, as those of earlier versions are, or damaged."""
    try:
        kept = json.loads((folder / FILE).read_text())
        return About(str(kept["title"]), tuple(map(str, kept["differs"])), str(kept["name"]), dict(kept["asked"]))
    except (OSError, ValueError, TypeError, KeyError):
        return About()


def write(folder: Path, about: About) -> None:
    """Keep it."""
    write_whole(folder / FILE, to_json(dataclasses.asdict(about)) + "\n")


def asked(name: str, overrides: Overrides) -> About:
    """How an experiment is asked for now; its runs are the spec's, of all that are added and merged."""
    given = {k: v for k, v in vars(replace(overrides, runs=None, seed=None)).items() if v not in (None, ())}
    return About(name=name, asked=given)


def update(folder: Path, experiment: Experiment, now: About | None = None) -> None:
    """Keep an experiment's title and differences, and how it was asked for: now, or as the folder says."""
    found = now or read(folder)
    write(folder, replace(found, title=experiment.title, differs=experiment.differs))
