"""Where an experiment works: its folder, its device, and how it says how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from nonsingular.experiments.known import known

T = TypeVar("T")

LOCAL = "local"
ENGINES = (LOCAL, "ray")


class Progress(Protocol):
    """Something that shows how far a long computation is."""

    def start(self, name: str, total: int, unit: str = "net-steps") -> None:
        """A stretch of work of ``total`` units begins."""

    def advance(self, steps: int = 1) -> None:
        """``steps`` of it are done."""


class Silent:
    """Progress for programs: shows nothing."""

    def start(self, name: str, total: int, unit: str = "net-steps") -> None:
        """Nothing."""

    def advance(self, steps: int = 1) -> None:
        """Nothing."""


CPU = torch.device("cpu")
SILENT = Silent()


@dataclass(frozen=True)
class Workspace:
    """What one experiment's run is given besides its spec; none of it changes the results beyond rounding.

    Attributes:
        folder: for the store, checkpoints and figures.
        device: where networks are trained.
        progress: told how far the work is.
        data_dir: local Parquet files, as ``data.load`` takes it.
        runs_at_once: networks in one vectorised step; None takes as many as fit in memory.
        engine: where networks are trained and measured: ``local`` or ``ray``.
        experiment_folder: of the finished experiment to which these runs are added; None where they are its first.
        checkpoint_seconds: a stopped run loses at most this much work and one epoch.

    Raises:
        InputError: unknown engine.
    """

    folder: Path
    device: torch.device = CPU
    progress: Progress = SILENT
    data_dir: Path | None = None
    runs_at_once: int | None = None
    engine: str = LOCAL
    experiment_folder: Path | None = None
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        known("engine", self.engine, ENGINES)

    def each(self, name: str, things: Iterable[T], unit: str) -> Iterator[T]:
        """The things one by one; progress is told of each that is done with."""
        things = list(things)
        self.progress.start(name, len(things), unit)
        for thing in things:
            yield thing
            self.progress.advance()

    def beside(self, name: str) -> list[Path]:
        """What has this name in folders beside the experiment's: what others have trained is not trained again."""
        mine = self.experiment_folder or self.folder
        return sorted(path for path in mine.parent.glob(f"*/{name}") if path.parent != mine)
