"""Where an experiment works: its folder, its device, and how it says how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch


class Progress(Protocol):
    """Something that shows how far a long computation is."""

    def start(self, name: str, total: int) -> None:
        """A stretch of work of ``total`` steps begins."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` of it are done; ``note`` is the latest figure worth showing."""


class Silent:
    """Progress for programs: shows nothing."""

    def start(self, name: str, total: int) -> None:
        """Nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Nothing."""


CPU = torch.device("cpu")
SILENT = Silent()


@dataclass(frozen=True)
class Workspace:
    """Folder, device and progress of one experiment's run."""

    folder: Path
    device: torch.device = CPU
    progress: Progress = SILENT
