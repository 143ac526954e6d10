"""The sizes of an experiment at the four scales, one row a number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.experiments.known import known
from nonsingular.experiments.spec import SCALES, Spec, at_scale
from nonsingular.training import Member

Networks = Iterable[Member] | Mapping[Member, Mapping[str, Any]]


@dataclass(frozen=True)
class Size:
    """An experiment at one scale.

    Attributes:
        experiment: id.
        scale: one of ``SCALES``.
        data: the data set that was asked for instead of the scale's own, or None.
        numbers: what ``Scales`` has for this scale; each is an attribute too.
    """

    experiment: str
    scale: str
    data: str | None
    numbers: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """All numbers but the runs: what a spec without training has as its settings."""
        return {name: number for name, number in self.numbers.items() if name != "runs"}

    def dataset(self, name: str) -> str:
        """The data set that was asked for; else ``name``, or the bundled digits for a smoke test."""
        return self.data or ("digits" if self.scale == "smoke" else name)

    def spec(
        self,
        *,
        networks: Networks = (),
        instruments: Iterable[str] | Mapping[str, tuple[int, ...] | None] = (),
        settings: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Spec:
        """The spec of this size.

        Args:
            networks: those that are compared; or each of them with the fields of ``training`` in which it differs.
            instruments: as ``Spec`` has them, or names of those that measure after every epoch.
            settings: as ``Spec`` has them.
            **fields: others of ``Spec``.

        Raises:
            InputError: a spec has no such field.
        """
        for name in fields:
            known("field of a spec", name, [f.name for f in dataclasses.fields(Spec)], f"{self.experiment}: ")
        own = (
            {m.name: dict(changes) for m, changes in networks.items() if changes}
            if isinstance(networks, Mapping)
            else {}
        )
        return Spec(
            self.experiment,
            self.scale,
            self.runs,
            networks=tuple(networks),
            instruments=instruments if isinstance(instruments, Mapping) else dict.fromkeys(instruments),
            settings={**(settings or {}), **({"training": own} if own else {})},
            **fields,
        )

    def __getattr__(self, name: str) -> Any:
        numbers = self.__dict__.get("numbers", {})
        if name not in numbers:
            raise NoSuchNumber(f"Scales has no {name!r}; it has {', '.join(numbers) or 'nothing'}")
        return numbers[name]


class NoSuchNumber(InputError, AttributeError):
    """A figure asks its scales for a number that they do not have: told in a line, and still no attribute."""


@checked
class Scales:
    """Numbers by name, each with its four values: for ``smoke``, ``laptop``, ``overnight`` and ``paper``.

    ``Scales(runs=(2, 16, 20, 4), epochs=(2, 15, 300, 300))``; what is no tuple is the value of all scales, so that
    several numbers for each of them are a list. What trains nothing may leave ``overnight`` out: it takes the paper's.

    Raises:
        InputError: another count of values.
    """

    def __init__(self, **numbers: Any) -> None:
        self._rows: dict[str, Mapping[str, Any]] = {}
        for name, values in numbers.items():
            row = values if isinstance(values, tuple) else (values,) * len(SCALES)
            scales = SCALES if len(row) == len(SCALES) else tuple(s for s in SCALES if s != "overnight")
            if len(row) != len(scales):
                raise InputError(
                    f"{name} needs a value for each of {', '.join(SCALES)}, got {len(row)}; what is meant for all of "
                    "them is a list"
                )
            self._rows[name] = dict(zip(scales, row, strict=True))

    def at(self, scale: str, experiment: str, data: str | None = None) -> Size:
        """The numbers of one scale.

        Raises:
            InputError: unknown scale.
        """
        at_scale(dict.fromkeys(SCALES), scale)
        return Size(experiment, scale, data, {name: at_scale(row, scale) for name, row in self._rows.items()})


@checked
def every_nth_epoch(step: int, *, last: int) -> tuple[int, ...]:
    """Epochs 0, ``step``, twice that, and so on up to ``last``."""
    return tuple(range(0, last + 1, step))
