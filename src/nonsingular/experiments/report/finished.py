"""Finished experiments, read back from the folders that they left: claims, spec, figures, machine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nonsingular.errors import InputError
from nonsingular.experiments import about
from nonsingular.experiments.about import About
from nonsingular.experiments.run import archive
from nonsingular.files import require_folder, write_whole
from nonsingular.machine import describe

MACHINE = "machine.json"
INTERACTIVE = Path("figures", "interactive")
"""Folder of the interactive figures within that of an experiment."""


@dataclass(frozen=True)
class Finished:
    """What a finished experiment left in its folder.

    Attributes:
        folder: where.
        spec: ``spec.json``.
        claims: the rows of ``claims.json``.
        figures: name -> the picture, the SVG where there is one.
        interactive: name -> the file of an interactive figure (plotly's JSON).
        machine: where it ran, or None where that was not recorded.
        about: what the folder says of it.
    """

    folder: Path
    spec: dict[str, Any]
    claims: list[dict[str, Any]]
    figures: dict[str, Path]
    interactive: dict[str, Path]
    machine: str | None
    about: About = field(default_factory=About)

    @property
    def id(self) -> str:
        """The experiment."""
        return str(self.spec["experiment"])

    @property
    def files(self) -> list[Path]:
        """What else it left for programs to read: claims, spec, measured data."""
        names = ("claims.json", "spec.json", archive.FILE)
        return [self.folder / name for name in names if (self.folder / name).exists()]

    @property
    def spec_text(self) -> str:
        """``spec.json`` as it is printed for readers."""
        return json.dumps(self.spec, indent=2, sort_keys=True)

    @property
    def paper(self) -> str:
        """The paper's prefix."""
        return self.id.split("/")[0]


def find(folders: Iterable[Path]) -> list[Finished]:
    """All finished experiments in ``folders`` and below, each once, in the order of their ids.

    Raises:
        InputError: a folder without any, or with a damaged file.
    """
    found: dict[Path, Finished] = {}
    for folder in folders:
        paths = claim_files(folder)
        found |= {path.parent.resolve(): read(path.parent) for path in paths}
    return sorted(found.values(), key=lambda f: (f.id, str(f.folder)))


def claim_files(folder: Path) -> list[Path]:
    """Every ``claims.json`` in a folder and below.

    Raises:
        InputError: there is none, or no such folder.
    """
    require_folder(folder)
    paths = sorted(folder.rglob("claims.json"))
    if not paths:
        raise InputError(f"no claims.json in {folder}; nonsingular reproduce ID --out {folder} writes one")
    return paths


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``claims.json``.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    if not path.exists():
        raise InputError(f"{path.parent} holds spec.json but no claims.json: its experiment has not ended")
    try:
        rows = [dict(row) for row in json.loads(path.read_text())]
        for row in rows:
            for field in ("id", "paper", "source", "statement", "expected", "unit", "scale", "data", "verdict", "note"):
                str(row[field])
            for number in (row["measured"], *(row["interval"] or ())):
                float(number if number is not None else "nan")
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is not a list of claims as nonsingular reproduce writes it") from None
    return rows


def read_claims(folder: Path) -> list[dict[str, Any]]:
    """The scoreboard rows of all finished experiments in ``folder`` and below.

    Raises:
        InputError: no ``claims.json`` there, or a damaged one.
    """
    return [row for path in claim_files(folder) for row in read_rows(path)]


def read(folder: Path) -> Finished:
    """What the experiment in ``folder`` left.

    Raises:
        InputError: no such folder; ``claims.json`` or ``spec.json`` is missing or damaged.
    """
    require_folder(folder)
    path = folder / "spec.json"
    try:
        spec = dict(json.loads(path.read_text()))
        str(spec["experiment"]), str(spec["scale"]), int(spec["runs"])
    except FileNotFoundError:
        if not (folder / "claims.json").exists():
            raise InputError(f"{folder} holds no finished experiment (spec.json, claims.json)") from None
        raise InputError(f"{folder} holds claims.json but no spec.json; copy both from where it was run") from None
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is damaged; run the experiment again") from None
    figures = {p.stem: p for suffix in ("png", "svg") for p in sorted((folder / "figures").glob(f"*.{suffix}"))}
    interactive = {p.stem: p for p in sorted((folder / INTERACTIVE).glob("*.json"))}
    claims, machine = read_rows(folder / "claims.json"), _machine(folder)
    return Finished(folder, spec, claims, dict(sorted(figures.items())), interactive, machine, about.read(folder))


def write_machine(folder: Path, device: torch.device) -> None:
    """Keep on which machine the experiment of a folder ran, beside those that it ran on before."""
    here = describe(device)
    described = f"{here.name}, {here.threads} CPU threads, torch {here.torch}"
    before = (_machine(folder) or described).split("; ")
    write_whole(folder / MACHINE, json.dumps({"machine": "; ".join(dict.fromkeys([*before, described]))}) + "\n")


def write_machines(folder: Path, parts: Iterable[Path]) -> None:
    """Keep on which machines the parts ran of which the experiment of a folder is made."""
    found = dict.fromkeys(machine for part in parts if (machine := _machine(part)))
    write_whole(folder / MACHINE, json.dumps({"machine": "; ".join(found) or "not recorded"}) + "\n")


def _machine(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / MACHINE).read_text())["machine"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
