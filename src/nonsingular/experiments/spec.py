"""What an experiment is asked to do: frozen, printable, and hashed to recognise a store of results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from nonsingular.data import DataSpec
from nonsingular.errors import InputError
from nonsingular.experiments.fingerprint import fingerprint
from nonsingular.training import Member, TrainingSpec

LAST = -1  # of a study's epochs
SCALES = ("smoke", "laptop", "overnight", "paper")


Row = TypeVar("Row")


def at_scale(table: Mapping[str, Row], scale: str) -> Row:
    """The row of a table by scale; of a table without ``overnight`` that of ``paper``.

    Tables of what trains nothing have none of their own: they take minutes with the paper's numbers.

    Raises:
        InputError: unknown scale.
    """
    if scale == "overnight" and scale not in table:
        scale = "paper"
    if scale not in table:
        raise InputError(f"unknown scale {scale!r}; the scales are {', '.join(SCALES)}")
    return table[scale]


def digest(spec: str) -> str:
    """A hash of the text of a spec."""
    return hashlib.sha256(spec.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Spec:
    """Everything that decides the results of one experiment.

    Attributes:
        experiment: id, ``paper/figure``.
        scale: ``smoke`` (seconds), ``laptop`` (minutes on two cores), ``overnight`` (hours on two cores: all images,
            the paper's depths and widths where they can be had) or ``paper`` (the paper's own numbers).
        runs: independent repetitions (seeds, teachers) of every network or model.
        seed: run ``k`` uses seed ``seed + k``.
        data: the images and what is done to them; None where nothing is trained on data.
        networks: the networks compared; empty where there are none.
        training: how they are trained; None where nothing is trained.
        instruments: what is measured of them (names in ``experiments.instruments``) and at which epochs:
            every one, or the listed ones, of which ``LAST`` is the last one, however many there are.
        settings: the experiment's further numbers, by name; ``training`` and ``data``, where they are there, have what
            single networks are trained with otherwise: name -> fields of ``training``, of ``data`` (not the number of
            images).
        keep: the weights that a study keeps: none, those at the ``end``, or those of all ``epochs``.
    """

    experiment: str
    scale: str
    runs: int = 1
    seed: int = 0
    data: DataSpec | None = None
    networks: tuple[Member, ...] = ()
    training: TrainingSpec | None = None
    instruments: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep: str = ""

    def __post_init__(self) -> None:
        at_scale(dict.fromkeys(SCALES), self.scale)
        if self.runs < 1:
            raise InputError(f"runs must be at least 1, got {self.runs}")

    def to_json(self) -> str:
        """The whole spec as JSON text, enough to run it again."""
        fields = dataclasses.asdict(self)
        if not self.keep:  # so were specs written before there was a choice
            del fields["keep"]
        return json.dumps(fields, indent=2, sort_keys=True, default=fingerprint)

    def of_member(self, number: int) -> Spec:
        """The spec with what ``settings`` change of one network's training and data."""
        own = self
        for part in ("training", "data"):
            changes = self.settings.get(part, {}).get(self.networks[number].name, {})
            if changes and getattr(self, part):
                own = replace(own, **{part: replace(getattr(self, part), **changes)})
        return own

    @property
    def seeds(self) -> range:
        """One a run."""
        return range(self.seed, self.seed + self.runs)

    @property
    def digest(self) -> str:
        """A hash of the content: equal specs, equal digests."""
        return digest(self.to_json())

    def __hash__(self) -> int:
        return hash(self.digest)
